import { connect as connectTo } from 'node:net';
import type { ImapClient } from '../../src/imap/client.ts';
import { connect } from '../../src/imap/connection.ts';
import { createDialer } from '../../src/net/index.ts';
import type { Dovecot } from './dovecot.ts';
import type { ImapServer } from './imap-server.ts';
import { ALWAYS } from './imap-target.ts';

/** Taken for commands, these lines delete the folder `victim` and make the folder `planted`. */
const COMMANDS = ['Z1 NOOP', 'Z2 CREATE planted', 'Z3 DELETE victim', 'Z4 LIST "" *'];

/**
 * A message whose body is IMAP commands, line after line, at least so many bytes long: wherever a server loses
 * count in it, commands follow.
 */
export function plantedMessage(bytes = 1_000): Buffer {
  const verse = `${COMMANDS.join('\r\n')}\r\n`;
  return Buffer.from(`Subject: planted\r\n\r\n${verse.repeat(Math.ceil(bytes / verse.length))}`);
}

/** One connection of the target's own kind, signed in as alice. */
export async function clientOn(server: Dovecot | ImapServer, replyMs = 10_000): Promise<ImapClient> {
  const port = 'port' in server ? server.port : server.ports.imap;
  const dialer = createDialer({
    allowNetworks: ['127.0.0.0/8'],
    allowPlaintext: true,
    allowLegacyTls: false,
    extraCa: null,
    connectTimeoutMs: 5_000,
  });
  return connect(
    {
      endpoint: { host: '127.0.0.1', port, security: 'none', username: 'alice', auth: { type: 'password' } },
      auth: { type: 'password', password: 'secret' },
      dialer,
      timeouts: { greetingMs: 5_000, replyMs, closeMs: 1_000 },
    },
    ALWAYS,
  );
}

/** Sends these pieces, each when the server has said something new; the last one must make it close. */
export async function speak(port: number, pieces: readonly (string | Buffer)[]): Promise<void> {
  const socket = connectTo(port, '127.0.0.1');
  const rest = [...pieces];
  let said = '';
  socket.on('data', (chunk) => {
    said += chunk.toString('latin1');
    const piece = said.endsWith('\r\n') ? rest.shift() : undefined;
    if (piece !== undefined) socket.write(piece);
  });
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('close', resolve));
}
