import { parseDate } from '../domain/dates.ts';
import { BridgeError } from '../domain/errors.ts';
import type { FoundCopy, ImapUid, TargetFolder } from '../domain/ports.ts';
import type { ImapClient } from './client.ts';
import { examine, type FolderName } from './folder.ts';
import { atom, fetchItems, numberOf, octetsOf, type Response, stringOf, type Token } from './tokens.ts';
import { uidSets } from './uid-set.ts';

const HEADER = [atom('HEADER.FIELDS'), ['MESSAGE-ID', 'DATE', 'FROM', 'SUBJECT'].map((name) => atom(name))];

/**
 * The connection that looks at the folder while others append to it. It is opened again when it was lost in
 * between; the folder must then still be the same.
 */
export class Control {
  readonly #name: FolderName;
  readonly #connect: (signal: AbortSignal) => Promise<ImapClient>;
  readonly #closing = new AbortController();
  /** The folder as of `open`. */
  #first: TargetFolder | null = null;
  #client: ImapClient | null = null;
  #opening: Promise<ImapClient> | null = null;
  /** UIDVALIDITY on this connection. */
  #uidValidity = 0;

  constructor(name: FolderName, connect: (signal: AbortSignal) => Promise<ImapClient>) {
    this.#name = name;
    this.#connect = connect;
  }

  /** Takes a connection that is signed in. */
  async open(client: ImapClient): Promise<TargetFolder> {
    this.#client = client;
    this.#first = await this.#examine(client);
    return this.#first;
  }

  async scan(from: ImapUid, below: ImapUid | null, signal: AbortSignal): Promise<FoundCopy[]> {
    if (below !== null && below <= from) return [];
    const found = new Map<ImapUid, FoundCopy>();
    await this.#look(signal, async (client) => {
      const range = `${from}:${below === null ? '*' : below - 1}`;
      const items = [atom('UID'), atom('RFC822.SIZE'), atom('BODY.PEEK', HEADER)];
      await client.command('fetch', 'UID FETCH', [sequence(range), items], {
        FETCH: (response) => {
          const copy = copyOf(response);
          // "n:*" names the last message even where its UID is below n (RFC 9051 section 9, seq-range).
          if (copy !== null && copy.uid >= from && (below === null || copy.uid < below))
            found.set(copy.uid, copy);
        },
      });
    });
    return [...found.values()].sort((a, b) => a.uid - b.uid);
  }

  sizes(uids: readonly ImapUid[], signal: AbortSignal): Promise<Map<ImapUid, number>> {
    return this.#attributes(uids, 'RFC822.SIZE', numberOf, signal);
  }

  internalDates(uids: readonly ImapUid[], signal: AbortSignal): Promise<Map<ImapUid, Date>> {
    return this.#attributes(uids, 'INTERNALDATE', (token) => parseDate(stringOf(token) ?? ''), signal);
  }

  async #attributes<T>(
    uids: readonly ImapUid[],
    name: string,
    parse: (token: Token | undefined) => T | null,
    signal: AbortSignal,
  ): Promise<Map<ImapUid, T>> {
    const found = new Map<ImapUid, T>();
    if (uids.length === 0) return found;
    const wanted = new Set(uids);
    await this.#look(signal, async (client) => {
      for (const set of uidSets(uids))
        await client.command('fetch', 'UID FETCH', [sequence(set), [atom('UID'), atom(name)]], {
          FETCH: (response) => {
            const items = fetchItems(response);
            const uid = numberOf(items.get('UID')) as ImapUid | null;
            const value = parse(items.get(name));
            if (uid !== null && value !== null && wanted.has(uid)) found.set(uid, value);
          },
        });
    });
    return found;
  }

  async read(uid: ImapUid, signal: AbortSignal): Promise<Buffer | null> {
    return this.#use(signal, async (client) => {
      const bytes = await fetchWhole(client, uid);
      if (bytes !== null) return bytes;
      // A copy that another connection has just appended is not seen before a NOOP.
      await client.command('fetch', 'NOOP');
      return fetchWhole(client, uid);
    });
  }

  async refresh(signal: AbortSignal): Promise<TargetFolder> {
    return this.#with(signal, (client) => this.#examine(client));
  }

  async logout(): Promise<void> {
    await this.#client?.logout();
  }

  destroy(): void {
    this.#closing.abort(new BridgeError('connection_lost', { side: 'destination', detail: 'closed by us' }));
    this.#client?.close();
  }

  /** With a NOOP first, so that the mail of other connections is seen. */
  #look<T>(signal: AbortSignal, work: (client: ImapClient) => Promise<T>): Promise<T> {
    return this.#use(signal, async (client) => {
      await client.command('fetch', 'NOOP');
      return work(client);
    });
  }

  /** UIDs mean something within the folder's first UIDVALIDITY only. */
  #use<T>(signal: AbortSignal, work: (client: ImapClient) => Promise<T>): Promise<T> {
    return this.#with(signal, (client) => {
      if (this.#uidValidity !== this.#first?.uidValidity)
        throw new BridgeError('folder_unavailable', {
          side: 'destination',
          recovery: 'retry',
          detail: `${this.#name.path}: it was made anew meanwhile (UIDVALIDITY changed)`,
        });
      return work(client);
    });
  }

  /** A command cannot be taken back: an abort ends the connection. */
  async #with<T>(signal: AbortSignal, work: (client: ImapClient) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const client = await this.#connected(signal);
    const onAbort = () => client.close();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await work(client);
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  async #connected(signal: AbortSignal): Promise<ImapClient> {
    if (this.#client?.alive) return this.#client;
    this.#opening ??= this.#reopen().finally(() => {
      this.#opening = null;
    });
    return unlessAborted(this.#opening, signal);
  }

  async #reopen(): Promise<ImapClient> {
    const client = await this.#connect(this.#closing.signal);
    try {
      await this.#examine(client);
      this.#closing.signal.throwIfAborted();
      this.#client = client;
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  async #examine(client: ImapClient): Promise<TargetFolder> {
    const folder = await examine(client, this.#name);
    this.#uidValidity = folder.uidValidity;
    return folder;
  }
}

/** What several wait for is not stopped by one of them. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

async function fetchWhole(client: ImapClient, uid: ImapUid): Promise<Buffer | null> {
  let bytes: Buffer | null = null;
  const items = [atom('UID'), atom('BODY.PEEK', [])];
  await client.command('fetch', 'UID FETCH', [sequence(String(uid)), items], {
    FETCH: (response) => {
      const fetched = fetchItems(response);
      if (numberOf(fetched.get('UID')) === uid) bytes = octetsOf(fetched.get('BODY')) ?? bytes;
    },
  });
  return bytes;
}

function copyOf(response: Response): FoundCopy | null {
  const items = fetchItems(response);
  const uid = numberOf(items.get('UID')) as ImapUid | null;
  const size = numberOf(items.get('RFC822.SIZE'));
  // Flag changes of other sessions come as FETCH too, without these.
  if (uid === null || size === null || !items.has('BODY')) return null;
  // Copied: the parser's Buffer keeps the whole chunk of the socket alive.
  return { uid, size, header: Buffer.from(octetsOf(items.get('BODY')) ?? []) };
}

function sequence(value: string) {
  return { type: 'SEQUENCE', value };
}
