import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/** What the server says to a command; null: nothing at all. */
export type Say = string | Buffer | null;

/** One connection, as the server sees it. */
export interface Pop3Peer {
  readonly socket: Socket;
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
  let mostPending = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    const peer: Pop3Peer = { socket, chunks: [] };
    peers.push(peer);
    socket.on('error', () => {});
    say(socket, options.greeting === undefined ? '+OK ready\r\n' : options.greeting);
    let begun = '';
    let pending: string[] = [];
    const answerAll = () => {
      mostPending = Math.max(mostPending, pending.length);
      const taken = pending;
      pending = [];
      for (const line of taken) if (!socket.destroyed) say(socket, answer(options, line, peer));
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

function answer(options: Pop3ServerOptions, line: string, peer: Pop3Peer): Say {
  const [verb = '', argument = ''] = line.split(' ');
  const own = options.on?.[verb]?.(line, peer);
  if (own !== undefined) return own;
  const messages = options.messages ?? [];
  const number = Number(argument);
  switch (verb) {
    case 'CAPA':
      return listing(options.capabilities ?? CAPABILITIES);
    case 'UIDL':
      return listing(messages.map((_, index) => `${index + 1} id-${index + 1}`));
    case 'LIST':
      return listing(messages.map((bytes, n) => `${n + 1} ${options.sizes?.get(n + 1) ?? bytes.length}`));
    case 'RETR':
      return retrieved(messages[number - 1]);
    case 'PASS':
      return line === 'PASS secret' ? '+OK\r\n' : '-ERR no\r\n';
    case 'AUTH':
      return line.endsWith(Buffer.from('\0anna\0secret').toString('base64')) ? '+OK\r\n' : '-ERR no\r\n';
    case 'QUIT':
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

function retrieved(message: Buffer | undefined): Say {
  if (message === undefined) return '-ERR no such message\r\n';
  return Buffer.concat([Buffer.from('+OK\r\n'), stuffed(message), Buffer.from('.\r\n')]);
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
