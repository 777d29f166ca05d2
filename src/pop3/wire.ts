import type { Socket } from 'node:net';
import { BridgeError } from '../domain/errors.ts';
import { Pop3Decoder, type Sink } from './decoder.ts';
import type { Pop3Timeouts } from './limits.ts';
import { wordsOf } from './replies.ts';

const PLUS = 0x2b;
const OK = Buffer.from('+OK');
const ERR = Buffer.from('-ERR');

export type Reply =
  /** `+OK`; `text` is what stands behind it (latin1), empty where lines follow: those are in the caller's sink. */
  | { kind: 'ok'; text: string }
  /** `words`: the server's text for people, free of secrets. */
  | { kind: 'err'; words: string }
  /** `+ ` in a SASL exchange (RFC 5034 section 4). */
  | { kind: 'continue' };

/**
 * How an answer may look: `sasl` may be a `+ `; `tls` is the one before the TLS handshake, so not a byte may stand
 * behind it.
 */
type Manner = 'plain' | 'sasl' | 'tls';

/** One answer that the server owes. */
interface Owed {
  /** Where the lines of a multi-line `+OK` go; null where the answer is one line. */
  sink: Sink | null;
  manner: Manner;
  patienceMs: number;
  resolve: (reply: Reply) => void;
  reject: (error: unknown) => void;
}

/**
 * A connected POP3 server: commands out, answers in, in the order of asking. It ends once, by `fail`: every owed
 * answer is rejected with the same error, the socket is destroyed, and later commands get that error too. A promise
 * of an answer that nobody awaits is no unhandled rejection.
 */
export class Pop3Wire {
  readonly #timeouts: Pop3Timeouts;
  readonly #secrets: string[] = [];
  readonly #owed: Owed[] = [];
  readonly #decoder: Pop3Decoder;
  #socket: Socket;
  #failure: unknown = null;
  #failed = false;
  #reply: Reply | null = null;
  #paused = false;
  #timer: NodeJS.Timeout | null = null;
  #timerMs = 0;

  /** @param socket connected; its data has not flowed yet */
  constructor(socket: Socket, timeouts: Pop3Timeouts) {
    this.#timeouts = timeouts;
    this.#decoder = new Pop3Decoder({
      status: (line, rest) => this.#onStatus(line, rest),
      end: () => this.#settle(),
      garbage: (line) => this.fail(protocolError('this is no POP3 answer', line && this.#words(line))),
    });
    this.#socket = socket;
    this.#attach(socket);
  }

  /** True once the session has ended, for whatever reason. */
  get failed(): boolean {
    return this.#failed;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Answers that the server still owes. */
  get owed(): number {
    return this.#owed.length;
  }

  /** Never to be shown in a server's words, from now on. */
  conceal(secret: string): void {
    this.#secrets.push(secret);
  }

  /** The first answer, which the server gives unasked. */
  greeting(): Promise<Reply> {
    return this.#expect(null, this.#timeouts.greetingMs);
  }

  /**
   * Sends one command and awaits its answer.
   * @param line without CRLF; sent as UTF-8
   * @param sink for the lines of a multi-line answer; null: the answer is one line
   * @throws BridgeError or the reason of an abort, when the session ends before the answer
   */
  exchange(line: string, sink: Sink | null = null): Promise<Reply> {
    const answer = this.#expect(sink, this.#timeouts.replyMs);
    this.send(`${line}\r\n`);
    return answer;
  }

  /** One step of a SASL exchange: the command, or a response to the server's `+ `. */
  sasl(line: string): Promise<Reply> {
    const answer = this.#expect(null, this.#timeouts.replyMs, 'sasl');
    this.send(`${line}\r\n`);
    return answer;
  }

  /** Awaits one more answer; the command that it belongs to goes out with the next `send`. */
  expect(sink: Sink | null): Promise<Reply> {
    return this.#expect(sink, this.#timeouts.replyMs);
  }

  send(lines: string): void {
    if (!this.#failed) this.#socket.write(lines, 'utf8');
  }

  /**
   * STLS (RFC 2595 section 4). Bytes that came with the answer were not protected and could be anybody's: they end
   * the session.
   * @throws whatever `secure` throws
   */
  async startTls(secure: (plain: Socket) => Promise<Socket>): Promise<Reply> {
    const answer = this.#expect(null, this.#timeouts.replyMs, 'tls');
    this.send('STLS\r\n');
    const reply = await answer;
    if (reply.kind !== 'ok') return reply;
    const secured = await secure(this.#socket);
    this.#socket = secured;
    if (this.#failed) secured.destroy();
    else this.#attach(secured);
    return reply;
  }

  /** Reads nothing more until `resume`; a pause of more than `stallMs` since the last call ends the session. */
  pause(): void {
    if (this.#failed) return;
    this.#paused = true;
    this.#socket.pause();
    this.#watch(true);
  }

  resume(): void {
    if (!this.#paused || this.#failed) return;
    this.#paused = false;
    this.#socket.resume();
    this.#watch(true);
  }

  /** Ends the session with that error, now. Idempotent: the first error stays. */
  fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#failure = error;
    this.#decoder.stop();
    this.#socket.destroy();
    this.#watch(true);
    for (const owed of this.#owed.splice(0)) owed.reject(error);
  }

  #attach(socket: Socket): void {
    socket.on('data', this.#onData);
    // Stays for good: a socket may report an error after it was given up.
    socket.on('error', this.#onError);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onEnd);
  }

  /** Hands the plain socket over to TLS; what comes from now on is the handshake's. */
  #detach(socket: Socket): void {
    socket.pause();
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onEnd);
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#decoder.push(chunk);
    this.#watch(true);
  };

  readonly #onError = (cause: Error): void => {
    this.fail(connectionLost(cause.message, cause));
  };

  readonly #onEnd = (): void => {
    const detail =
      this.#owed.length > 0 ? 'closed by the server while an answer was owed' : 'closed by the server';
    this.fail(connectionLost(detail));
  };

  #expect(sink: Sink | null, patienceMs: number, manner: Manner = 'plain'): Promise<Reply> {
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    promise.catch(() => {});
    if (this.#failed) {
      reject(this.#failure);
      return promise;
    }
    this.#owed.push({ sink, manner, patienceMs, resolve, reject });
    this.#watch(this.#owed.length === 1);
    return promise;
  }

  #onStatus(line: Buffer, rest: number): Sink | null {
    const owed = this.#owed[0];
    const reply = this.#parse(line, owed?.sink === null);
    if (owed === undefined || reply === null || (reply.kind === 'continue' && owed.manner !== 'sasl')) {
      this.fail(this.#unexpected(reply, line));
      return null;
    }
    if (owed.manner === 'tls' && reply.kind === 'ok') {
      if (rest > 0)
        this.fail(protocolError('the server sent bytes between STLS and the TLS handshake', null));
      else this.#detach(this.#socket);
    }
    this.#reply = reply;
    if (reply.kind === 'ok' && owed.sink !== null) return owed.sink;
    this.#settle();
    return null;
  }

  #settle(): void {
    const owed = this.#owed.shift();
    if (this.#reply !== null) owed?.resolve(this.#reply);
    this.#reply = null;
  }

  #parse(line: Buffer, single: boolean): Reply | null {
    if (line.subarray(0, 3).equals(OK)) return { kind: 'ok', text: single ? line.toString('latin1', 4) : '' };
    if (line.subarray(0, 4).equals(ERR)) return { kind: 'err', words: this.#words(line.subarray(4)) };
    if (line[0] === PLUS) return { kind: 'continue' };
    return null;
  }

  /** An answer nobody asked for. `-ERR` is how servers say good-bye before they hang up. */
  #unexpected(reply: Reply | null, line: Buffer): BridgeError {
    if (reply?.kind === 'err') return connectionLost(reply.words);
    const detail = reply === null ? 'this is no POP3 answer' : 'an answer that nothing asked for';
    return protocolError(detail, this.#words(line));
  }

  #words(line: Buffer): string {
    return wordsOf(line, this.#secrets);
  }

  /**
   * One timer for whatever is waited for now: a consumer while paused, else the answer that is due next.
   * @param again something happened: start over; false: leave a timer that runs
   */
  #watch(again: boolean): void {
    const ms = this.#patience();
    if (this.#timer !== null && ms === this.#timerMs) {
      if (again) this.#timer.refresh();
      return;
    }
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = ms === 0 ? null : setTimeout(() => this.#expire(), ms);
    this.#timerMs = ms;
  }

  /** Milliseconds; 0: nothing is waited for. */
  #patience(): number {
    if (this.#failed) return 0;
    if (this.#paused) return this.#timeouts.stallMs;
    if (this.#decoder.midAnswer) return this.#timeouts.idleMs;
    return this.#owed[0]?.patienceMs ?? 0;
  }

  #expire(): void {
    const seconds = this.#timerMs / 1000;
    if (this.#paused) {
      this.fail(connectionLost(`given up: nothing was taken from it for ${seconds} s`));
      return;
    }
    const what = this.#decoder.midAnswer ? 'not a byte in the middle of an answer' : 'no answer';
    this.fail(new BridgeError('timeout', { side: 'source', detail: `${what} for ${seconds} s` }));
  }
}

function connectionLost(detail: string, cause?: Error): BridgeError {
  return new BridgeError('connection_lost', { side: 'source', detail, cause });
}

function protocolError(detail: string, words: string | null): BridgeError {
  const said = words === null || words === '' ? detail : `${detail}: ${words}`;
  return new BridgeError('protocol_error', { side: 'source', detail: said });
}
