export interface GroupLimits {
  messages: number;
  bytes: number;
  /** How long a group that is not full waits for more when nothing else is under way, milliseconds. */
  patienceMs: number;
}

interface Sized {
  bytes: Buffer;
}

/**
 * Where retrieved messages wait to be sent, and how they are cut into groups. Its size is bounded by the byte
 * budget that each message was reserved from.
 */
export class Intake<T extends Sized> {
  readonly #limits: GroupLimits;
  #items: T[] = [];
  #bytes = 0;
  #ended = false;
  #changed: () => void = () => {};

  constructor(limits: GroupLimits) {
    this.#limits = limits;
  }

  push(item: T): void {
    this.#items.push(item);
    this.#bytes += item.bytes.length;
    this.#changed();
  }

  /** No more will come. */
  end(): void {
    this.#ended = true;
    this.#changed();
  }

  /** Empties it, for a run that stops. */
  drain(): T[] {
    const items = this.#items;
    this.#items = [];
    this.#bytes = 0;
    this.end();
    return items;
  }

  /** Tells a waiting `take` that something that it looks at has changed. */
  nudge(): void {
    this.#changed();
  }

  /**
   * The next group, in order; null after the last. A group that is not full goes out only when `idle`: while
   * others are under way it costs nothing to let it fill.
   */
  async take(idle: () => boolean): Promise<T[] | null> {
    for (let quiet = false; ; ) {
      if (this.#isFull() || this.#ended) return this.#items.length === 0 ? null : this.#cut();
      if (quiet && idle() && this.#items.length > 0) return this.#cut();
      quiet = await this.#nextChange();
    }
  }

  #isFull(): boolean {
    return this.#items.length >= this.#limits.messages || this.#bytes >= this.#limits.bytes;
  }

  /** True when nothing changed for as long as patience lasts. */
  #nextChange(): Promise<boolean> {
    return new Promise((resolve) => {
      const patience = this.#items.length > 0 ? this.#limits.patienceMs : 0;
      const timer = patience > 0 ? setTimeout(() => resolve(true), patience) : undefined;
      this.#changed = () => {
        this.#changed = () => {};
        clearTimeout(timer);
        resolve(false);
      };
    });
  }

  #cut(): T[] {
    const group = this.#items.splice(0, this.#length());
    for (const item of group) this.#bytes -= item.bytes.length;
    return group;
  }

  // Only the last octets of a group can be in doubt when a connection dies, so it ends with a small message
  // where the last quarter has one.
  #length(): number {
    let length = 0;
    let bytes = 0;
    for (const item of this.#items) {
      if (length > 0 && (length >= this.#limits.messages || bytes >= this.#limits.bytes)) break;
      bytes += item.bytes.length;
      length += 1;
    }
    let best = length;
    for (let at = length - 1; at > Math.floor(length * 0.75); at--)
      if (this.#size(at - 1) < this.#size(best - 1)) best = at;
    return best;
  }

  #size(index: number): number {
    return this.#items[index]?.bytes.length ?? 0;
  }
}
