import closeWithGrace from 'close-with-grace';
import { loadConfig } from './config.ts';
import { Migrations } from './domain/migrations.ts';
import { buildApp } from './http/app.ts';
import { createLogger } from './log.ts';
import { createEgressGuard } from './net/index.ts';
import { createQueue } from './queue/index.ts';
import { fatal } from './start/failure.ts';
import { ensureApiKey, ensureSecretKeys } from './start/secrets.ts';
import { checkRedis, connectRedis, createSealer, createStore } from './store/index.ts';

const HOUR_MS = 60 * 60 * 1000;
/** Answers and event streams in hand get this long; the supervisor gives ten seconds. */
const CLOSE_MS = 5_000;

/** The API process: config, store, queue and HTTP put together. Resolves when it listens. */
async function main(): Promise<void> {
  const config = loadConfig();
  const log = createLogger(config.logLevel);
  const onError = (error: Error) => log.warn({ reason: error.message }, 'Redis does not answer');
  const url = config.redisUrl ?? noRedis();
  const redis = connectRedis(url, { onError });
  const queueConnection = connectRedis(url, { onError });
  for (const warning of (await checkRedis(redis)).warnings) log.warn(warning);
  const store = createStore({
    redis,
    sealer: createSealer((await ensureSecretKeys(config)).value),
    leaseMs: config.leaseSeconds * 1000,
    retentionMs: config.retentionDays * 24 * HOUR_MS,
    credentialRetentionMs: config.credentialRetentionHours * HOUR_MS,
    adminKey: (await ensureApiKey(config)).value,
    warn: (message) => log.warn(message),
  });
  const queue = createQueue({ connection: queueConnection, onError });
  const guard = createEgressGuard(config.allowNetworks);
  const app = buildApp(
    {
      migrations: new Migrations(store.migrations, queue),
      store: store.migrations,
      feed: store.events,
      keys: store.keys,
      idempotency: store.idempotency,
      ready: async () => (await redis.ping()) === 'PONG',
      policy: {
        allowPlaintext: config.allowPlaintext,
        allowLegacyTls: config.allowLegacyTls,
        isAddressAllowed: (host) => guard.isAddressAllowed(host),
      },
    },
    { logger: log, closeMs: CLOSE_MS },
  );
  closeWithGrace({ delay: CLOSE_MS + 3_000, logger: log }, async () => {
    await app.close();
    await queue.close();
    await store.close();
    redis.disconnect();
    queueConnection.disconnect();
  });
  await app.listen({ host: config.host, port: config.port });
}

function noRedis(): never {
  throw new Error(
    'REDIS_URL must be set: `npm start` brings a Redis of its own, this process alone does not',
  );
}

main().catch(fatal);
