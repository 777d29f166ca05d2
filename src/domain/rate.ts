const WINDOW_MS = 10_000;

interface Sample {
  at: number;
  messages: number;
  bytes: number;
}

/** Messages and bytes a second over the last ten seconds. */
export class RateMeter {
  readonly #samples: Sample[] = [];
  readonly #now: () => number;

  /** @param now monotonic milliseconds */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Takes running totals; answers the rates, null before there is anything to compare with. */
  sample(messages: number, bytes: number): { messagesPerSecond: number; bytesPerSecond: number } | null {
    const at = this.#now();
    this.#samples.push({ at, messages, bytes });
    while (this.#samples.length > 2 && at - (this.#samples[1]?.at ?? at) > WINDOW_MS) this.#samples.shift();
    const first = this.#samples[0];
    if (first === undefined || at <= first.at) return null;
    const seconds = (at - first.at) / 1000;
    return {
      messagesPerSecond: Math.round(((messages - first.messages) / seconds) * 10) / 10,
      bytesPerSecond: Math.round((bytes - first.bytes) / seconds),
    };
  }
}
