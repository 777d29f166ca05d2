import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type FetchMessageObject, ImapFlow } from 'imapflow';
import { type Servers, USER } from './servers.ts';

const NOTICE_MS = 15_000;

export interface StoredMessage {
  uid: number;
  bytes: Buffer;
}

/** An ordinary IMAP client, signed in, with INBOX open; `stack` signs it out. */
export async function openClient(servers: Servers, stack: AsyncDisposableStack): Promise<ImapFlow> {
  const { host, ports, password } = servers.destination;
  const client = new ImapFlow({
    host,
    port: ports.imaps,
    secure: true,
    auth: { user: USER, pass: password },
    tls: { ca: await readFile(servers.caFile), servername: 'localhost' },
    logger: false,
    disableAutoIdle: true,
  });
  client.on('error', () => undefined);
  await client.connect();
  stack.defer(() => client.logout());
  await client.mailboxOpen('INBOX');
  return client;
}

/** Every message of INBOX, whole, by ascending UID. */
export async function readDestination(client: ImapFlow): Promise<StoredMessage[]> {
  const found: StoredMessage[] = [];
  for await (const { uid, source } of client.fetch('1:*', {
    uid: true,
    source: true,
  }) as AsyncIterable<FetchMessageObject>)
    if (source !== undefined) found.push({ uid, bytes: source });
  return found.sort((a, b) => a.uid - b.uid);
}

/** What the move is for: two devices at once, and what is read on one is read on the other. */
export async function showTwoDevices(
  servers: Servers,
): Promise<{ seenByBoth: boolean; noticedAfterMs: number }> {
  await using stack = new AsyncDisposableStack();
  const phone = await openClient(servers, stack);
  const laptop = await openClient(servers, stack);
  const [onPhone, onLaptop] = [phone.mailbox, laptop.mailbox];
  const seenByBoth =
    onPhone !== false && onLaptop !== false && onPhone.exists > 0 && onPhone.exists === onLaptop.exists;
  const signal = AbortSignal.timeout(NOTICE_MS);
  const noticed = once(laptop, 'flags', { signal });
  const idle = laptop.idle();
  const begin = performance.now();
  await phone.messageFlagsAdd('1', ['\\Seen']);
  const [change] = (await noticed) as [{ seq: number; flags: Set<string> }];
  const noticedAfterMs = performance.now() - begin;
  await laptop.noop();
  await idle;
  return { seenByBoth: seenByBoth && change.seq === 1 && change.flags.has('\\Seen'), noticedAfterMs };
}
