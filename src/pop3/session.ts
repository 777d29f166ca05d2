import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import Pop3Command from 'node-pop3';
import { SharedBudget } from '../domain/budget.ts';
import { BridgeError } from '../domain/errors.ts';
import { headerBlock } from '../domain/header.ts';
import type { Auth, Endpoint } from '../domain/migration.ts';
import type {
  ByteBudget,
  Dialer,
  HeaderReply,
  MessageNumber,
  Retrieved,
  SourceEntry,
  SourceSession,
} from '../domain/ports.ts';
import { within } from './deadline.ts';
import type { Pop3Limits, Pop3Timeouts } from './limits.ts';
import { joinListing, type Lines } from './listing.ts';
import { assertSendable, type Capabilities, signIn } from './login.ts';
import { OctetSink } from './octets.ts';
import { type BulkCommand, BulkPipeline, DELE, RETR, TOP } from './pipeline.ts';
import { refusal } from './replies.ts';
import { Pop3Wire } from './wire.ts';

/** A listing of a million messages has about 30 MB. */
const MAX_LISTING_BYTES = 256 * 1024 * 1024;
/** RFC 1939: with an argument, LIST and UIDL answer one line. */
const MULTI_LINE = /^(?:(?:LIST|UIDL)$|(?:RETR|TOP) )/;

export interface Pop3SessionOptions {
  endpoint: Endpoint;
  auth: Auth;
  dialer: Dialer;
  timeouts: Pop3Timeouts;
  limits: Pop3Limits;
}

/**
 * One signed-in POP3 session: node-pop3's command set on our own wire (docs/adr/0001).
 *
 * The only place that knows node-pop3's insides, and what it relies on is pinned by test/pop3/node-pop3.test.ts:
 * its methods call `this._connect()` and then `command()` of its connection class, through `super`; `command()`
 * writes one line to `this._socket` and settles with the next `response` (text, stream of lines) or `error` event.
 * So `_connect` is ours, `_socket` is a stand-in whose `write` goes to the wire, and the wire's answers come back
 * as those events. node-pop3 keeps one listener per event: one of its commands at a time.
 */
export class Pop3Session extends Pop3Command implements SourceSession {
  readonly #options: Pop3SessionOptions;
  #signal: AbortSignal;
  #wire: Pop3Wire | null = null;
  #capabilities: Capabilities = new Map();
  /** Whether the server has something to remove at QUIT. */
  #marked = false;
  #leaving: Promise<boolean> | null = null;

  private constructor(options: Pop3SessionOptions, signal: AbortSignal) {
    // node-pop3 gets no credentials: it would keep them in plain fields.
    super({ user: '', password: '', host: options.endpoint.host, port: options.endpoint.port });
    this.#options = options;
    this.#signal = signal;
    // Answers go to command() only; this one is for the answer to a command whose caller has gone.
    this.on('error', () => {});
  }

  /** Connects and signs in. @throws BridgeError or the signal's reason */
  static async open(options: Pop3SessionOptions, signal: AbortSignal): Promise<Pop3Session> {
    assertSendable(options.endpoint.username, options.auth);
    const session = new Pop3Session(options, signal);
    try {
      await session._connect();
      return session;
    } catch (error) {
      session.destroy();
      throw error;
    }
  }

  get capabilities(): Capabilities {
    return this.#capabilities;
  }

  async list(signal: AbortSignal): Promise<SourceEntry[]> {
    return this.#during(signal, async () => {
      // UIDL first: what another session deletes between the two is then missing in LIST, which is tried again,
      // and not without a unique id, which is final.
      const uidl = await this.#uniqueIds();
      return joinListing(uidl, asLines(await this.LIST()));
    });
  }

  retrieve(
    entries: Iterable<SourceEntry>,
    budget: ByteBudget,
    signal: AbortSignal,
  ): AsyncGenerator<Retrieved, void> {
    return this.#bulk(RETR, entries, budget, signal);
  }

  async *headers(
    entries: Iterable<SourceEntry>,
    budget: ByteBudget,
    signal: AbortSignal,
  ): AsyncGenerator<HeaderReply, void> {
    const command = this.#capabilities.has('TOP') ? TOP : RETR;
    for await (const next of this.#bulk(command, entries, budget, signal)) {
      if (next.kind === 'refused') yield next;
      else {
        try {
          // A copy: with RETR a header in the hands of the consumer would hold the whole message.
          yield { kind: 'header', entry: next.entry, header: Buffer.from(headerBlock(next.bytes)) };
        } finally {
          next.release();
        }
      }
    }
  }

  async delete(
    entries: readonly SourceEntry[],
    signal: AbortSignal,
  ): Promise<Map<MessageNumber, BridgeError>> {
    const refused = new Map<MessageNumber, BridgeError>();
    // The answers hold no octets to account for.
    for await (const next of this.#bulk(DELE, entries, new SharedBudget(0), signal)) {
      if (next.kind === 'refused') refused.set(next.entry.number, next.error);
      else this.#marked = true;
    }
    return refused;
  }

  /** Once, however often it is called: a second QUIT would cut off the first one, which may be removing mail. */
  quit(): Promise<boolean> {
    this.#leaving ??= this.#quit();
    return this.#leaving;
  }

  async #quit(): Promise<boolean> {
    const wire = this.#wire;
    let confirmed = false;
    if (wire !== null && !wire.failed && wire.owed === 0) {
      const { quitMs, updateMs } = this.#options.timeouts;
      const never = new AbortController().signal;
      const quitting = within(this.#marked ? updateMs : quitMs, 'QUIT', never, (deadline) =>
        this.#during(deadline, () => this.QUIT()),
      );
      confirmed = await quitting.then(
        () => true,
        () => false,
      );
    }
    this.destroy();
    return confirmed;
  }

  destroy(): void {
    this.#wire?.fail(
      new BridgeError('connection_lost', { side: 'service', detail: 'the session was closed' }),
    );
  }

  /** Connects and reads the greeting; with `starttls`, TLS is up afterwards. Called by `_connect` only. */
  override async connect(): Promise<void> {
    const { endpoint, dialer, timeouts } = this.#options;
    const socket = await within(timeouts.connectMs, 'connect', this.#signal, (signal) =>
      dialer.connect(endpoint, 'source', signal),
    );
    const wire = new Pop3Wire(socket, timeouts);
    this.#wire = wire;
    this._socket = this.#standIn(wire);
    await this.#during(this.#signal, async () => {
      const greeting = await wire.greeting();
      if (greeting.kind !== 'ok') throw refusal('greeting', greeting.kind === 'err' ? greeting.words : '');
      if (endpoint.security === 'starttls') await this.#startTls(wire);
    });
  }

  /** Called by each of node-pop3's commands: connects and signs in, once. */
  override async _connect(): Promise<string> {
    if (this.#wire === null) {
      await this.connect();
      const { endpoint, auth } = this.#options;
      const wire = this.#openWire();
      this.#capabilities = await this.#during(this.#signal, () => signIn(wire, endpoint.username, auth));
    }
    return this._PASSInfo;
  }

  /** RFC 2595 section 4. What the server said before TLS is forgotten: CAPA comes later. */
  async #startTls(wire: Pop3Wire): Promise<void> {
    const { endpoint, dialer, timeouts } = this.#options;
    const reply = await wire.startTls((plain) =>
      within(timeouts.connectMs, 'TLS handshake', this.#signal, (signal) =>
        dialer.secure(plain, endpoint, 'source', signal),
      ),
    );
    if (reply.kind !== 'ok') throw refusal('STLS', reply.kind === 'err' ? reply.words : '');
  }

  async *#bulk(
    command: BulkCommand,
    entries: Iterable<SourceEntry>,
    budget: ByteBudget,
    signal: AbortSignal,
  ): AsyncGenerator<Retrieved, void> {
    signal.throwIfAborted();
    const wire = this.#openWire();
    const { limits } = this.#options;
    const depth = this.#capabilities.has('PIPELINING') ? limits.windowCommands : 1;
    const pipeline = new BulkPipeline(wire, command, entries, { budget, limits, depth });
    const onAbort = () => wire.fail(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      for (let next = await pipeline.next(signal); next !== null; next = await pipeline.next(signal))
        yield next;
    } finally {
      signal.removeEventListener('abort', onAbort);
      pipeline.close();
    }
  }

  async #uniqueIds(): Promise<Lines> {
    try {
      return asLines(await this.UIDL());
    } catch (error) {
      // Final only for a server that goes on: one that hangs up says -ERR as well.
      if (error instanceof BridgeError && error.code === 'uidl_missing') await this.NOOP();
      throw error;
    }
  }

  #openWire(): Pop3Wire {
    if (this.#wire === null)
      throw new BridgeError('internal_error', { side: 'service', detail: 'not connected' });
    return this.#wire;
  }

  /** An abort in the middle of an answer leaves the session out of step, so it ends the session. */
  async #during<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const onAbort = () => this.#wire?.fail(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await work();
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** What node-pop3 takes for its socket: all it does with it is `write`. */
  #standIn(wire: Pop3Wire): Socket {
    const write = (line: string) => void this.#answer(wire, line.trimEnd());
    return { write } as unknown as Socket;
  }

  async #answer(wire: Pop3Wire, line: string): Promise<void> {
    const lines = MULTI_LINE.test(line) ? new OctetSink(0, MAX_LISTING_BYTES) : null;
    try {
      const reply = await wire.exchange(line, lines);
      if (reply.kind !== 'ok')
        throw refusal(line.split(' ')[0] ?? '', reply.kind === 'err' ? reply.words : '');
      if (lines?.overflowed)
        throw new BridgeError('protocol_error', { side: 'source', detail: 'endless listing' });
      this.emit('response', reply.text, lines && asLatin1(lines.take()));
    } catch (error) {
      this.emit('error', error);
      // command() leaves its listener behind when it fails.
      this.removeAllListeners('response');
    }
  }
}

/** node-pop3 reads a stream of lines as UTF-8; what it makes of this one is the octets as latin1. */
function asLatin1(octets: Buffer): Readable {
  return Readable.from([Buffer.from(octets.toString('latin1'), 'utf8')]);
}

/** node-pop3 types the answer to LIST and UIDL with and without an argument as one union. */
function asLines(answer: string[][] | string[]): Lines {
  return answer.map((line) => (typeof line === 'string' ? [line] : line));
}
