import type { Clock } from '../domain/clock.ts';
import { BridgeError } from '../domain/errors.ts';

export type LeaseClock = Pick<Clock, 'now' | 'monotonic'>;

/** One instant on two clocks: the monotonic one stands still while a machine sleeps, the wall clock may jump. */
export interface Moment {
  monotonic: number;
  wall: number;
}

export function moment(clock: LeaseClock): Moment {
  return { monotonic: clock.monotonic(), wall: clock.now().getTime() };
}

export interface LeaseOptions {
  leaseMs: number;
  clock: LeaseClock;
  /** Before the claim was sent. */
  since: Moment;
  /** Renews at the store. `false`: somebody else has it, or it ran out. @throws BridgeError store_unavailable */
  renew: () => Promise<boolean>;
}

/** Room for clocks that run at different speeds, and for destroying sockets. */
const MARGIN = 0.1;

/**
 * This process's own view of a lease, safer than the store's: it counts from before a renewal was sent, by the
 * clock that shows more time gone. So a process that was frozen knows at once when it thaws, without asking.
 */
export class Lease {
  readonly #options: LeaseOptions;
  readonly #patience: number;
  readonly #lost = new AbortController();
  #since: Moment;
  #renewing = false;
  #interval: NodeJS.Timeout | undefined;
  #deadline: NodeJS.Timeout | undefined;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#since = options.since;
    this.#patience = options.leaseMs * (1 - MARGIN);
  }

  /** Begins to renew, every second or four times a lease. */
  start(): void {
    this.#interval = setInterval(() => this.#tick(), Math.min(1_000, this.#options.leaseMs / 4));
    this.#armDeadline();
  }

  /** Aborted, with a BridgeError `lease_lost`, when the lease is lost or its local deadline passed. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Synchronous and cheap. @throws BridgeError lease_lost */
  assertHeld(): void {
    if (!this.#lost.signal.aborted && this.#remaining() <= 0) this.lose('its deadline passed');
    if (this.#lost.signal.aborted) throw this.#lost.signal.reason;
  }

  lose(why: string): void {
    this.stop();
    this.#lost.abort(new BridgeError('lease_lost', { side: 'service', detail: why }));
  }

  /** Ends renewing; the store's lease is released or runs out. Idempotent. */
  stop(): void {
    clearInterval(this.#interval);
    clearTimeout(this.#deadline);
    this.#interval = undefined;
  }

  #remaining(): number {
    const now = moment(this.#options.clock);
    const elapsed = Math.max(now.monotonic - this.#since.monotonic, now.wall - this.#since.wall);
    return this.#patience - elapsed;
  }

  #armDeadline(): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => {
      if (this.#remaining() <= 0) this.lose('its deadline passed');
      else this.#armDeadline();
    }, this.#remaining());
  }

  #tick(): void {
    if (this.#remaining() <= 0) this.lose('its deadline passed');
    else if (!this.#renewing) void this.#renew();
  }

  async #renew(): Promise<void> {
    this.#renewing = true;
    const sent = moment(this.#options.clock);
    try {
      const held = await this.#options.renew();
      if (this.#interval === undefined) return;
      if (!held) return this.lose('another run took over, or the record is gone');
      this.#since = sent;
      this.#armDeadline();
    } catch {
      // The store does not answer: the next tick tries again, until the deadline.
    } finally {
      this.#renewing = false;
    }
  }
}
