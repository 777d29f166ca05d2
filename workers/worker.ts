import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import closeWithGrace from 'close-with-grace';
import { loadConfig } from '../src/config.ts';
import { SharedBudget } from '../src/domain/budget.ts';
import { systemClock } from '../src/domain/clock.ts';
import { GROUP } from '../src/domain/delivery.ts';
import { createImapTarget } from '../src/imap/index.ts';
import { createLogger } from '../src/log.ts';
import { createDialer } from '../src/net/index.ts';
import { createPop3Source } from '../src/pop3/index.ts';
import { createQueue, createWorker } from '../src/queue/index.ts';
import { ensureSecretKeys } from '../src/start/secrets.ts';
import { checkRedis, connectRedis, createSealer, createStore } from '../src/store/index.ts';
import { serveHealth } from './health.ts';
import { type MigrateContext, migrate } from './migrate.ts';
import { startSweeping } from './sweep.ts';

const HOUR_MS = 60 * 60 * 1000;
const CONNECT_MS = 30_000;
/** The groups in hand, their commits and the goodbyes; the supervisor gives 45 seconds. */
const DRAIN_MS = 40_000;

/** The worker process: takes migrations off the queue until it is told to stop. */
export async function startWorker(): Promise<void> {
  const config = loadConfig();
  const worker = `${hostname()}-${process.pid}-${randomBytes(3).toString('hex')}`;
  const log = createLogger(config.logLevel).child({ worker });
  const onError = (error: Error) => log.warn({ reason: error.message }, 'Redis does not answer');
  const url = config.redisUrl ?? noRedis();
  const redis = connectRedis(url, { onError });
  const queueConnection = connectRedis(url, { onError });
  const workerConnection = connectRedis(url, { onError, purpose: 'worker' });
  for (const warning of (await checkRedis(redis)).warnings) log.warn(warning);
  const store = createStore({
    redis,
    sealer: createSealer((await ensureSecretKeys(config)).value),
    leaseMs: config.leaseSeconds * 1000,
    retentionMs: config.retentionDays * 24 * HOUR_MS,
    credentialRetentionMs: config.credentialRetentionHours * HOUR_MS,
    adminKey: null,
    warn: (message) => log.warn(message),
  });
  const dialer = createDialer({
    allowNetworks: config.allowNetworks,
    allowPlaintext: config.allowPlaintext,
    allowLegacyTls: config.allowLegacyTls,
    extraCa: config.extraCa,
    connectTimeoutMs: CONNECT_MS,
  });
  const context: MigrateContext = {
    runs: store.runs,
    ends: ({ source, destination }, credentials) => ({
      source: createPop3Source({ endpoint: source, auth: credentials.source, dialer }),
      target: createImapTarget({ endpoint: destination, auth: credentials.destination, dialer }),
    }),
    budget: new SharedBudget(config.memoryBudget),
    group: GROUP,
    clock: systemClock,
    log: (facts) => log.child(facts),
    worker,
    settleMs: config.settleSeconds * 1000,
    recordHeaders: config.recordHeaders,
  };
  const queue = createQueue({ connection: queueConnection, onError });
  const jobs = createWorker({
    connection: workerConnection,
    concurrency: config.workerConcurrency,
    onError,
    handler: (job, shutdown) => migrate(context, job, shutdown),
  });
  const sweeping = startSweeping({ runs: store.runs, queue, clock: systemClock, log });
  const health =
    config.workerMetricsPort === 0
      ? null
      : await serveHealth({
          host: config.host,
          port: config.workerMetricsPort,
          ready: async () => (await redis.ping()) === 'PONG',
        });
  closeWithGrace({ delay: DRAIN_MS, logger: log }, async () => {
    await sweeping.close();
    await jobs.close();
    await health?.close();
    await queue.close();
    await store.close();
    for (const client of [redis, queueConnection, workerConnection]) client.disconnect();
  });
  log.info({ concurrency: config.workerConcurrency }, 'the worker is ready');
}

function noRedis(): never {
  throw new Error(
    'REDIS_URL must be set: `npm start` brings a Redis of its own, this process alone does not',
  );
}
