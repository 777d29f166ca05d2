import { MIGRATION_SCRIPTS } from '../../src/store/scripts.ts';
import { openStore, type TestStore } from '../store/support.ts';
import type { Dovecot } from '../support/dovecot.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import type { WorkerPool, WorkerProcess } from './pool.ts';
import { imapReader } from './read-imap.ts';
import { pop3Reader } from './read-pop3.ts';
import { redisReader } from './read-redis.ts';
import { LEASE_MS } from './settings.ts';
import { type Gate, type Link, type Reader, Tap } from './tap.ts';

/** A step that was reached: everything behind it on its connection waits for `go`. */
export interface Held {
  readonly step: string;
  readonly link: Link;
  readonly seat: Seat;
  /** @param forward false: what is held is never forwarded, and its connection ends */
  go(forward?: boolean): void;
}

interface Trigger {
  step: string;
  left: number;
  isAt: (seat: Seat) => boolean;
  reached: (held: Held) => void;
}

export interface ArmOptions {
  /** Which occurrence from now on; default 1. */
  nth?: number;
  /** Only at this worker. */
  seat?: Seat;
  /** Only at another worker. */
  except?: Seat;
}

export type WireName = 'pop3' | 'imap' | 'redis';

/** A place for one worker process, with taps of its own between it and the servers. */
export class Seat {
  readonly taps: Readonly<Record<WireName, Tap>>;
  readonly #pool: WorkerPool;
  #worker: WorkerProcess | null = null;

  constructor(taps: Record<WireName, Tap>, pool: WorkerPool) {
    this.taps = taps;
    this.#pool = pool;
  }

  get worker(): WorkerProcess {
    if (this.#worker === null) throw new Error('nobody sits here yet');
    return this.#worker;
  }

  get isTaken(): boolean {
    return this.#worker !== null;
  }

  get isFree(): boolean {
    return this.#worker === null || !this.#worker.isAlive || !this.#worker.isBusy;
  }

  /** A living worker, wired to the taps. */
  async fill(): Promise<WorkerProcess> {
    if (this.#worker?.isAlive === true) return this.#worker;
    this.#worker = this.#pool.take();
    const { redis, pop3, imap } = this.taps;
    await this.#worker.wire({ redisUrl: url(redis.port), pop3: pop3.port, imap: imap.port });
    return this.#worker;
  }

  async close(): Promise<void> {
    await this.#worker?.kill();
    await Promise.all(Object.values(this.taps).map((tap) => tap.close()));
  }
}

const SEATS = 4;

/** Servers, taps and workers for one round after the other. The Dovecot is shared, with users of its own. */
export class World implements AsyncDisposable {
  readonly dovecot: Dovecot;
  readonly seats: Seat[] = [];
  readonly #pool: WorkerPool;
  readonly #triggers = new Set<Trigger>();
  /** They live on until `renew`. */
  readonly #retired: RedisServer[] = [];
  redis: RedisServer;
  store: TestStore;

  private constructor(dovecot: Dovecot, pool: WorkerPool, redis: RedisServer) {
    this.dovecot = dovecot;
    this.#pool = pool;
    this.redis = redis;
    this.store = openOwn(redis.url);
  }

  static async open(dovecot: Dovecot, pool: WorkerPool): Promise<World> {
    const world = new World(dovecot, pool, await startOwnRedis());
    for (let n = 0; n < SEATS; n++) world.seats.push(await world.#seat());
    await world.#prepareRedis();
    return world;
  }

  async #seat(): Promise<Seat> {
    let seat: Seat | null = null;
    const tap = (name: WireName, target: number, reader: () => Reader) => {
      const gate: Gate = (step, link) => (seat === null ? true : this.#gate(`${name}:${step}`, seat, link));
      return Tap.open({ target, reader, gate });
    };
    const { ports } = this.dovecot;
    const [pop3, imap, redis] = [
      await tap('pop3', ports.pop3, pop3Reader),
      await tap('imap', ports.imap, imapReader),
      await tap('redis', this.redis.port, redisReader),
    ];
    seat = new Seat({ pop3, imap, redis }, this.#pool);
    return seat;
  }

  /** Resolves when a worker has come to this step; what comes behind it waits for `go`. */
  arm(step: string, { nth = 1, seat, except }: ArmOptions = {}): Promise<Held> {
    const { promise, resolve } = Promise.withResolvers<Held>();
    const isAt = (at: Seat) => at !== except && at === (seat ?? at);
    this.#triggers.add({ step, left: nth, isAt, reached: resolve });
    return promise;
  }

  disarm(): void {
    this.#triggers.clear();
  }

  #gate(step: string, seat: Seat, link: Link): Promise<boolean> | true {
    for (const trigger of this.#triggers) {
      if (trigger.step !== step || !trigger.isAt(seat)) continue;
      trigger.left -= 1;
      if (trigger.left > 0) continue;
      this.#triggers.delete(trigger);
      const { promise, resolve } = Promise.withResolvers<boolean>();
      trigger.reached({ step, link, seat, go: (forward = true) => resolve(forward) });
      return promise;
    }
    return true;
  }

  /** Seats with a worker, dead or alive. */
  get taken(): Seat[] {
    return this.seats.filter((seat) => seat.isTaken);
  }

  /** Another Redis takes over for everybody but these seats. */
  async promote(server: RedisServer, staying: readonly Seat[]): Promise<void> {
    this.#retired.push(this.redis);
    this.redis = server;
    await this.store[Symbol.asyncDispose]();
    this.store = openOwn(server.url);
    for (const seat of this.seats)
      if (!staying.includes(seat)) {
        seat.taps.redis.target = server.port;
        seat.taps.redis.reset();
      }
  }

  /** As at the beginning: a Redis that knows nothing, and no worker with a past. */
  async renew(): Promise<void> {
    this.disarm();
    await Promise.all(this.taken.map(({ isFree, worker }) => isFree || worker.kill()));
    await this.promote(await startOwnRedis(), []);
    await this.#prepareRedis();
    await Promise.all(this.#retired.splice(0).map((server) => server.stop()));
  }

  // Scripts that Redis does not know yet are sent twice, and a step is to be one command.
  async #prepareRedis(): Promise<void> {
    for (const { lua } of Object.values(MIGRATION_SCRIPTS)) await this.store.redis.script('LOAD', lua);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.seats.map((seat) => seat.close()));
    await this.store[Symbol.asyncDispose]();
    await Promise.all([...this.#retired, this.redis].map((server) => server.stop()));
  }
}

/** `no`: what was answered stands in the file, so that a round decides by itself how much of it is lost. */
export function startOwnRedis(...args: string[]): Promise<RedisServer> {
  return startRedis({ args: ['--appendfsync', 'no', '--repl-diskless-sync-delay', '0', ...args] });
}

function openOwn(redisUrl: string): TestStore {
  return openStore(redisUrl, { leaseMs: LEASE_MS });
}

function url(port: number): string {
  return `redis://127.0.0.1:${port}`;
}
