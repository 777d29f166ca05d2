import { encodePath } from 'imapflow/lib/tools.js';
import { BridgeError } from '../domain/errors.ts';
import type { FolderChoice, SpecialUse } from '../domain/migration.ts';
import type { ImapUid, TargetFolder } from '../domain/ports.ts';
import { type ImapClient, refusalOf } from './client.ts';
import { atom, numberOf, pairs, type Response, responseCode } from './tokens.ts';

/** A folder by its name, not looked at yet. */
export interface FolderName {
  /** Unicode, with prefix and delimiters, for people. */
  path: string;
  /** As in a command: modified UTF-7 (RFC 3501 section 5.1.3), not quoted yet. */
  wire: string;
}

/**
 * Finds the folder, makes it where it is missing and subscribes it.
 * @throws BridgeError folder_unavailable, over_quota, permission_denied, …
 */
export async function provideFolder(client: ImapClient, choice: FolderChoice): Promise<FolderName> {
  const name =
    'path' in choice ? nameOf(client, choice.path) : await findSpecialUse(client, choice.specialUse);
  // Asking for it says more than LIST: a name can be listed and not be selectable.
  const there = await client.ask('folder', 'EXAMINE', [name.wire]);
  if (there.kind === 'refused') {
    if (!('path' in choice)) throw there.error;
    await create(client, choice.path);
  }
  // Some servers have no subscriptions. The mail is no worse for it.
  await client.ask('folder', 'SUBSCRIBE', [name.wire]);
  return name;
}

/**
 * EXAMINE, which leaves `\Recent` to the owner's mail program.
 * @throws BridgeError folder_unavailable when it cannot be opened, protocol_error without UIDs that last
 */
export async function examine(client: ImapClient, name: FolderName): Promise<TargetFolder> {
  let exists = 0;
  const facts = new Map<string, number>();
  const note = (response: Response) => {
    const code = responseCode(response);
    const value = numberOf(code?.args[0]);
    if (code !== null) facts.set(code.name, value ?? 0);
  };
  await client.command('folder', 'EXAMINE', [name.wire], {
    OK: note,
    EXISTS: (response) => {
      exists = Number(response.command);
    },
  });
  if (facts.has('UIDNOTSTICKY')) throw unusable(name, 'its UIDs do not last (UIDNOTSTICKY)');
  // RFC 3501 section 6.3.1 wants UIDNEXT here since 2003; some servers give it to STATUS only.
  if (!facts.has('UIDNEXT')) await addStatus(client, name, facts);
  const uidValidity = facts.get('UIDVALIDITY') ?? 0;
  const uidNext = facts.get('UIDNEXT') ?? 0;
  if (uidValidity === 0 || uidNext === 0) throw unusable(name, 'the server tells no UIDVALIDITY and UIDNEXT');
  return { path: name.path, uidValidity, uidNext: uidNext as ImapUid, exists };
}

/** APPENDLIMIT (RFC 7889) in bytes: the same for all folders, or this folder's own. */
export async function appendLimit(client: ImapClient, name: FolderName): Promise<number | null> {
  const limit = client.capabilities.get('APPENDLIMIT');
  if (typeof limit === 'number') return limit > 0 ? limit : null;
  if (limit !== true) return null;
  const facts = new Map<string, number>();
  await addStatus(client, name, facts, 'APPENDLIMIT');
  return facts.get('APPENDLIMIT') || null;
}

async function addStatus(client: ImapClient, name: FolderName, facts: Map<string, number>, item = 'UIDNEXT') {
  await client.ask('folder', 'STATUS', [name.wire, [atom(item)]], {
    STATUS: (response) => {
      for (const [key, token] of pairs(response.attributes?.[1])) {
        const value = numberOf(token);
        if (value !== null) facts.set(key, value);
      }
    },
  });
}

/** One element a level. INBOX is in no namespace (RFC 9051 section 5.1); everything else is in the personal one. */
function nameOf(client: ImapClient, path: readonly string[]): FolderName {
  const delimiter = client.namespace?.delimiter || null;
  const bad =
    path.length === 0 ? 'no name at all' : path.map((level) => fault(level, delimiter)).find(Boolean);
  if (bad) throw new BridgeError('folder_unavailable', { side: 'destination', detail: bad });
  if (path.length > 1 && delimiter === null)
    throw new BridgeError('folder_unavailable', {
      side: 'destination',
      detail: `${path.join(' > ')}: the server has no folders inside folders`,
    });
  const [first = '', ...rest] = path;
  const inbox = first.toUpperCase() === 'INBOX';
  const prefix = inbox ? '' : (client.namespace?.prefix ?? '');
  const name = `${prefix}${[inbox ? 'INBOX' : first, ...rest].join(delimiter ?? '')}`;
  return { path: name, wire: encodePath(client, name) };
}

function fault(level: string, delimiter: string | null): string | null {
  if (level === '') return 'a name in the path is empty';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (/[\x00-\x1f\x7f]/.test(level)) return 'a name in the path holds control characters';
  if (delimiter !== null && level.includes(delimiter))
    return `"${level}" holds "${delimiter}", which separates folders on this server; give one name per level`;
  return null;
}

/** Most servers make the levels above by themselves (RFC 9051 section 6.3.4); for the others, from the top down. */
async function create(client: ImapClient, path: readonly string[]): Promise<void> {
  const whole = await client.ask('folder', 'CREATE', [nameOf(client, path).wire]);
  if (whole.kind === 'ok' || path.length === 1) return exceptIfThere(client, path, whole);
  for (let depth = 1; depth < path.length; depth++)
    await client.ask('folder', 'CREATE', [nameOf(client, path.slice(0, depth)).wire]);
  return exceptIfThere(client, path, await client.ask('folder', 'CREATE', [nameOf(client, path).wire]));
}

/** Another connection may have made it at the same time. */
async function exceptIfThere(
  client: ImapClient,
  path: readonly string[],
  created: Awaited<ReturnType<ImapClient['ask']>>,
): Promise<void> {
  if (created.kind === 'ok') return;
  const there = await client.ask('folder', 'EXAMINE', [nameOf(client, path).wire]);
  if (there.kind === 'refused') throw created.error;
}

const USES: Readonly<Record<SpecialUse, string>> = {
  all: '\\All',
  archive: '\\Archive',
  drafts: '\\Drafts',
  flagged: '\\Flagged',
  junk: '\\Junk',
  sent: '\\Sent',
  trash: '\\Trash',
};

/** By the server's marks (RFC 6154); where it has none at all, by what imapflow knows of usual names. */
async function findSpecialUse(client: ImapClient, use: SpecialUse): Promise<FolderName> {
  const marked = client.capabilities.has('SPECIAL-USE') || client.capabilities.has('XLIST');
  const folders = (await list(client)).filter(
    ({ specialUse, specialUseSource }) => specialUse && (!marked || specialUseSource === 'extension'),
  );
  const found = folders.find(({ specialUse }) => specialUse === USES[use]);
  if (found !== undefined) return { path: found.path, wire: found.pathAsListed };
  const names = Object.entries(USES).filter(([, flag]) => folders.some((f) => f.specialUse === flag));
  const others = names.length === 0 ? 'none' : names.map(([name]) => name).join(', ');
  throw new BridgeError('folder_unavailable', {
    side: 'destination',
    detail: `no folder is marked as "${use}"; marked are: ${others}`,
    hint: 'Name the destination folder by its path.',
  });
}

async function list(client: ImapClient) {
  client.watch();
  try {
    return await client.list();
  } catch (thrown) {
    throw refusalOf('folder', thrown as Error) ?? client.loss(thrown);
  } finally {
    client.unwatch();
  }
}

function unusable(name: FolderName, why: string): BridgeError {
  return new BridgeError('folder_unavailable', { side: 'destination', detail: `${name.path}: ${why}` });
}
