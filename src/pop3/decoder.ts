const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const PLUS = 0x2b;
const MINUS = 0x2d;
const CRLF = Buffer.from('\r\n');
const CRLF_DOT = Buffer.from('\r\n.');
const NOTHING = Buffer.alloc(0);

/** RFC 2449 section 4 allows 512 octets; servers with long texts exist, ones with 8 kB do not. */
export const MAX_STATUS_BYTES = 8192;

/** Where the octets of a multi-line answer go. */
export interface Sink {
  append(chunk: Buffer, from: number, to: number): void;
}

export interface DecoderEvents {
  /**
   * A status line without its CRLF; `rest` is the number of bytes of this chunk behind it. Answers the sink for
   * the lines that follow, or null where the answer is this one line. May call {@link Pop3Decoder.stop}.
   */
  status(line: Buffer, rest: number): Sink | null;
  /** The terminator of a multi-line answer was read. May call {@link Pop3Decoder.stop}. */
  end(): void;
  /** No POP3 answer: the whole line, or null where its end is not known. The decoder has stopped. */
  garbage(line: Buffer | null): void;
}

/**
 * Inside a multi-line answer the state tells how far into `CRLF "." CRLF` the last octets are. CR and LF before
 * the dot are the message's own and handed on at once; the dot, and a CR behind it, are held back.
 */
type State = 'status' | 'text' | 'cr' | 'lineStart' | 'dot' | 'dotCr' | 'stopped';

/**
 * The answers of a POP3 server, octet by octet (RFC 1939 section 3), the same however TCP cuts them:
 *
 *     answer     = status CRLF [ *line "." CRLF ]
 *     status     = ( "+OK" / "-ERR" / "+" ) *octet
 *     line       = [ "." ] *octet CRLF     ; the first "." of a line is not part of the message
 *
 * Only CRLF ends a line; bare CR, bare LF and NUL are octets like any other. Searches block by block, not line
 * by line, and copies nothing but a status line that lies in two chunks.
 */
export class Pop3Decoder {
  readonly #events: DecoderEvents;
  #state: State = 'status';
  #sink: Sink | null = null;
  #begun: Buffer = NOTHING;

  constructor(events: DecoderEvents) {
    this.#events = events;
  }

  /** True in the middle of an answer: between two of them nothing is owed. */
  get midAnswer(): boolean {
    return this.#sink !== null || this.#begun.length > 0;
  }

  /** Nothing more is decoded, not even the rest of the chunk in hand. */
  stop(): void {
    this.#state = 'stopped';
    this.#sink = null;
    this.#begun = NOTHING;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && this.#state !== 'stopped') {
      at = this.#sink === null ? this.#readStatus(chunk, at) : this.#readLines(this.#sink, chunk, at);
    }
  }

  #readStatus(chunk: Buffer, from: number): number {
    const first = this.#begun[0] ?? chunk[from];
    if (first !== PLUS && first !== MINUS) return this.#reject(chunk, from);
    const end = this.#lineEnd(chunk, from);
    if (end === null) {
      this.#begun = Buffer.concat([this.#begun, chunk.subarray(from)]);
      return this.#begun.length > MAX_STATUS_BYTES ? this.#reject(null, 0) : chunk.length;
    }
    const line =
      this.#begun.length === 0
        ? chunk.subarray(from, end - 2)
        : Buffer.concat([this.#begun, chunk.subarray(from, end)]).subarray(0, -2);
    this.#begun = NOTHING;
    if (line.length > MAX_STATUS_BYTES) return this.#reject(null, 0);
    const sink = this.#events.status(line, chunk.length - end);
    if (sink !== null && this.#state !== 'stopped') {
      this.#sink = sink;
      this.#state = 'lineStart';
    }
    return end;
  }

  /** The offset behind the CRLF that ends the status line, or null where it has not come yet. */
  #lineEnd(chunk: Buffer, from: number): number | null {
    if (this.#begun.at(-1) === CR && chunk[from] === LF) return from + 1;
    const found = chunk.indexOf(CRLF, from);
    return found < 0 ? null : found + 2;
  }

  #reject(chunk: Buffer | null, from: number): number {
    const end = chunk?.indexOf(CRLF, from) ?? -1;
    this.stop();
    this.#events.garbage(end < 0 ? null : (chunk?.subarray(from, end) ?? null));
    return from;
  }

  #readLines(sink: Sink, chunk: Buffer, from: number): number {
    let at = from;
    let kept = from;
    for (;;) {
      while (this.#state !== 'text') {
        const octet = chunk[at];
        if (octet === undefined) return this.#handOn(sink, chunk, kept, at);
        switch (this.#state) {
          case 'cr':
            this.#state = octet === LF ? 'lineStart' : octet === CR ? 'cr' : 'text';
            break;
          case 'lineStart':
            if (octet === DOT) {
              this.#handOn(sink, chunk, kept, at);
              kept = at + 1;
              this.#state = 'dot';
            } else {
              this.#state = octet === CR ? 'cr' : 'text';
            }
            break;
          case 'dot':
            // RFC 1939 section 3: the dot is stripped, whatever octet but CRLF follows it.
            this.#state = octet === CR ? 'dotCr' : 'text';
            if (octet === CR) kept = at + 1;
            break;
          case 'dotCr':
            if (octet === LF) return this.#finish(at + 1);
            sink.append(CRLF, 0, 1);
            kept = at;
            this.#state = octet === CR ? 'cr' : 'text';
            break;
          default:
            return at;
        }
        at++;
      }
      const found = chunk.indexOf(CRLF_DOT, at);
      if (found < 0) {
        this.#state = tailState(chunk, at);
        return this.#handOn(sink, chunk, kept, chunk.length);
      }
      this.#handOn(sink, chunk, kept, found + 2);
      kept = found + 3;
      at = found + 3;
      this.#state = 'dot';
    }
  }

  #handOn(sink: Sink, chunk: Buffer, from: number, to: number): number {
    if (to > from) sink.append(chunk, from, to);
    return to;
  }

  #finish(at: number): number {
    this.#sink = null;
    this.#state = 'status';
    this.#events.end();
    return at;
  }
}

/** How the chunk ends, as far as it lies behind `from`. */
function tailState(chunk: Buffer, from: number): State {
  const last = chunk.length - 1;
  if (last < from) return 'text';
  if (chunk[last] === CR) return 'cr';
  return chunk[last] === LF && last - 1 >= from && chunk[last - 1] === CR ? 'lineStart' : 'text';
}
