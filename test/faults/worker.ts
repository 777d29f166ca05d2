/**
 * A worker process of the product, less the queue: jobs come from its parent. It takes what is sent to it and
 * knows nothing of taps, so that it can be killed and frozen at any instant.
 */
import { SharedBudget } from '../../src/domain/budget.ts';
import { systemClock } from '../../src/domain/clock.ts';
import type { JobRef } from '../../src/domain/ports.ts';
import { createImapTarget } from '../../src/imap/index.ts';
import { createDialer } from '../../src/net/index.ts';
import { createPop3Source } from '../../src/pop3/index.ts';
import { connectRedis, createSealer, createStore, type RedisClient } from '../../src/store/index.ts';
import { type MigrateContext, migrate } from '../../workers/migrate.ts';
import { GROUP_LIMITS, LEASE_MS, RING, SETTLE_MS } from './settings.ts';

export interface Wiring {
  redisUrl: string;
  /** Ports that stand in for those of the migration. */
  pop3: number;
  imap: number;
}

export type ToWorker =
  | ({ kind: 'wire' } & Wiring)
  | { kind: 'run'; job: JobRef }
  /** Takes jobs off the queue, too, as the product does. */
  | { kind: 'queue' };

export type FromWorker =
  | { kind: 'ready' }
  | { kind: 'wired' }
  | { kind: 'queueing' }
  | { kind: 'ran'; fault: string | null }
  | { kind: 'log'; text: string };

const HOUR_MS = 60 * 60 * 1000;
const never = new AbortController().signal;

let context: MigrateContext | null = null;
let redis: RedisClient | null = null;
let redisUrl = '';

function tell(message: FromWorker): void {
  if (process.connected) process.send?.(message);
}

function wire(wiring: Wiring): MigrateContext {
  redis?.disconnect();
  redisUrl = wiring.redisUrl;
  redis = connectRedis(redisUrl, { onError: (error) => tell({ kind: 'log', text: error.message }) });
  const store = createStore({
    redis,
    sealer: createSealer(RING),
    leaseMs: LEASE_MS,
    retentionMs: HOUR_MS,
    credentialRetentionMs: HOUR_MS,
    adminKey: null,
    warn: (text) => tell({ kind: 'log', text }),
  });
  const dialer = createDialer({
    allowNetworks: ['127.0.0.0/8'],
    allowPlaintext: true,
    allowLegacyTls: false,
    extraCa: null,
    connectTimeoutMs: 5_000,
  });
  const log = (facts: object, message: string) =>
    tell({ kind: 'log', text: `${message} ${JSON.stringify(facts, errorText)}` });
  return {
    runs: store.runs,
    ends: ({ source, destination }, { source: pop3, destination: imap }) => ({
      source: createPop3Source({ endpoint: { ...source, port: wiring.pop3 }, auth: pop3, dialer }),
      target: createImapTarget({ endpoint: { ...destination, port: wiring.imap }, auth: imap, dialer }),
    }),
    budget: new SharedBudget(8 * 1024 * 1024),
    group: GROUP_LIMITS,
    clock: systemClock,
    log: () => ({ info: log, warn: log }),
    worker: `worker-${process.pid}`,
    settleMs: SETTLE_MS,
    recordHeaders: true,
  };
}

function errorText(_key: string, value: unknown): unknown {
  return value instanceof Error ? value.stack : value;
}

async function run(job: JobRef): Promise<void> {
  if (context === null) throw new Error('not wired');
  await migrate(context, job, never);
}

async function takeFromQueue(): Promise<void> {
  const { createWorker } = await import('../../src/queue/index.ts');
  createWorker({
    connection: connectRedis(redisUrl, { onError: () => {}, purpose: 'worker' }),
    concurrency: 4,
    handler: run,
    onError: (error) => tell({ kind: 'log', text: error.message }),
  });
}

process.on('message', (message: ToWorker) => {
  if (message.kind === 'wire') {
    context = wire(message);
    tell({ kind: 'wired' });
  } else if (message.kind === 'queue') {
    void takeFromQueue().then(() => tell({ kind: 'queueing' }));
  } else {
    run(message.job).then(
      () => tell({ kind: 'ran', fault: null }),
      (thrown: unknown) =>
        tell({ kind: 'ran', fault: thrown instanceof Error ? `${thrown.stack}` : String(thrown) }),
    );
  }
});
process.on('disconnect', () => process.exit());
tell({ kind: 'ready' });
