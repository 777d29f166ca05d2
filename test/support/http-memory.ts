import { EventEmitter, on } from 'node:events';
import { BridgeError } from '../../src/domain/errors.ts';
import {
  type Auth,
  type AuthSummary,
  type Credentials,
  type MessageDetail,
  type Migration,
  type MigrationDraft,
  type MigrationState,
  NO_PROGRESS,
  type RunSummary,
} from '../../src/domain/migration.ts';
import type {
  Caller,
  Change,
  Creation,
  EventFeed,
  FeedEvent,
  IdempotencyState,
  IdempotencyStore,
  KeptAnswer,
  KeyStore,
  ListQuery,
  MessageQuery,
  MigrationStore,
  Page,
} from '../../src/domain/migrations.ts';
import type { JobRef, WorkQueue } from '../../src/domain/ports.ts';
import { applyAction, isEnded, type MigrationAction } from '../../src/domain/state.ts';

/** The outcome of a run. */
export interface Work {
  state: MigrationState;
  stateReason?: Migration['stateReason'];
  error?: Migration['error'];
  messages?: MessageDetail[];
}

interface Entry {
  tenant: string;
  migration: Migration;
  credentials: Credentials | null;
  messages: MessageDetail[];
  runs: RunSummary[];
  jobs: number;
}

/** The ports of the API in memory, as their contracts say, with a hand on what no request can bring about. */
export class MemoryStore implements MigrationStore {
  readonly entries = new Map<string, Entry>();
  readonly feed: MemoryFeed;
  /** When set, every call fails as it does while Redis is away. */
  away = false;
  #ids = 0;

  constructor(feed: MemoryFeed) {
    this.feed = feed;
  }

  async create(tenant: string, draft: MigrationDraft, credentials: Credentials): Promise<Creation> {
    this.#reach();
    const twin = [...this.entries.values()].find(
      (entry) =>
        !isEnded(entry.migration.state) && pairOf(tenant, draft) === pairOf(entry.tenant, entry.migration),
    );
    if (twin !== undefined) return { kind: 'duplicate', id: twin.migration.id };
    const id = `mig_${String(++this.#ids).padStart(8, '0')}`;
    const migration: Migration = {
      id,
      batchId: null,
      state: 'queued',
      stateReason: null,
      nextRunAt: null,
      createdAt: new Date(Date.now() + this.#ids).toISOString(),
      startedAt: null,
      finishedAt: null,
      ...draft,
      progress: NO_PROGRESS,
      runs: 0,
      error: null,
    };
    this.entries.set(id, { tenant, migration, credentials, messages: [], runs: [], jobs: 1 });
    this.#announce(tenant, migration);
    return { kind: 'created', migration, job: { version: 1, tenant, migrationId: id, job: 1 } };
  }

  async get(tenant: string, id: string): Promise<Migration | null> {
    this.#reach();
    return this.#entry(tenant, id)?.migration ?? null;
  }

  async list(tenant: string, query: ListQuery): Promise<Page<Migration>> {
    this.#reach();
    const all = [...this.entries.values()]
      .filter((entry) => entry.tenant === tenant && matches(entry.migration, query))
      .map((entry) => entry.migration)
      .sort(ORDER[query.sort]);
    return page(all, query);
  }

  async patch(
    tenant: string,
    id: string,
    change: { label?: string; options?: Migration['options'] },
  ): Promise<Change> {
    const entry = this.#entry(tenant, id);
    return entry === undefined ? { kind: 'unknown' } : this.#change(entry, change, false);
  }

  async act(tenant: string, id: string, action: MigrationAction): Promise<Change> {
    const entry = this.#entry(tenant, id);
    if (entry === undefined) return { kind: 'unknown' };
    const state = applyAction(entry.migration.state, action);
    if (state === null) return { kind: 'illegal', state: entry.migration.state };
    if (action === 'retry' && entry.credentials === null) return { kind: 'credentialsRequired' };
    if (state === 'canceled') entry.credentials = null;
    return this.#change(entry, { state, stateReason: null }, state === 'queued');
  }

  async putCredentials(
    tenant: string,
    id: string,
    auth: { source?: Auth; destination?: Auth },
  ): Promise<Change> {
    const entry = this.#entry(tenant, id);
    if (entry === undefined) return { kind: 'unknown' };
    const { source, destination } = { ...entry.credentials, ...auth };
    entry.credentials = source && destination ? { source, destination } : entry.credentials;
    const { migration } = entry;
    const change = {
      ...(auth.source && { source: { ...migration.source, auth: summary(auth.source) } }),
      ...(auth.destination && { destination: { ...migration.destination, auth: summary(auth.destination) } }),
    };
    const waits = migration.stateReason === 'credentials_required';
    return this.#change(entry, waits ? { ...change, state: 'queued', stateReason: null } : change, waits);
  }

  async erase(tenant: string, id: string): Promise<'erased' | 'lettingGo' | 'unknown'> {
    const entry = this.#entry(tenant, id);
    if (entry === undefined) return 'unknown';
    this.entries.delete(id);
    return entry.migration.state === 'running' ? 'lettingGo' : 'erased';
  }

  async messages(tenant: string, id: string, query: MessageQuery): Promise<Page<MessageDetail> | null> {
    const entry = this.#entry(tenant, id);
    if (entry === undefined) return null;
    const { outcome, flag } = query;
    const all = entry.messages.filter(
      (row) =>
        (outcome === undefined || row.outcome === outcome) &&
        (flag !== 'altered' || row.altered) &&
        (flag !== 'repaired' || row.repair !== null),
    );
    return page(all, query);
  }

  async runs(tenant: string, id: string): Promise<RunSummary[] | null> {
    return this.#entry(tenant, id)?.runs ?? null;
  }

  /** What a worker would have made of it. */
  work(id: string, work: Work): void {
    const entry = this.entries.get(id);
    if (entry === undefined) throw new Error(`no ${id}`);
    const { messages = [], ...change } = work;
    const time = new Date().toISOString();
    const counts = { copied: 0, alreadyPresent: 0, skipped: 0, failed: 0, bytes: 0 };
    const run = entry.runs.length + 1;
    const ending = { outcome: work.state, counts, error: work.error ?? null };
    entry.runs.push({ run, startedAt: time, endedAt: time, worker: 'test', ...ending });
    entry.messages.push(...messages);
    for (const row of messages) this.feed.publish(entry.tenant, 'message', id, row);
    const finishedAt = isEnded(work.state) ? time : null;
    this.#change(entry, { startedAt: time, finishedAt, runs: run, ...change }, false);
    if (work.state === 'completed' || work.state === 'canceled') entry.credentials = null;
  }

  #change(entry: Entry, change: Partial<Migration>, work: boolean): Change {
    entry.migration = { ...entry.migration, ...change };
    this.#announce(entry.tenant, entry.migration);
    if (work) entry.jobs++;
    const { tenant, migration, jobs } = entry;
    return {
      kind: 'changed',
      migration,
      job: work ? { version: 1, tenant, migrationId: migration.id, job: jobs } : null,
    };
  }

  #announce(tenant: string, { id, state, stateReason, progress }: Migration): void {
    this.feed.publish(tenant, 'migration', id, { id, state, stateReason, progress });
  }

  #entry(tenant: string, id: string): Entry | undefined {
    this.#reach();
    const entry = this.entries.get(id);
    return entry?.tenant === tenant ? entry : undefined;
  }

  #reach(): void {
    if (this.away) throw new BridgeError('store_unavailable', { side: 'service' });
  }
}

function summary({ type, authorizationId }: Auth): AuthSummary {
  return authorizationId === undefined ? { type } : { type, authorizationId };
}

function pairOf(tenant: string, { source, destination }: Pick<Migration, 'source' | 'destination'>): string {
  const { host, username, folder } = destination;
  return JSON.stringify([tenant, source.host, source.username, host, username, folder]);
}

const by = (key: (migration: Migration) => string) => (a: Migration, b: Migration) =>
  key(a) < key(b) ? -1 : 1;
const ORDER: Record<ListQuery['sort'], (a: Migration, b: Migration) => number> = {
  createdAt: by((migration) => migration.createdAt),
  '-createdAt': (a, b) => (a.createdAt > b.createdAt ? -1 : 1),
  label: by((migration) => migration.label),
  state: by((migration) => migration.state),
};

function matches(migration: Migration, query: ListQuery): boolean {
  const { source, destination, label, error } = migration;
  const hosts = [source.host, destination.host].map((host) => host.toLowerCase());
  const names = [label, source.username, destination.username];
  const starts = (name: string) => name.toLowerCase().startsWith((query.q ?? '').toLowerCase());
  return (
    (query.state === undefined || query.state.includes(migration.state)) &&
    (query.batchId === undefined || query.batchId === migration.batchId) &&
    (query.errorCode === undefined || query.errorCode === error?.code) &&
    (query.host === undefined || hosts.includes(query.host.toLowerCase())) &&
    (query.createdAfter === undefined || new Date(migration.createdAt) > query.createdAfter) &&
    (query.createdBefore === undefined || new Date(migration.createdAt) < query.createdBefore) &&
    names.some(starts)
  );
}

function page<T>(all: readonly T[], { cursor, limit }: { cursor?: string; limit: number }): Page<T> {
  if (cursor !== undefined && !/^at-\d+$/.test(cursor)) throw new RangeError('cursor');
  const start = cursor === undefined ? 0 : Number(cursor.slice(3));
  const end = start + limit;
  return {
    items: all.slice(start, end),
    nextCursor: end < all.length ? `at-${end}` : null,
    total: all.length,
  };
}

/** Keeps the last `kept` events. */
export class MemoryFeed implements EventFeed {
  readonly #bus = new EventEmitter();
  readonly #events: (FeedEvent & { tenant: string })[] = [];
  readonly #kept: number;
  #count = 0;
  #forgotten = 0;
  subscribers = 0;
  /** Events that were handed to a subscriber. */
  taken = 0;

  constructor(kept = 1_000) {
    this.#kept = kept;
    this.#bus.setMaxListeners(0);
  }

  publish(tenant: string, type: FeedEvent['type'], migrationId: string | null, data: unknown): void {
    this.#events.push({ id: `${++this.#count}-0`, type, migrationId, data, tenant });
    if (this.#events.length > this.#kept) this.#forgotten = Number(this.#events.shift()?.id.split('-')[0]);
    this.#bus.emit('event');
  }

  async *subscribe(tenant: string, last: string | null, signal: AbortSignal): AsyncGenerator<FeedEvent> {
    let at = last === null ? this.#count : Number(last.split('-')[0]);
    this.subscribers++;
    try {
      const changes = on(this.#bus, 'event', { signal });
      if (at < this.#forgotten || at > this.#count) {
        at = this.#count;
        yield { id: `${at}-0`, type: 'reset', migrationId: null, data: {} };
      }
      do {
        for (const { tenant: owner, ...event } of this.#events.filter(
          ({ id }) => Number(id.split('-')[0]) > at,
        )) {
          at = Number(event.id.split('-')[0]);
          if (owner !== tenant) continue;
          this.taken++;
          yield event;
        }
      } while (!(await changes.next()).done);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.subscribers--;
    }
  }
}

export class MemoryKeys implements KeyStore {
  readonly #keys: ReadonlyMap<string, Caller>;

  constructor(keys: Record<string, Caller>) {
    this.#keys = new Map(Object.entries(keys));
  }

  async authenticate(bearer: string): Promise<Caller | null> {
    return this.#keys.get(bearer) ?? null;
  }
}

export class MemoryIdempotency implements IdempotencyStore {
  readonly kept = new Map<string, { digest: string; answer: KeptAnswer | null }>();

  async begin(tenant: string, key: string, bodyDigest: string): Promise<IdempotencyState> {
    const known = this.kept.get(`${tenant} ${key}`);
    if (known === undefined) {
      this.kept.set(`${tenant} ${key}`, { digest: bodyDigest, answer: null });
      return { kind: 'fresh' };
    }
    if (known.digest !== bodyDigest) return { kind: 'mismatch' };
    return known.answer === null ? { kind: 'pending' } : { kind: 'replay', answer: known.answer };
  }

  async keep(tenant: string, key: string, answer: KeptAnswer): Promise<void> {
    const known = this.kept.get(`${tenant} ${key}`);
    if (known !== undefined) known.answer = answer;
  }

  async forget(tenant: string, key: string): Promise<void> {
    this.kept.delete(`${tenant} ${key}`);
  }
}

export class MemoryQueue implements WorkQueue {
  readonly jobs: JobRef[] = [];

  async enqueue(job: JobRef): Promise<void> {
    this.jobs.push(job);
  }
}
