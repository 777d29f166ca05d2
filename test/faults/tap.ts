import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A part of what goes over a wire, forwarded whole. `before` and `after` name the steps around it. */
export interface Piece {
  bytes: Buffer;
  before?: string;
  after?: string;
}

/** Cuts both directions of one connection into pieces; keeps what is not complete. */
export interface Reader {
  toServer(chunk: Buffer): Piece[];
  toClient(chunk: Buffer): Piece[];
}

/** Asked at each step; what comes behind waits. False: the piece is not forwarded, nor anything after it. */
export type Gate = (step: string, link: Link) => Promise<boolean> | true;

/** Changes what is forwarded, as a server of another kind would. */
export interface Edit {
  toServer?: (bytes: Buffer) => Buffer;
  toClient?: (bytes: Buffer) => Buffer;
}

export interface TapOptions {
  /** Port on 127.0.0.1. */
  target: number;
  reader: () => Reader;
  gate: Gate;
}

/**
 * A TCP proxy between a worker and one server that sees every step on the wire and can act at it. Octets that a
 * client sent before it died still reach the server, as they do from a kernel's queue.
 */
export class Tap {
  /** Where new connections go. */
  target: number;
  /** For new connections. */
  edit: Edit = {};
  readonly links = new Set<Link>();
  readonly #options: TapOptions;
  readonly #server: Server;

  private constructor(options: TapOptions) {
    this.#options = options;
    this.target = options.target;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
  }

  static async open(options: TapOptions): Promise<Tap> {
    const tap = new Tap(options);
    tap.#server.listen(0, '127.0.0.1');
    await once(tap.#server, 'listening');
    return tap;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** RST to both sides of every connection. */
  reset(): void {
    for (const link of this.links) link.reset();
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.reset();
    await closed;
  }

  #accept(client: Socket): void {
    const { reader, gate } = this.#options;
    const link = new Link(client, edited(reader(), this.edit), gate);
    this.links.add(link);
    void link.run(() => this.target).finally(() => this.links.delete(link));
  }
}

function edited(reader: Reader, { toServer, toClient }: Edit): Reader {
  const each = (pieces: Piece[], edit: Edit['toServer']) =>
    edit === undefined ? pieces : pieces.map((piece) => ({ ...piece, bytes: edit(piece.bytes) }));
  return {
    toServer: (chunk) => each(reader.toServer(chunk), toServer),
    toClient: (chunk) => each(reader.toClient(chunk), toClient),
  };
}

/** One connection through a tap. */
export class Link {
  readonly client: Socket;
  readonly #reader: Reader;
  readonly #gate: Gate;
  #server: Socket | null = null;
  #isCut = false;

  constructor(client: Socket, reader: Reader, gate: Gate) {
    this.client = client;
    this.#reader = reader;
    this.#gate = gate;
    client.on('error', () => {});
  }

  get isCut(): boolean {
    return this.#isCut;
  }

  /** RST to both sides; what is held is gone. Idempotent. */
  reset(): void {
    this.#isCut = true;
    for (const socket of [this.client, this.#server]) if (socket?.destroyed === false) reset(socket);
  }

  async run(target: () => number): Promise<void> {
    if (!(await this.#passes('connect'))) return this.reset();
    const server = connect({ port: target(), host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    this.#server = server;
    server.on('error', () => {});
    await Promise.all([
      this.#pump(this.client, server, (chunk) => this.#reader.toServer(chunk)),
      this.#pump(server, this.client, (chunk) => this.#reader.toClient(chunk)),
    ]);
    this.client.destroy();
    server.destroy();
  }

  async #pump(from: Socket, to: Socket, read: (chunk: Buffer) => Piece[]): Promise<void> {
    try {
      for await (const chunk of from.iterator({ destroyOnReturn: false }))
        for (const piece of read(chunk as Buffer)) if (!(await this.#forward(piece, to))) return this.reset();
      to.end();
    } catch {
      // The side that reads learns of it as the end that it is.
      to.destroy();
    }
  }

  async #forward({ bytes, before, after }: Piece, to: Socket): Promise<boolean> {
    if (before !== undefined && !(await this.#passes(before))) return false;
    if (!to.destroyed) to.write(bytes);
    return after === undefined || this.#passes(after);
  }

  async #passes(step: string): Promise<boolean> {
    const verdict = this.#gate(step, this);
    return (verdict === true || (await verdict)) && !this.#isCut;
  }
}

/** A socket that is being shut down takes no reset: libuv refuses it, and node would wait for it at its end for ever. */
function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}
