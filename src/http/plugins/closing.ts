import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import fp from 'fastify-plugin';

export interface ClosingOptions {
  /** How long clients may take to read their answers, milliseconds. */
  closeMs: number;
}

/**
 * Bounds `close()`. Node waits for answers under way and drops what is idle at that moment, but neither what
 * becomes idle afterwards, nor connections that never carried a request, as browsers open them in advance.
 */
export const closing = fp<ClosingOptions>(async (app, { closeMs }) => {
  const unused = new Set<Socket>();
  let dropping: NodeJS.Timeout | undefined;
  let isClosing = false;

  app.server.on('connection', (socket: Socket) => {
    unused.add(socket);
    socket.once('close', () => unused.delete(socket));
  });
  app.server.on('request', ({ socket }: IncomingMessage) => unused.delete(socket));

  app.addHook('onSend', async (_request, reply) => {
    if (isClosing) reply.header('connection', 'close');
  });
  app.addHook('preClose', async () => {
    isClosing = true;
    dropping = setTimeout(() => app.server.closeAllConnections(), closeMs);
    for (const socket of unused) socket.destroy();
  });
  app.addHook('onClose', async () => clearTimeout(dropping));
});
