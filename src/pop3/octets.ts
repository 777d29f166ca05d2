const FIRST_GUESS = 4096;
const LARGEST_FIRST = 64 * 1024 * 1024;

/**
 * Collects the octets of one multi-line answer into one buffer: copied once where the expected size was right,
 * so that no socket chunk outlives the decoding. What goes beyond `max` is counted and dropped.
 */
export class OctetSink {
  readonly #max: number;
  readonly #grown: ((capacity: number) => void) | undefined;
  #first: number;
  #octets: Buffer | null = null;
  #length = 0;
  #overflowed = false;

  /**
   * @param expected bytes, a guess: LIST sizes differ from what is sent (PROTOCOL-FACTS 18)
   * @param max bytes
   * @param grown told the new capacity whenever the guess was too small
   */
  constructor(expected: number, max: number, grown?: (capacity: number) => void) {
    // + 2: the server adds a final CRLF where the message has none, and LIST does not count it.
    this.#first = Math.min(expected > 0 ? expected + 2 : FIRST_GUESS, max, LARGEST_FIRST);
    this.#max = max;
    this.#grown = grown;
  }

  /** Bytes held so far. */
  get length(): number {
    return this.#length;
  }

  /** True once the answer was larger than `max`: what is held is of no use. */
  get overflowed(): boolean {
    return this.#overflowed;
  }

  append(chunk: Buffer, from: number, to: number): void {
    const end = this.#length + (to - from);
    if (end > this.#max || this.#overflowed) {
      this.#drop();
      return;
    }
    let octets = this.#octets;
    if (octets === null || octets.length < end) octets = this.#grow(octets, end);
    chunk.copy(octets, this.#length, from, to);
    this.#length = end;
  }

  /** The octets, owned by the caller from now on. */
  take(): Buffer {
    const octets = this.#octets ?? Buffer.alloc(0);
    this.#octets = null;
    const exact = octets.subarray(0, this.#length);
    // A guess far too large would keep its memory alive behind the back of the byte budget.
    return octets.length - this.#length > FIRST_GUESS + this.#length / 8 ? Buffer.from(exact) : exact;
  }

  #grow(before: Buffer | null, need: number): Buffer {
    const capacity =
      before === null ? Math.max(this.#first, need) : Math.min(Math.max(before.length * 2, need), this.#max);
    const octets = Buffer.allocUnsafe(capacity);
    before?.copy(octets, 0, 0, this.#length);
    this.#octets = octets;
    if (capacity > this.#first) this.#grown?.(capacity);
    return octets;
  }

  #drop(): void {
    this.#overflowed = true;
    this.#octets = null;
    this.#length = 0;
  }
}
