import { randomBytes } from 'node:crypto';
import type { JournalRecord } from '../../src/domain/journal.ts';
import { type MessageDetail, NO_PROGRESS } from '../../src/domain/migration.ts';
import { Migrations } from '../../src/domain/migrations.ts';
import type { RunJournal } from '../../src/domain/ports.ts';
import { connectRedis, createSealer, createStore, type Store } from '../../src/store/index.ts';
import { type Backend, CALLERS, KEYS, memoryBackend } from './http-api.ts';
import { MemoryQueue, type Work } from './http-memory.ts';
import { until } from './net.ts';
import { startRedis } from './redis.ts';

/** What the contract is tested over, by name: the same suite for both. */
export const BACKENDS: readonly (readonly [name: string, start: () => Promise<Backend>])[] = [
  ['stores in memory', async () => memoryBackend()],
  ['Redis', redisBackend],
];

async function redisBackend(): Promise<Backend> {
  const server = await startRedis();
  const ignore = () => {};
  const redis = connectRedis(server.url, { onError: ignore });
  const store = createStore({
    redis,
    sealer: createSealer(`test:${randomBytes(32).toString('base64')}`),
    leaseMs: 300,
    retentionMs: 3_600_000,
    credentialRetentionMs: 3_600_000,
    adminKey: KEYS.admin,
    warn: ignore,
  });
  const bearers = await otherKeys(store);
  const queue = new MemoryQueue();
  const { migrations, events: feed, keys, idempotency } = store;
  const ready = async () => (await redis.ping()) === 'PONG';
  return {
    services: {
      migrations: new Migrations(migrations, queue),
      store: migrations,
      feed,
      keys,
      idempotency,
      ready,
    },
    bearer: (key) => bearers.get(key) ?? key,
    work: (id, work) => run(store, queue, id, work),
    [Symbol.asyncDispose]: async () => {
      await store.close();
      redis.disconnect();
      await server.stop();
    },
  };
}

async function otherKeys({ keys }: Store): Promise<Map<string, string>> {
  const made = new Map<string, string>();
  for (const [name, { tenant, scopes }] of Object.entries(CALLERS)) {
    if (name !== KEYS.admin) made.set(name, (await keys.createKey(tenant, scopes)).key);
  }
  return made;
}

/** A run as a worker would do it, of which only the outcome counts. */
async function run(store: Store, queue: MemoryQueue, id: string, work: Work): Promise<void> {
  const job = queue.jobs.findLast(({ migrationId }) => migrationId === id);
  if (job === undefined) throw new Error(`no job for ${id}`);
  const { signal } = new AbortController();
  // A Redis that has just started keeps everybody waiting for one lease.
  const claim = await until(
    async () => {
      const asked = await store.runs.claim(job, 'test', signal);
      return asked.kind === 'claimed' && asked;
    },
    { what: 'the claim', everyMs: 50 },
  );
  const { messages = [], state, stateReason = null, error = null } = work;
  if (messages.length > 0) await settle(claim.journal, messages);
  const facts = { nextRunAt: null, progress: NO_PROGRESS, passComplete: true };
  await claim.journal.end({ ...facts, state, stateReason, error });
}

function settle(journal: RunJournal, messages: readonly MessageDetail[]): Promise<void> {
  return journal.commit({
    recordsBefore: 0,
    append: messages.map(recordOf),
    details: messages.map((detail, index) => ({ index, detail })),
  });
}

function recordOf({ outcome, size, altered, repair }: MessageDetail): JournalRecord {
  const digests = {
    uidlDigest: randomBytes(12).toString('hex'),
    fingerprint: randomBytes(8).toString('hex'),
  };
  const flags = { verified: false, deleted: false, looselyMatched: false };
  return { ...digests, ...flags, size, uid: null, epoch: null, outcome, altered, repair };
}
