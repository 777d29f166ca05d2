import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';

export interface ReadMessage {
  uidl: string;
  /** What LIST says, bytes. */
  size: number;
  /** The octets that RETR delivered, dot-unstuffed. */
  bytes: Buffer;
}

export interface Pop3Account {
  host: string;
  /** POP3 over TLS. */
  port: number;
  /** PEM of the authority that must have signed the server's certificate, for `localhost`. */
  ca: string | Buffer;
  username: string;
  password: string;
}

/**
 * A whole mailbox over POP3, in order, one command at a time. It shares no code with the service, so that it can
 * be held against it: what it reads is the truth of every comparison.
 */
export async function readPop3(account: Pop3Account): Promise<ReadMessage[]> {
  const { host, port, ca } = account;
  const socket = connect({ host, port, ca, servername: 'localhost' });
  try {
    await once(socket, 'secureConnect');
    return await readAll(new Wire(socket), account);
  } finally {
    socket.destroy();
  }
}

async function readAll(wire: Wire, account: Pop3Account): Promise<ReadMessage[]> {
  await wire.answer(LINE_END);
  await wire.command(`USER ${account.username}`);
  await wire.command(`PASS ${account.password}`);
  const sizes = new Map(pairs(await wire.lines('LIST')));
  const messages: ReadMessage[] = [];
  for (const [number, uidl] of pairs(await wire.lines('UIDL')))
    messages.push({ uidl, size: Number(sizes.get(number)), bytes: await wire.lines(`RETR ${number}`) });
  await wire.command('QUIT');
  return messages;
}

const MINUS = 0x2d;
const LINE_END = Buffer.from('\r\n');
// With one command at a time nothing follows an answer, and stuffing keeps this out of the middle of one.
const LINES_END = Buffer.from('\r\n.\r\n');

class Wire {
  readonly #socket: TLSSocket;
  readonly #chunks: AsyncIterator<Buffer>;
  #held = Buffer.alloc(64 * 1024);

  constructor(socket: TLSSocket) {
    this.#socket = socket;
    this.#chunks = socket[Symbol.asyncIterator]();
  }

  command(line: string): Promise<Buffer> {
    this.#socket.write(`${line}\r\n`);
    return this.answer(LINE_END);
  }

  /** The body of a multi-line answer. RFC 1939 section 3: a dot that begins a line is doubled. */
  async lines(command: string): Promise<Buffer> {
    this.#socket.write(`${command}\r\n`);
    const answer = await this.answer(LINES_END);
    const text = answer.toString('latin1', answer.indexOf(LINE_END), answer.length - '.\r\n'.length);
    return Buffer.from(text.replaceAll('\r\n.', '\r\n').slice('\r\n'.length), 'latin1');
  }

  async answer(end: Buffer): Promise<Buffer> {
    let length = 0;
    for (;;) {
      const chunk = await this.#chunks.next();
      if (chunk.done === true) throw new Error('the POP3 server closed the connection');
      length = this.#hold(chunk.value, length);
      const all = this.#held.subarray(0, length);
      if (all[0] === MINUS && all.subarray(-2).equals(LINE_END))
        throw new Error(all.toString('latin1').trim());
      if (all.subarray(-end.length).equals(end)) return all;
    }
  }

  #hold(chunk: Buffer, at: number): number {
    const length = at + chunk.length;
    if (length > this.#held.length) this.#held = Buffer.concat([this.#held], 2 * length);
    chunk.copy(this.#held, at);
    return length;
  }
}

/** `[[number, value], …]` of a LIST or UIDL listing. */
function pairs(listing: Buffer): [string, string][] {
  const lines = listing.toString('latin1').split('\r\n').slice(0, -1);
  return lines.map((line) => {
    const [number = '', value = ''] = line.split(' ');
    return [number, value];
  });
}
