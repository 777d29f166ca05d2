import { ImapFlow } from 'imapflow';
import type { Dovecot } from './dovecot.ts';

export interface HeldMessage {
  uid: number;
  bytes: Buffer;
  internalDate: Date;
  flags: string[];
}

/** A plain imapflow client of an account, signed in; `done` with it by `logout()`. */
export async function imapClient(
  server: Pick<Dovecot, 'host' | 'ports' | 'password'>,
  user: string,
): Promise<ImapFlow> {
  const client = new ImapFlow({
    host: server.host,
    port: server.ports.imap,
    secure: false,
    doSTARTTLS: false,
    auth: { user, pass: server.password },
    logger: false,
    disableAutoIdle: true,
  });
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** All that a folder holds, in the order of UIDs, read with imapflow alone. */
export async function readFolder(
  server: Pick<Dovecot, 'host' | 'ports' | 'password'>,
  user: string,
  folder = 'INBOX',
): Promise<HeldMessage[]> {
  const client = await imapClient(server, user);
  try {
    await client.mailboxOpen(folder, { readOnly: true });
    const held: HeldMessage[] = [];
    const query = { uid: true, source: true, internalDate: true, flags: true };
    for await (const message of client.fetch('1:*', query, { uid: true }))
      held.push({
        uid: message.uid,
        bytes: message.source ?? Buffer.alloc(0),
        internalDate: new Date(message.internalDate ?? Number.NaN),
        flags: [...(message.flags ?? [])],
      });
    return held.sort((a, b) => a.uid - b.uid);
  } finally {
    await client.logout();
  }
}
