import { systemClock } from '../domain/clock.ts';
import type { EventFeed, IdempotencyStore, MigrationStore } from '../domain/migrations.ts';
import type { RunStore } from '../domain/ports.ts';
import { RedisKeyStore } from './apikeys.ts';
import { DueIndex } from './due.ts';
import { RedisEventFeed } from './events.ts';
import { Feed } from './feed.ts';
import { RedisIdempotencyStore } from './idempotency.ts';
import type { LeaseClock } from './lease.ts';
import { RedisMigrationStore } from './migrations.ts';
import { Pairs } from './pairs.ts';
import type { RedisClient } from './redis.ts';
import { RedisRunStore } from './runs.ts';
import type { Sealer } from './seal.ts';
import { Sweep } from './sweep.ts';

export type { Scopes } from './apikeys.ts';
export { RedisKeyStore } from './apikeys.ts';
export type { ConnectOptions, RedisCheck, RedisClient, RedisPurpose } from './redis.ts';
export { checkRedis, connectRedis } from './redis.ts';
export type { Sealer } from './seal.ts';
export { createSealer } from './seal.ts';

export interface StoreOptions {
  /** Connected with purpose `store`; stays the caller's to close, after the store. */
  redis: RedisClient;
  sealer: Sealer;
  leaseMs: number;
  /** How long ended migrations are kept. */
  retentionMs: number;
  /** How long credentials are kept after a failure. */
  credentialRetentionMs: number;
  /** The first key, of tenant `default` with all scopes; null where no API is served. */
  adminKey: string | null;
  /** Told in one sentence of what went wrong beside the way and will be made good. */
  warn: (message: string) => void;
  /** Default: the system's. */
  clock?: LeaseClock;
}

export interface Store {
  migrations: MigrationStore;
  runs: RunStore;
  events: EventFeed;
  keys: RedisKeyStore;
  idempotency: IdempotencyStore;
  /** Ends subscriptions and sends events that are held back, within a second. Idempotent. */
  close(): Promise<void>;
}

/** Everything that is kept in Redis, over one connection. */
export function createStore(options: StoreOptions): Store {
  const { redis, sealer, leaseMs, retentionMs, credentialRetentionMs, warn } = options;
  const clock = options.clock ?? systemClock;
  const pairs = new Pairs(redis, leaseMs);
  const due = new DueIndex(redis);
  const feed = new Feed(redis, warn);
  const shared = { redis, sealer, pairs, due, feed, credentialRetentionMs, warn };
  const sweep = new Sweep({ ...shared, retentionMs });
  const events = new RedisEventFeed(redis, warn);
  return {
    migrations: new RedisMigrationStore(shared),
    runs: new RedisRunStore({ ...shared, sweep, clock, leaseMs }),
    events,
    keys: new RedisKeyStore(redis, options.adminKey),
    idempotency: new RedisIdempotencyStore(redis),
    close: async () => {
      events.close();
      await feed.close();
    },
  };
}
