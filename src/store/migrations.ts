import { randomBytes } from 'node:crypto';
import { JOURNAL_VERSION } from '../domain/journal.ts';
import type {
  Auth,
  Credentials,
  MessageDetail,
  Migration,
  MigrationDraft,
  MigrationOptions,
  MigrationState,
  RunSummary,
} from '../domain/migration.ts';
import { STATES } from '../domain/migration.ts';
import type {
  Change,
  Creation,
  ListQuery,
  MessageQuery,
  MigrationStore,
  Page,
} from '../domain/migrations.ts';
import { applyAction, isEnded, type MigrationAction } from '../domain/state.ts';
import { fields, guarded, type Reply, run, type Script, text } from './db.ts';
import { pageOfDetails } from './details.ts';
import type { DueIndex, DueList } from './due.ts';
import type { Feed } from './feed.ts';
import { runHistory } from './history.ts';
import {
  isMigrationId,
  migrationKey,
  migrationKeys,
  newMigrationId,
  requireTenant,
  SHARED_KEYS,
} from './keys.ts';
import { listMigrations } from './list.ts';
import type { Pairs } from './pairs.ts';
import { authSummary, initialFields, jobRef, type RecordFields, toMigration } from './record.ts';
import type { RedisClient } from './redis.ts';
import { MIGRATION_SCRIPTS } from './scripts.ts';
import type { Sealer } from './seal.ts';

/** A process that dies between a change and what follows from it leaves the rest to the sweep, this much later. */
const SWEEP_AFTER_MS = 3_000;

export interface MigrationStoreContext {
  redis: RedisClient;
  sealer: Sealer;
  pairs: Pairs;
  due: DueIndex;
  feed: Feed;
  /** How long credentials stay after a failure, ms. */
  credentialRetentionMs: number;
}

/** Every change is one script, atomic in itself; indexes and feeds follow it. */
export class RedisMigrationStore implements MigrationStore {
  readonly #context: MigrationStoreContext;

  constructor(context: MigrationStoreContext) {
    this.#context = context;
  }

  async create(tenant: string, draft: MigrationDraft, credentials: Credentials): Promise<Creation> {
    requireTenant(tenant);
    const { redis, pairs, feed } = this.#context;
    const id = newMigrationId();
    const pair = await pairs.digest(draft);
    const reservation = await pairs.reserve(tenant, pair, id, (other) => this.#isActive(tenant, other));
    if (reservation.kind === 'taken') return { kind: 'duplicate', id: reservation.id };
    await guarded(() => redis.sadd(SHARED_KEYS.tenants, tenant));
    await this.#lookSoon(tenant, id, 'backlog');
    const reply = await this.#run(MIGRATION_SCRIPTS.create, tenant, id, {
      fields: {
        ...initialFields(draft),
        pair,
        digestKey: randomBytes(32).toString('hex'),
        journalVersion: String(JOURNAL_VERSION),
      },
      secrets: this.#sealed(tenant, id, credentials),
    });
    const record = fields(reply);
    await pairs.confirm(tenant, pair, id);
    await feed.changed(tenant, id, record);
    return { kind: 'created', migration: toMigration(id, record), job: jobRef(tenant, id, record) };
  }

  async get(tenant: string, id: string): Promise<Migration | null> {
    const record = await this.#record(tenant, id);
    return record === null ? null : toMigration(id, record);
  }

  list(tenant: string, query: ListQuery): Promise<Page<Migration>> {
    return listMigrations(this.#context.redis, tenant, query, (id) => this.get(tenant, id));
  }

  async patch(
    tenant: string,
    id: string,
    change: { label?: string; options?: MigrationOptions },
  ): Promise<Change> {
    const { label, options } = change;
    const patched = {
      ...(label === undefined ? {} : { label: label.toWellFormed() }),
      ...(options === undefined ? {} : { options: JSON.stringify(options) }),
    };
    if (!isMigrationId(id)) return { kind: 'unknown' };
    await this.#lookSoon(tenant, id, 'work');
    return this.#changed(
      tenant,
      id,
      await this.#run(MIGRATION_SCRIPTS.patch, tenant, id, { fields: patched }),
    );
  }

  async act(tenant: string, id: string, action: MigrationAction): Promise<Change> {
    const record = await this.#record(tenant, id);
    if (record === null) return { kind: 'unknown' };
    const state = record.get('state') as MigrationState;
    if (applyAction(state, action) === null) return { kind: 'illegal', state };
    const pair = action === 'retry' ? (record.get('pair') ?? '') : null;
    if (pair !== null) {
      const { pairs } = this.#context;
      const reservation = await pairs.reserve(tenant, pair, id, (other) => this.#isActive(tenant, other));
      if (reservation.kind === 'taken') return { kind: 'duplicate', id: reservation.id };
    }
    await this.#lookSoon(tenant, id, 'work');
    const args = { nonce: nonce(), become: transitionsOf(action), retry: action === 'retry' };
    const reply = await this.#run(MIGRATION_SCRIPTS.act, tenant, id, this.#withRetention(args));
    if (pair !== null) await this.#context.pairs.confirm(tenant, pair, id);
    return this.#changed(tenant, id, reply);
  }

  async putCredentials(
    tenant: string,
    id: string,
    auth: { source?: Auth; destination?: Auth },
  ): Promise<Change> {
    if (!isMigrationId(id)) return { kind: 'unknown' };
    const { source, destination } = auth;
    const summaries = {
      ...(source === undefined ? {} : { sourceAuth: JSON.stringify(authSummary(source)) }),
      ...(destination === undefined ? {} : { destinationAuth: JSON.stringify(authSummary(destination)) }),
    };
    const args = { nonce: nonce(), sealed: this.#sealed(tenant, id, auth), auth: summaries };
    await this.#lookSoon(tenant, id, 'work');
    const reply = await this.#run(MIGRATION_SCRIPTS.credentials, tenant, id, this.#withRetention(args));
    return this.#changed(tenant, id, reply);
  }

  async erase(tenant: string, id: string): Promise<'erased' | 'lettingGo' | 'unknown'> {
    const record = await this.#record(tenant, id);
    if (record === null) return 'unknown';
    await this.#lookSoon(tenant, id, 'work');
    const [verdict] = await this.#run(MIGRATION_SCRIPTS.erase, tenant, id, {});
    // It was there a moment ago: `unknown` answers a script that was sent twice.
    await this.#context.pairs.free(tenant, record.get('pair') ?? '', id);
    await this.#context.feed.forget(tenant, id);
    return text(verdict) === 'lettingGo' ? 'lettingGo' : 'erased';
  }

  async messages(tenant: string, id: string, query: MessageQuery): Promise<Page<MessageDetail> | null> {
    const record = await this.#record(tenant, id);
    return record === null ? null : pageOfDetails(this.#context.redis, tenant, id, query);
  }

  async runs(tenant: string, id: string): Promise<RunSummary[] | null> {
    const migration = await this.get(tenant, id);
    return migration === null ? null : runHistory(this.#context.redis, tenant, id, migration.progress);
  }

  /** Null for what is unknown, or on its way out. */
  async #record(tenant: string, id: string): Promise<RecordFields | null> {
    requireTenant(tenant);
    if (!isMigrationId(id)) return null;
    const kept = await guarded(() => this.#context.redis.hgetall(migrationKey(tenant, id, 'record')));
    const record = new Map(Object.entries(kept));
    return record.size === 0 || record.has('tomb') ? null : record;
  }

  async #isActive(tenant: string, id: string): Promise<boolean> {
    const record = await this.#record(tenant, id);
    return record !== null && !isEnded(record.get('state') as MigrationState);
  }

  async #changed(tenant: string, id: string, reply: Reply): Promise<Change> {
    const kind = text(reply[0]);
    if (kind === 'illegal') return { kind, state: text(reply[1]) as MigrationState };
    if (kind === 'unknown' || kind === 'credentialsRequired') return { kind };
    const record = fields(reply[1]);
    await this.#context.feed.changed(tenant, id, record);
    const migration = toMigration(id, record);
    const waitsForWorker = migration.state === 'queued' && record.get('job') !== record.get('claimed');
    return { kind: 'changed', migration, job: waitsForWorker ? jobRef(tenant, id, record) : null };
  }

  #sealed(tenant: string, id: string, auth: { source?: Auth; destination?: Auth }): Record<string, string> {
    const sealed: Record<string, string> = {};
    for (const purpose of ['source', 'destination'] as const)
      if (auth[purpose] !== undefined)
        sealed[purpose] = this.#context.sealer.seal(JSON.stringify(auth[purpose]), {
          tenant,
          migrationId: id,
          purpose,
        });
    return sealed;
  }

  #lookSoon(tenant: string, id: string, list: DueList): Promise<void> {
    return this.#context.due.schedule(tenant, id, list, SWEEP_AFTER_MS);
  }

  #withRetention(args: object): object {
    return { ...args, credentialRetention: this.#context.credentialRetentionMs };
  }

  #run(script: Script, tenant: string, id: string, args: object): Promise<Reply> {
    return run(this.#context.redis, script, migrationKeys(tenant, id), args);
  }
}

/** Names a call, so that its repeat is known as one. */
function nonce(): string {
  return randomBytes(12).toString('hex');
}

function transitionsOf(action: MigrationAction): Partial<Record<MigrationState, MigrationState>> {
  const become: Partial<Record<MigrationState, MigrationState>> = {};
  for (const state of STATES) {
    const target = applyAction(state, action);
    if (target !== null) become[state] = target;
  }
  return become;
}
