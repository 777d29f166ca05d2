import type { ByteBudget, Reservation } from './ports.ts';

interface Waiter {
  bytes: number;
  grant: (reservation: Reservation) => void;
}

/**
 * Message bytes in flight, shared by every mailbox of a worker process. First come, first served: a large
 * message at the head is not starved by small ones behind it, and what is larger than the whole budget is let
 * in alone. Whoever holds bytes can always finish without asking for more, so mailboxes cannot deadlock on it.
 */
export class SharedBudget implements ByteBudget {
  readonly #limit: number;
  #used = 0;
  readonly #waiting: Waiter[] = [];

  /** @param limit bytes */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Bytes out at this moment. */
  get used(): number {
    return this.#used;
  }

  tryReserve(bytes: number): Reservation | null {
    return this.#waiting.length === 0 && this.#fits(bytes) ? this.#take(bytes) : null;
  }

  reserve(bytes: number, signal: AbortSignal): Promise<Reservation> {
    signal.throwIfAborted();
    const now = this.tryReserve(bytes);
    if (now !== null) return Promise.resolve(now);
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(signal.reason);
        this.#grant();
      };
      const waiter: Waiter = {
        bytes,
        grant: (reservation) => {
          signal.removeEventListener('abort', onAbort);
          resolve(reservation);
        },
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.push(waiter);
    });
  }

  #fits(bytes: number): boolean {
    return this.#used === 0 || this.#used + bytes <= this.#limit;
  }

  #take(bytes: number): Reservation {
    let held = bytes;
    this.#used += held;
    let released = false;
    return {
      adjust: (to) => {
        if (released) return;
        this.#used += to - held;
        const shrunk = to < held;
        held = to;
        if (shrunk) this.#grant();
      },
      release: () => {
        if (released) return;
        released = true;
        this.#used -= held;
        this.#grant();
      },
    };
  }

  #grant(): void {
    for (let head = this.#waiting[0]; head !== undefined && this.#fits(head.bytes); head = this.#waiting[0]) {
      this.#waiting.shift();
      head.grant(this.#take(head.bytes));
    }
  }
}
