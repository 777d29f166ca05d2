import { BridgeError } from '../domain/errors.ts';
import type { ImapClient } from './client.ts';

interface Waiter {
  resolve: (client: ImapClient) => void;
  reject: (error: unknown) => void;
}

/**
 * The connections that append, each for one group at a time. They are opened when they are needed, at the same
 * time where several are; what cannot be opened beside at least one that works makes the lanes fewer.
 */
export class Lanes {
  readonly #connect: (signal: AbortSignal) => Promise<ImapClient>;
  readonly #closing = new AbortController();
  readonly #open = new Set<ImapClient>();
  readonly #idle: ImapClient[] = [];
  readonly #waiting: Waiter[] = [];
  #connecting = 0;
  #limit: number;

  /** @param limit the most connections at once */
  constructor(connect: (signal: AbortSignal) => Promise<ImapClient>, limit: number) {
    this.#connect = connect;
    this.#limit = limit;
  }

  get limit(): number {
    return this.#limit;
  }

  /** All that are open. */
  get clients(): Iterable<ImapClient> {
    return this.#open;
  }

  /**
   * A connection of the caller's own until `giveBack`. First come, first served.
   * @throws BridgeError when none can be opened; the signal's reason
   */
  take(signal: AbortSignal): Promise<ImapClient> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.#closing.signal.aborted) return Promise.reject(this.#closing.signal.reason);
    const idle = this.#idle.splice(-1).find((client) => client.alive);
    if (idle !== undefined) return Promise.resolve(idle);
    return new Promise((resolve, reject) => {
      const settled = () => signal.removeEventListener('abort', onAbort);
      const waiter: Waiter = {
        resolve: (client) => {
          settled();
          resolve(client);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      };
      const onAbort = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.push(waiter);
      this.#grow();
    });
  }

  /** @param doubtful after a refusal: used again only after the server has shown that it is in step */
  giveBack(client: ImapClient, doubtful: boolean): void {
    if (!doubtful) this.#offer(client);
    else
      client.inStep().then((inStep) => {
        if (inStep) this.#offer(client);
      });
  }

  /** Refuses whoever waits, and drops every connection now. Idempotent. */
  destroy(): void {
    this.stop();
    for (const client of this.#open) client.close();
  }

  /** Refuses whoever waits and opens nothing more; the connections stay. */
  stop(): void {
    const error = new BridgeError('connection_lost', { side: 'destination', detail: 'closed by us' });
    this.#closing.abort(error);
    for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
  }

  #offer(client: ImapClient): void {
    if (!client.alive) return;
    const waiter = this.#waiting.shift();
    if (waiter === undefined) this.#idle.push(client);
    else waiter.resolve(client);
  }

  #grow(): void {
    const missing = this.#waiting.length - this.#connecting;
    const allowed = this.#limit - this.#open.size - this.#connecting;
    for (let n = Math.min(missing, allowed); n > 0; n--) this.#add();
  }

  #add(): void {
    this.#connecting++;
    this.#connect(this.#closing.signal).then(
      (client) => {
        this.#connecting--;
        this.#opened(client);
      },
      (error) => {
        this.#connecting--;
        this.#failed(error);
      },
    );
  }

  #opened(client: ImapClient): void {
    if (this.#closing.signal.aborted) client.close();
    this.#open.add(client);
    client.once('close', () => this.#remove(client));
    if (client.isClosed) this.#remove(client);
    else this.#offer(client);
  }

  #failed(error: unknown): void {
    const others = this.#open.size + this.#connecting;
    if (others > 0) this.#limit = Math.min(this.#limit, others);
    else for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
  }

  #remove(client: ImapClient): void {
    this.#open.delete(client);
    const at = this.#idle.indexOf(client);
    if (at >= 0) this.#idle.splice(at, 1);
    this.#grow();
  }
}
