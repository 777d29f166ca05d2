import type { Duplex } from 'node:stream';
import { ImapFlow, type ImapFlowOptions } from 'imapflow';
import { BridgeError } from '../domain/errors.ts';
import { type AppendLiteral, appendFrames, flagList, type NonSynchronising, permits } from './frames.ts';
import { farewell, type Phase, printable, refusal } from './refusals.ts';
import { type Argument, type Response, responseCode, responseText } from './tokens.ts';

/*
 * All contact with what imapflow 2.10 calls internal is in this file; a test pins the members it relies on.
 *
 * This is a place where a mail body can become an IMAP command: if a client stops in the middle of announced
 * octets, the server takes what comes next as the missing octets and what follows as commands. Therefore the
 * octets of an APPEND are counted, never recognised by pattern; each part (frames.ts) is handed to the socket in
 * one synchronous step, whatever the server says meanwhile; and where a command ends while announced octets are
 * owed, the socket is destroyed. Where the server loses count itself nothing helps after the fact, so it gets
 * octets that it did not ask for only behind a folder and flags that it has taken before.
 */

interface ExecOptions {
  untagged?: Record<string, (response: Response) => void | Promise<void>>;
  onPlusTag?: () => void;
  append?: AppendCommand;
}

interface Command {
  tag: string;
  command: string;
  attributes: readonly Argument[];
  options?: ExecOptions;
}

/** The internals of imapflow that are used or overridden here. */
interface Internals {
  currentRequest: { tag: string; sent?: boolean } | false;
  socket: (Duplex & { setTimeout(ms: number): unknown }) | null;
  writeSocket: Duplex | null;
  exec(
    command: string,
    attributes: readonly Argument[],
    options?: ExecOptions,
  ): Promise<{ response: Response; next(): void }>;
  send(command: Command): Promise<void>;
  authCapabilities: Map<string, boolean>;
  throttleWait(delay: number): Promise<boolean>;
  countUnknownTag(tag: string): void;
  failProtocol(error: Error): void;
}

const Base = ImapFlow as unknown as new (options: ImapFlowOptions) => ImapFlow & Internals;

/** What imapflow rejects a command with. */
interface CommandFailure extends Error {
  code?: string;
  response?: Response | string;
  responseStatus?: string;
  responseText?: string;
  serverResponseCode?: string;
  /** The words of a BYE. */
  reason?: string;
}

export type Answer = { kind: 'ok'; response: Response } | { kind: 'refused'; error: BridgeError };

export type AppendEnd =
  | Answer
  /** The connection ended first. `sent`: the last octets had been handed to it. */
  | { kind: 'lost'; error: BridgeError; sent: boolean };

/** One connection, signed in. Whatever goes wrong on it ends it, and shows in the command that was waiting. */
export class ImapClient extends Base {
  readonly #replyMs: number;
  /** What stood before literals that got their `+`: mailbox and flags. */
  readonly taken = new Set<string>();
  #awaited = 0;
  #held = false;
  #fault: Error | null = null;

  /** @param replyMs the longest silence while an answer is awaited or octets are on their way */
  constructor(options: ImapFlowOptions, replyMs: number) {
    super({ ...options, socketTimeout: replyMs });
    this.#replyMs = replyMs;
    this.on('error', (error: Error) => {
      this.#fault ??= error;
    });
  }

  /** imapflow would wait up to five minutes for an Exchange that throttles; the caller knows better. */
  override async throttleWait(): Promise<boolean> {
    return false;
  }

  /** An answer to nothing that we sent: something else was taken for a command. Nothing more goes out here. */
  override countUnknownTag(tag: string): void {
    const error = new Error(`answer to the unknown tag ${printable(tag)}`);
    this.failProtocol(Object.assign(error, { code: 'UnknownTag' }));
  }

  /** The octets of an APPEND are written by the command itself, everything else by imapflow. */
  override async send(command: Command): Promise<void> {
    const append = command.options?.append;
    if (append === undefined) return super.send(command);
    append.start(command.tag);
    // Without this imapflow takes the tagged answer for one to a command that was never sent.
    if (this.currentRequest && this.currentRequest.tag === command.tag) this.currentRequest.sent = true;
  }

  /**
   * Sends a command without literals and gives its tagged answer.
   * @throws BridgeError when the connection ends first
   */
  async ask(
    phase: Phase,
    name: string,
    attributes: readonly Argument[] = [],
    untagged: ExecOptions['untagged'] = {},
  ): Promise<Answer> {
    this.watch();
    try {
      // No `+` is due for any of these: one that comes belongs to a literal that was given up.
      const reply = await this.exec(name, attributes, { untagged, onPlusTag: () => this.close() });
      reply.next();
      return { kind: 'ok', response: reply.response };
    } catch (thrown) {
      const error = refusalOf(phase, thrown as CommandFailure);
      if (error !== null) return { kind: 'refused', error };
      throw this.loss(thrown);
    } finally {
      this.unwatch();
    }
  }

  /** As `ask`. @throws BridgeError also when the server refuses */
  async command(
    phase: Phase,
    name: string,
    attributes?: readonly Argument[],
    untagged?: ExecOptions['untagged'],
  ): Promise<Response> {
    const answer = await this.ask(phase, name, attributes, untagged);
    if (answer.kind === 'refused') throw answer.error;
    return answer.response;
  }

  /**
   * Starts an APPEND and sends it up to the announcement of its last literal.
   * @param mailbox as it stands on the wire, quoted
   * @param literals none of them `unsendable`
   */
  appendGroup(mailbox: string, literals: readonly AppendLiteral[]): AppendCommand {
    return new AppendCommand(this, mailbox, literals);
  }

  /** One command and its answer, and nothing else: false, and closed, where the server is not in step. */
  async inStep(): Promise<boolean> {
    const confused = { BAD: () => this.close() };
    const answer = await this.ask('fetch', 'NOOP', [], confused).catch(() => null);
    return answer !== null && !this.isClosed;
  }

  /** Takes commands. After a BYE it does not, though imapflow closes it a moment later only. */
  get alive(): boolean {
    return !this.isClosed && this.state !== this.states.LOGOUT;
  }

  /** LOGOUT, after a command that only waits for its answer; at once closed where octets are held back. */
  async leave(): Promise<void> {
    if (this.#held) this.close();
    else await this.logout();
  }

  /** An APPEND of this connection waits for its turn, however late that may come. */
  hold(held: boolean): void {
    if (held === this.#held) return;
    this.#held = held;
    if (held) this.unwatch();
    else this.watch();
  }

  /** Which literals this server allows without its `+` (RFC 7888). */
  get nonSynchronising(): NonSynchronising {
    if (this.capabilities.has('LITERAL+')) return 'all';
    return this.capabilities.has('LITERAL-') ? 'small' : 'none';
  }

  /**
   * Hands a whole part to the socket in one step.
   * @throws BridgeError when there is no connection, and then nothing of it went out
   */
  hand(part: readonly Buffer[]): void {
    const socket = this.writeSocket;
    if (socket === null || socket.destroyed || !this.alive) {
      this.close();
      throw this.loss(new Error('connection closed'));
    }
    socket.cork();
    for (const octets of part) socket.write(octets);
    socket.uncork();
  }

  /** `LOGIN`, `AUTH=PLAIN`, `AUTH=LOGIN`; null where the server wanted no sign-in (PREAUTH). */
  get signedInWith(): string | null {
    for (const [mechanism, used] of this.authCapabilities) if (used) return mechanism;
    return null;
  }

  /** Signed in: from now on silence matters only while something is awaited. */
  idleFromNow(): void {
    this.socket?.setTimeout(0);
  }

  /** From now on silence ends the connection. */
  watch(): void {
    if (this.#awaited++ === 0) this.socket?.setTimeout(this.#replyMs);
  }

  unwatch(): void {
    if (--this.#awaited === 0) this.socket?.setTimeout(0);
  }

  /** Why the connection ended, from what a command of it was rejected with. */
  loss(thrown: unknown): BridgeError {
    if (thrown instanceof BridgeError) return thrown;
    const error = thrown as CommandFailure;
    const reason = error.reason ?? this.byeReason;
    if (reason !== undefined) return farewell(reason);
    const fault = (this.#fault ?? error) as CommandFailure;
    const code = fault.code ?? '';
    return new BridgeError(lossCode(code), {
      side: 'destination',
      detail: printable([fault.message, code === '' ? '' : `(${code})`].join(' ').trim()),
      cause: fault,
    });
  }
}

/** An APPEND under way on a connection. `accepted` comes first, then `sendLast`, then `end`. */
export class AppendCommand {
  /** True: the server waits for the last literal's octets, all before it has arrived. False: it ended before. */
  readonly accepted: Promise<boolean>;
  /** Never rejects. */
  readonly end: Promise<AppendEnd>;
  readonly #client: ImapClient;
  readonly #mailbox: string;
  readonly #literals: readonly AppendLiteral[];
  /** Heads (see `taken`) that this command itself has announced so far. */
  readonly #asked = new Set<string>();
  /** What is still to be sent; the last one is held back. */
  #parts: Buffer[][] = [];
  #accept: (accepted: boolean) => void = () => {};
  #accepted = false;
  #sent = false;
  #tag = '';

  constructor(client: ImapClient, mailbox: string, literals: readonly AppendLiteral[]) {
    this.#client = client;
    this.#mailbox = mailbox;
    this.#literals = literals;
    this.accepted = new Promise((resolve) => {
      this.#accept = resolve;
    });
    client.watch();
    const options = { append: this, onPlusTag: () => this.#plus() };
    this.end = client.exec('APPEND', [], options).then(
      (reply) => {
        reply.next();
        return this.#finish(this.#answered(reply.response));
      },
      (thrown) => this.#finish(this.#failed(thrown as CommandFailure)),
    );
  }

  /** Called by the client when it is this command's turn. */
  start(tag: string): void {
    this.#tag = tag;
    const prefix = `${tag} APPEND ${this.#mailbox}`;
    this.#parts = appendFrames(prefix, this.#literals, (literal) => this.#mayRun(literal));
    this.#sendNext();
  }

  /** The last octets and the command's end; once, after `accepted` gave true. Without effect when it has ended. */
  sendLast(): void {
    // imapflow forgets a command the moment its answer is read, before `end` knows of it.
    const { currentRequest } = this.#client;
    const open = currentRequest !== false && currentRequest.tag === this.#tag;
    if (!open || this.#sent || !this.#accepted) return;
    this.#client.hold(false);
    try {
      this.#sendNext();
      this.#sent = true;
    } catch {
      // The connection is closed, and `end` says so.
    }
  }

  /** A folder and flags that are new to this connection are announced with a literal that waits for the `+`. */
  #mayRun(literal: AppendLiteral): boolean {
    const head = this.#head(literal);
    const known = this.#client.taken.has(head) || this.#asked.has(head);
    this.#asked.add(head);
    return known && permits(this.#client.nonSynchronising, literal.octets.length);
  }

  #head(literal: AppendLiteral): string {
    return `${this.#mailbox} ${flagList(literal)}`;
  }

  #plus(): void {
    if (this.#parts.length > 1) {
      this.#sendNext();
    } else if (!this.#accepted) {
      this.#accepted = true;
      for (const literal of this.#literals) this.#client.taken.add(this.#head(literal));
      this.#client.hold(true);
      this.#accept(true);
    }
  }

  #sendNext(): void {
    const part = this.#parts.shift();
    if (part !== undefined) this.#client.hand(part);
  }

  #answered(response: Response): AppendEnd {
    if (this.#sent) return { kind: 'ok', response };
    // OK for a message that it does not have: nobody knows what it stored.
    this.#client.close();
    const detail = 'the server accepted an APPEND before its end';
    return { kind: 'lost', error: protocolError(detail), sent: true };
  }

  #failed(thrown: CommandFailure): AppendEnd {
    const error = refusalOf('append', thrown);
    if (error === null) {
      // An answer that could not be read, for instance. A connection in doubt takes no other command.
      this.#client.close();
      return { kind: 'lost', error: this.#client.loss(thrown), sent: this.#sent };
    }
    // It asked for the octets and does not want them now; whether it still counts them is anybody's guess.
    if (this.#accepted && !this.#sent) this.#client.close();
    return { kind: 'refused', error };
  }

  #finish(end: AppendEnd): AppendEnd {
    this.#parts = [];
    this.#client.hold(false);
    this.#client.unwatch();
    this.#accept(false);
    return end;
  }
}

/** The error of a tagged NO or BAD; null when it is none, so that the command's fate is open. */
export function refusalOf(phase: Phase, failure: CommandFailure): BridgeError | null {
  const status = failure.responseStatus;
  // MissingTag: a NO or BAD without a tag answers nothing for sure.
  if ((status !== 'NO' && status !== 'BAD') || failure.code === 'MissingTag') return null;
  const response = typeof failure.response === 'object' ? failure.response : null;
  const code = response === null ? failure.serverResponseCode : responseCode(response)?.name;
  const text = response === null ? failure.responseText : responseText(response);
  return refusal(phase, { status, code: code ?? null, text: text ?? '' });
}

const TIMEOUTS = new Set(['ETIMEOUT', 'ETIMEDOUT', 'GREETING_TIMEOUT', 'CONNECT_TIMEOUT', 'UPGRADE_TIMEOUT']);
const NOT_IMAP =
  /^(Parser|Line|Literal|Response)|TooMany|Unexpected|UnknownTag|MissingTag|InvalidResponse|MAX_IMAP_NESTING/;

function lossCode(code: string) {
  if (TIMEOUTS.has(code)) return 'timeout';
  return NOT_IMAP.test(code) ? 'protocol_error' : 'connection_lost';
}

function protocolError(detail: string): BridgeError {
  return new BridgeError('protocol_error', { side: 'destination', detail });
}
