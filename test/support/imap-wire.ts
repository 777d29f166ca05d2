import type { Socket } from 'node:net';

const CRLF = Buffer.from('\r\n');

/** The server's side of a connection: lines and counted octets, in the order in which they came. */
export class ImapWire {
  readonly socket: Socket;
  #chunks: Buffer[] = [];
  #length = 0;
  #ended = false;
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      this.#wake();
    });
    socket.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  /** Null at the end of the connection. */
  async line(): Promise<string | null> {
    for (;;) {
      const at = this.#whole().indexOf(CRLF);
      if (at >= 0) return this.#take(at + 2).toString('latin1', 0, at);
      if (this.#ended) return null;
      await this.#more();
    }
  }

  async octets(count: number): Promise<Buffer | null> {
    while (this.#length < count) {
      if (this.#ended) return null;
      await this.#more();
    }
    return this.#take(count);
  }

  say(...lines: (string | Buffer)[]): void {
    if (this.socket.destroyed) return;
    this.socket.cork();
    for (const line of lines) {
      this.socket.write(line);
      if (typeof line === 'string') this.socket.write(CRLF);
    }
    this.socket.uncork();
  }

  #take(count: number): Buffer {
    const whole = this.#whole();
    this.#chunks = [whole.subarray(count)];
    this.#length -= count;
    return Buffer.from(whole.subarray(0, count));
  }

  #whole(): Buffer {
    const whole = Buffer.concat(this.#chunks);
    this.#chunks = [whole];
    return whole;
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
