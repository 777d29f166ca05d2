import { BridgeError } from '../domain/errors.ts';
import type { ByteBudget, Reservation, Retrieved, SourceEntry } from '../domain/ports.ts';
import type { Pop3Limits } from './limits.ts';
import { OctetSink } from './octets.ts';
import { refusal } from './replies.ts';
import type { Pop3Wire, Reply } from './wire.ts';

/** A command that is sent for many messages, one line for each. */
export interface BulkCommand {
  verb: 'RETR' | 'TOP' | 'DELE';
  /** Behind the message number. */
  argument: string;
  multiLine: boolean;
  /** What the answer is expected to hold, bytes: reserved before the command is sent. */
  bytes(entry: SourceEntry): number;
}

/** Headers are seldom larger; what is overdraws the budget, as a message does that LIST is wrong about. */
const HEADER_BYTES = 4096;

export const RETR: BulkCommand = { verb: 'RETR', argument: '', multiLine: true, bytes: ({ size }) => size };
/** RFC 1939 section 7: the header, the empty line behind it, and no line of the body. */
export const TOP: BulkCommand = {
  verb: 'TOP',
  argument: ' 0',
  multiLine: true,
  bytes: ({ size }) => Math.min(size, HEADER_BYTES),
};
export const DELE: BulkCommand = { verb: 'DELE', argument: '', multiLine: false, bytes: () => 0 };

/** A command that was sent and whose answer is not yet handed to the consumer. */
interface Slot {
  entry: SourceEntry;
  /** Taken from the window. */
  bytes: number;
  reservation: Reservation;
  sink: OctetSink;
  answer: Promise<Reply>;
}

/**
 * One command for many messages, many of them under way (RFC 2449 section 6.6), in the order asked.
 *
 * - **Window.** The bytes of an answer, as far as known, are reserved from the budget before it is asked for. While
 *   something of ours is under way, only what the budget gives at once is added (`tryReserve`), and the consumer
 *   is served meanwhile; only with nothing under way is the budget waited for. So sessions that share a budget do
 *   not block each other for good, provided that a consumer which holds messages can release them without the
 *   next one.
 * - **Back-pressure.** The socket pauses while half a window lies here complete and untaken.
 * - Commands go out when half of the window is free, in one write.
 */
export class BulkPipeline {
  readonly #wire: Pop3Wire;
  readonly #command: BulkCommand;
  readonly #budget: ByteBudget;
  readonly #limits: Pop3Limits;
  readonly #depth: number;
  readonly #entries: Iterator<SourceEntry>;
  #next: SourceEntry | undefined;
  readonly #slots: Slot[] = [];
  #windowBytes = 0;
  /** Bytes complete and untaken. */
  #ready = 0;

  /** `depth`: commands under way at once; 1 where the server does not pipeline. */
  constructor(
    wire: Pop3Wire,
    command: BulkCommand,
    entries: Iterable<SourceEntry>,
    bounds: { budget: ByteBudget; limits: Pop3Limits; depth: number },
  ) {
    this.#wire = wire;
    this.#command = command;
    this.#budget = bounds.budget;
    this.#limits = bounds.limits;
    this.#depth = bounds.depth;
    this.#entries = entries[Symbol.iterator]();
    this.#next = this.#pull();
  }

  /**
   * The next answer, or null after the last; a command answered by one line gives no octets.
   * @throws BridgeError or the signal's reason: the session ended
   */
  async next(signal: AbortSignal): Promise<Retrieved | null> {
    if (this.#halfFree()) await this.#fill(signal);
    const slot = this.#slots[0];
    if (slot === undefined) return null;
    const reply = await slot.answer;
    this.#slots.shift();
    this.#windowBytes -= slot.bytes;
    if (reply.kind === 'ok' && !slot.sink.overflowed) return this.#message(slot);
    slot.reservation.release();
    return { kind: 'refused', entry: slot.entry, error: await this.#refusal(reply) };
  }

  /** Gives back what was reserved. Answers that are still owed end the session: nobody is left to read them. */
  close(): void {
    for (const slot of this.#slots.splice(0)) slot.reservation.release();
    if (this.#wire.owed > 0) {
      this.#wire.fail(
        new BridgeError('connection_lost', {
          side: 'service',
          detail: `${this.#command.verb} stopped early`,
        }),
      );
    }
    this.#wire.resume();
    this.#entries.return?.();
  }

  #pull(): SourceEntry | undefined {
    const next = this.#entries.next();
    return next.done === true ? undefined : next.value;
  }

  #halfFree(): boolean {
    return this.#slots.length <= this.#depth / 2 && this.#windowBytes <= this.#limits.windowBytes / 2;
  }

  #hasRoom(bytes: number): boolean {
    if (this.#slots.length === 0) return true;
    return this.#slots.length < this.#depth && this.#windowBytes + bytes <= this.#limits.windowBytes;
  }

  async #fill(signal: AbortSignal): Promise<void> {
    const { verb, argument } = this.#command;
    let commands = '';
    for (let entry = this.#next; entry !== undefined; entry = this.#next) {
      const bytes = Math.min(this.#command.bytes(entry), this.#limits.maxMessageBytes);
      if (!this.#hasRoom(bytes)) break;
      const alone = this.#slots.length === 0;
      const reservation = alone ? await this.#budget.reserve(bytes, signal) : this.#budget.tryReserve(bytes);
      if (reservation === null) break;
      this.#ask(entry, bytes, reservation);
      commands += `${verb} ${entry.number}${argument}\r\n`;
      this.#next = this.#pull();
    }
    if (commands !== '') this.#wire.send(commands);
  }

  #ask(entry: SourceEntry, bytes: number, reservation: Reservation): void {
    // An answer that outgrows what was expected overdraws the budget at once, so that others hold back.
    const sink = new OctetSink(bytes, this.#limits.maxMessageBytes, (capacity) =>
      reservation.adjust(capacity),
    );
    const answer = this.#wire.expect(this.#command.multiLine ? sink : null).then((reply) => {
      reservation.adjust(sink.length);
      this.#ready += sink.length;
      if (this.#ready >= this.#limits.windowBytes / 2) this.#wire.pause();
      return reply;
    });
    answer.catch(() => {});
    this.#slots.push({ entry, bytes, reservation, sink, answer });
    this.#windowBytes += bytes;
  }

  #message(slot: Slot): Retrieved {
    const { entry, reservation, sink } = slot;
    this.#ready -= sink.length;
    if (this.#ready <= this.#limits.windowBytes / 4) this.#wire.resume();
    else if (this.#wire.paused) this.#wire.pause();
    return { kind: 'message', entry, bytes: sink.take(), release: () => reservation.release() };
  }

  async #refusal(reply: Reply): Promise<BridgeError> {
    if (reply.kind === 'ok') {
      const detail = `larger than ${this.#limits.maxMessageBytes} bytes`;
      const hint = 'The message is larger than popbridge takes in.';
      return new BridgeError('message_too_large', { side: 'source', detail, hint });
    }
    const error = refusal(this.#command.verb, reply.kind === 'err' ? reply.words : '');
    await this.#proveAlive(error);
    return error;
  }

  /**
   * A server that hangs up says `-ERR` too, unasked, and it looks like the answer to a command. The next answer tells
   * the two apart: one message is refused only by a server that goes on.
   */
  async #proveAlive(refused: BridgeError): Promise<void> {
    try {
      await (this.#slots[0]?.answer ?? this.#wire.exchange('NOOP'));
    } catch (error) {
      if (!(error instanceof BridgeError) || error.code !== 'connection_lost') throw error;
      throw new BridgeError('connection_lost', { side: 'source', detail: refused.detail, cause: error });
    }
  }
}
