import { randomBytes } from 'node:crypto';
import type { JournalRecord } from '../../src/domain/journal.ts';
import type { Credentials, MessageDetail, MigrationDraft, Progress } from '../../src/domain/migration.ts';
import { DEFAULT_OPTIONS, NO_PROGRESS } from '../../src/domain/migration.ts';
import type { Creation } from '../../src/domain/migrations.ts';
import type { Claim, ImapUid, JobRef, RunEnd } from '../../src/domain/ports.ts';
import {
  connectRedis,
  createSealer,
  createStore,
  type RedisClient,
  type Store,
  type StoreOptions,
} from '../../src/store/index.ts';

export const RING = `k1:${Buffer.alloc(32, 7).toString('base64')}`;
export const SECRET = 'correct horse battery staple';

export interface TestStore extends Store, AsyncDisposable {
  redis: RedisClient;
  warnings: string[];
  /** As if its process died: connections gone, nothing finished. */
  crash(): void;
}

export function openStore(
  url: string,
  { commandTimeoutMs = 10_000, ...options }: Partial<StoreOptions> & { commandTimeoutMs?: number } = {},
): TestStore {
  const warnings: string[] = [];
  const redis = connectRedis(url, { commandTimeoutMs, onError: (error) => warnings.push(error.message) });
  const store = createStore({
    redis,
    sealer: createSealer(RING),
    leaseMs: 2_000,
    retentionMs: 3_600_000,
    credentialRetentionMs: 3_600_000,
    adminKey: null,
    warn: (message) => warnings.push(message),
    ...options,
  });
  return {
    ...store,
    redis,
    warnings,
    crash: () => redis.disconnect(),
    [Symbol.asyncDispose]: async () => {
      await store.close();
      redis.disconnect();
    },
  };
}

export function draft(name = 'alice', change: Partial<MigrationDraft> = {}): MigrationDraft {
  const auth = { type: 'password' } as const;
  return {
    label: name,
    source: { host: 'pop.example.net', port: 995, security: 'tls', username: name, auth },
    destination: {
      host: 'imap.example.com',
      port: 993,
      security: 'tls',
      username: `${name}@example.com`,
      auth,
      folder: { path: ['INBOX'] },
    },
    options: DEFAULT_OPTIONS,
    ...change,
  };
}

export function credentials(): Credentials {
  return {
    source: { type: 'password', password: `${SECRET} s` },
    destination: { type: 'password', password: `${SECRET} d` },
  };
}

export async function created(store: Store, name?: string, tenant = 'default') {
  const creation: Creation = await store.migrations.create(tenant, draft(name), credentials());
  if (creation.kind !== 'created') throw new Error(`not created: ${creation.kind}`);
  return creation;
}

export type Claimed = Claim & { kind: 'claimed' };

export async function claimed(store: Store, job: JobRef, worker = 'w1'): Promise<Claimed> {
  const claim = await store.runs.claim(job, worker, AbortSignal.timeout(10_000));
  if (claim.kind !== 'claimed') throw new Error(`not claimed: ${JSON.stringify(claim)}`);
  return claim;
}

export function claim(store: Store, job: JobRef, worker = 'w1'): Promise<Claim> {
  return store.runs.claim(job, worker, AbortSignal.timeout(10_000));
}

/** A record with random bytes in every digest. */
export function record(change: Partial<JournalRecord> = {}): JournalRecord {
  return {
    uidlDigest: randomBytes(12).toString('hex'),
    fingerprint: randomBytes(8).toString('hex'),
    size: 1234,
    uid: 1 as ImapUid,
    epoch: 0,
    outcome: 'copied',
    verified: false,
    altered: false,
    deleted: false,
    looselyMatched: false,
    repair: null,
    ...change,
  };
}

export function detail(change: Partial<MessageDetail> = {}): MessageDetail {
  return {
    uidl: '0001',
    size: 1234,
    outcome: 'failed',
    altered: false,
    reason: { code: 'message_refused', detail: 'NO [CANNOT] no' },
    repair: null,
    folder: 'INBOX',
    uid: null,
    sha256: null,
    subject: 'Grüße 👋',
    from: null,
    date: null,
    messageId: null,
    ...change,
  };
}

export function progress(copied: number, total = 100): Progress {
  const messages = { total, copied, alreadyPresent: 0, skipped: 0, failed: 0, remaining: total - copied };
  return {
    ...NO_PROGRESS,
    messages: { ...messages, altered: 0, repaired: 0, deletedFromSource: 0 },
    bytes: { total: total * 1000, settled: copied * 1000 },
  };
}

export function ending(state: RunEnd['state'], change: Partial<RunEnd> = {}): RunEnd {
  return {
    state,
    stateReason: null,
    nextRunAt: null,
    error: null,
    progress: null,
    passComplete: false,
    ...change,
  };
}
