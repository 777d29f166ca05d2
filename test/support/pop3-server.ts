import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/** What the server says to a command; null: nothing at all. */
export type Say = string | Buffer | null;

/** One message in the mailbox. */
export interface Stored {
  readonly uidl: string;
  readonly bytes: Buffer;
  /** What LIST says. */
  readonly size: number;
}

/** One connection, as the server sees it. */
export interface Pop3Peer {
  readonly socket: Socket;
  /** What the session found, and what of it is marked as deleted. */
  readonly maildrop: readonly Stored[];
  readonly marked: Set<Stored>;
  /** Everything but the line itself: what came, chunk by chunk. */
  readonly chunks: string[];
}

export interface Pop3ServerOptions {
  /** What each RETR delivers: the octets with their final CRLF. */
  messages?: readonly Buffer[];
  /** Lines of CAPA. Default: {@link CAPABILITIES}. */
  capabilities?: readonly string[];
  greeting?: Say;
  /** LIST sizes that are not true, by message number. */
  sizes?: ReadonlyMap<number, number>;
  /**
   * Takes a command's place, by its verb: says that, or nothing for null; undefined leaves the command to the
   * server.
   */
  on?: Readonly<Record<string, (line: string, peer: Pop3Peer) => Say | undefined>>;
}

/** A POP3 server on 127.0.0.1 that does on command what real ones do at bad times. Password: `secret`. */
export interface Pop3Server extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** All command lines so far, of all connections. */
  readonly lines: string[];
  readonly peers: Pop3Peer[];
  /** Most commands that came before the first of them was answered. */
  readonly mostPending: number;
}

export const CAPABILITIES = ['TOP', 'UIDL', 'RESP-CODES', 'PIPELINING', 'USER', 'SASL PLAIN'];

export async function startPop3Server(options: Pop3ServerOptions = {}): Promise<Pop3Server> {
  const lines: string[] = [];
  const peers: Pop3Peer[] = [];
  const mailbox = new Mailbox(options);
  let mostPending = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    const peer: Pop3Peer = { socket, chunks: [], maildrop: mailbox.stored, marked: new Set() };
    peers.push(peer);
    socket.on('error', () => {});
    say(socket, options.greeting === undefined ? '+OK ready\r\n' : options.greeting);
    let begun = '';
    let pending: string[] = [];
    const answerAll = () => {
      mostPending = Math.max(mostPending, pending.length);
      const taken = pending;
      pending = [];
      for (const line of taken) if (!socket.destroyed) say(socket, answer(options, mailbox, line, peer));
    };
    socket.on('data', (chunk) => {
      peer.chunks.push(chunk.toString());
      const whole = (begun + chunk.toString()).split('\r\n');
      begun = whole.pop() ?? '';
      lines.push(...whole);
      if (pending.length === 0) setImmediate(answerAll);
      pending.push(...whole);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    lines,
    peers,
    get mostPending() {
      return mostPending;
    },
    async [Symbol.asyncDispose]() {
      for (const { socket } of peers) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function say(socket: Socket, what: Say): void {
  if (what !== null) socket.write(what);
}

class Mailbox {
  stored: readonly Stored[];

  constructor({ messages = [], sizes }: Pop3ServerOptions) {
    this.stored = messages.map((bytes, n) => {
      return { uidl: `id-${n + 1}`, bytes, size: sizes?.get(n + 1) ?? bytes.length };
    });
  }

  remove(marked: ReadonlySet<Stored>): void {
    this.stored = this.stored.filter((message) => !marked.has(message));
  }
}

function answer(options: Pop3ServerOptions, mailbox: Mailbox, line: string, peer: Pop3Peer): Say {
  const [verb = '', argument = ''] = line.split(' ');
  const own = options.on?.[verb]?.(line, peer);
  if (own !== undefined) return own;
  const message = find(peer, Number(argument));
  switch (verb) {
    case 'CAPA':
      return listing(options.capabilities ?? CAPABILITIES);
    case 'UIDL':
      return listing(unmarked(peer, ({ uidl }) => uidl));
    case 'LIST':
      return listing(unmarked(peer, ({ size }) => `${size}`));
    case 'RETR':
      return message === undefined ? NO_SUCH_MESSAGE : lines(message.bytes);
    case 'TOP':
      return message === undefined ? NO_SUCH_MESSAGE : lines(top(message.bytes));
    case 'DELE':
      if (message === undefined) return NO_SUCH_MESSAGE;
      peer.marked.add(message);
      return '+OK\r\n';
    case 'PASS':
      return line === 'PASS secret' ? '+OK\r\n' : '-ERR no\r\n';
    case 'AUTH':
      return line.endsWith(Buffer.from('\0anna\0secret').toString('base64')) ? '+OK\r\n' : '-ERR no\r\n';
    case 'QUIT':
      mailbox.remove(peer.marked);
      peer.socket.end('+OK bye\r\n');
      return null;
    case 'USER':
    case 'NOOP':
    case 'RSET':
    case 'UTF8':
      return '+OK\r\n';
    default:
      return '-ERR unknown command\r\n';
  }
}

const NO_SUCH_MESSAGE = '-ERR no such message\r\n';

/** RFC 1939 section 5: a message marked as deleted can be named no more, and is in no listing. */
function find({ maildrop, marked }: Pop3Peer, number: number): Stored | undefined {
  const message = maildrop[number - 1];
  return message === undefined || marked.has(message) ? undefined : message;
}

function unmarked({ maildrop, marked }: Pop3Peer, text: (message: Stored) => string): string[] {
  return maildrop.flatMap((message, n) => (marked.has(message) ? [] : `${n + 1} ${text(message)}`));
}

/** With the empty line behind the header, as Dovecot does, also where the message has none. */
function top(message: Buffer): Buffer {
  if (message.indexOf('\r\n') === 0) return Buffer.from('\r\n');
  const end = message.indexOf('\r\n\r\n');
  return end < 0 ? Buffer.concat([message, Buffer.from('\r\n')]) : message.subarray(0, end + 4);
}

/** `+OK` and the octets of a message, or of a part that ends with a line. */
function lines(octets: Buffer): Say {
  return Buffer.concat([Buffer.from('+OK\r\n'), stuffed(octets), Buffer.from('.\r\n')]);
}

/** `+OK` and lines. */
export function listing(lines: readonly string[]): Buffer {
  return Buffer.from(['+OK', ...lines, '.', ''].join('\r\n'), 'latin1');
}

/** RFC 1939 section 3. */
export function stuffed(message: Buffer): Buffer {
  const text = message.toString('latin1').replaceAll('\r\n.', '\r\n..');
  return Buffer.from(text.startsWith('.') ? `.${text}` : text, 'latin1');
}
