import { readFile } from 'node:fs/promises';
import type { FolderChoice, Security } from '../../src/domain/migration.ts';
import type { AppendOutcome, ImapUid, MailTarget, Outgoing, TargetSession } from '../../src/domain/ports.ts';
import { createImapTarget, type ImapTimeouts } from '../../src/imap/index.ts';
import { createDialer } from '../../src/net/index.ts';
import type { Dovecot } from './dovecot.ts';
import type { ImapServer } from './imap-server.ts';

export interface Account {
  username: string;
  password: string;
  authorizationId: string;
  security: Security;
  timeouts: Partial<ImapTimeouts>;
}

/** Never aborted. */
export const ALWAYS = new AbortController().signal;

export function uid(value: number): ImapUid {
  return value as ImapUid;
}

/** An account of a test server as the destination; default `alice`, in plain text. */
export async function targetOn(
  server: Dovecot | Pick<ImapServer, 'port'>,
  account: Partial<Account> = {},
): Promise<MailTarget> {
  const { security = 'none', username = 'alice', password = 'secret', authorizationId } = account;
  const port = 'port' in server ? server.port : server.ports[security === 'tls' ? 'imaps' : 'imap'];
  const dialer = createDialer({
    allowNetworks: ['127.0.0.0/8'],
    allowPlaintext: true,
    allowLegacyTls: false,
    extraCa: 'caFile' in server ? await readFile(server.caFile, 'utf8') : null,
    connectTimeoutMs: 5_000,
  });
  const identity = authorizationId === undefined ? {} : { authorizationId };
  return createImapTarget({
    endpoint: { host: '127.0.0.1', port, security, username, auth: { type: 'password', ...identity } },
    auth: { type: 'password', password, ...identity },
    dialer,
    ...(account.timeouts === undefined ? {} : { timeouts: account.timeouts }),
  });
}

export async function openOn(
  server: Dovecot | Pick<ImapServer, 'port'>,
  folder: FolderChoice = { path: ['INBOX'] },
  account: Partial<Account> = {},
): Promise<TargetSession & AsyncDisposable> {
  const session = await (await targetOn(server, account)).open(folder, ALWAYS);
  return Object.assign(session, { [Symbol.asyncDispose]: () => session.close() });
}

export function outgoing(bytes: Buffer | string, more: Partial<Outgoing> = {}): Outgoing {
  const internalDate = new Date('2014-03-03T10:20:30Z');
  return { bytes: Buffer.from(bytes), literal8: false, flags: [], internalDate, ...more };
}

/** Uploads and releases at once. */
export async function append(session: TargetSession, group: readonly Outgoing[]): Promise<AppendOutcome> {
  const upload = session.upload(group, ALWAYS);
  return (await upload.ready) ?? upload.release();
}

/** As `append`, one message at a time where the server takes no groups. */
export async function appendAll(session: TargetSession, group: readonly Outgoing[]): Promise<ImapUid[]> {
  const groups = session.multiAppend ? [group] : group.map((message) => [message]);
  const uids: ImapUid[] = [];
  for (const one of groups) {
    const outcome = await append(session, one);
    if (outcome.kind !== 'appended') throw new Error(`not appended: ${outcome.kind}`, { cause: outcome });
    uids.push(...(outcome.uids ?? []));
  }
  return uids;
}
