import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Cluster, Redis } from 'ioredis';
import { BridgeError } from '../../src/domain/errors.ts';
import { checkRedis, connectRedis, type RedisClient } from '../../src/store/index.ts';
import { until } from '../support/net.ts';
import { startRedis } from '../support/redis.ts';
import {
  claim,
  claimed,
  created,
  credentials,
  draft,
  ending,
  openStore,
  progress,
  record,
  type TestStore,
} from './support.ts';

const LEASE_MS = 1_500;

/** Everything so far has left the process of Redis: a kill takes none of it. */
function written(store: TestStore) {
  return until(async () => /aof_buffer_length:0\b/.test(await store.redis.info('persistence')), {
    what: 'the append-only file to be written',
  });
}

describe('a restart of Redis', () => {
  it('puts a fence of one lease before whoever claims next, after a kill -9', async () => {
    await using server = await startRedis();
    await using store = openStore(server.url, { leaseMs: LEASE_MS });
    const worked = await created(store, 'worked on');
    const { journal } = await claimed(store, worked.job);
    await journal.commit({ append: [record()], recordsBefore: 0, progress: progress(1) });
    await journal.end(ending('queued'));
    const fresh = await created(store, 'fresh');
    // Everything is on disk before the kill: what is tested is not the loss but the fence.
    await written(store);
    await server.kill();
    await server.restart();

    const after = await created(store, 'after the restart');
    const unfenced = await claimed(store, after.job);
    await unfenced.journal.end(ending('completed'));

    const held = await claim(store, fresh.job);
    assert.ok(held.kind === 'held' && held.by === 'fence', JSON.stringify(held));
    assert.ok(held.waitMs > LEASE_MS - 500 && held.waitMs <= LEASE_MS);
    const again = await claim(store, fresh.job);
    assert.ok(again.kind === 'held' && again.by === 'fence' && again.waitMs <= held.waitMs);
    const next = await until(
      async () => {
        const now = await claim(store, fresh.job);
        return now.kind === 'claimed' ? now : null;
      },
      { what: 'the fence to fall', everyMs: 50 },
    );
    assert.equal(next.journal.snapshot.cleanEnd, false);
    await next.journal.end(ending('completed'));
  });

  it('leaves no fence and no doubt on a Redis that just started', async () => {
    await using server = await startRedis();
    await using store = openStore(server.url, { leaseMs: LEASE_MS });
    const { job } = await created(store, 'first ever');
    const { journal } = await claimed(store, job);
    assert.equal(journal.snapshot.cleanEnd, true);
    await journal.end(ending('completed'));
  });

  it('is ridden out by a run, which loses nothing', async () => {
    await using server = await startRedis();
    await using store = openStore(server.url, { leaseMs: 30_000 });
    const { migration, job } = await created(store, 'ridden out');
    const { journal } = await claimed(store, job);
    await journal.commit({ append: [record()], recordsBefore: 0, progress: progress(1) });
    await written(store);
    const restarting = server.restart();
    const commits = Array.from({ length: 20 }, (_, n) =>
      journal.commit({ append: [record()], recordsBefore: n + 1, progress: progress(n + 2) }),
    );
    await Promise.all([restarting, ...commits]);
    await journal.end(ending('completed'));
    const ended = await store.migrations.get('default', migration.id);
    assert.equal(ended?.state, 'completed');
    assert.equal(ended?.progress.messages.copied, 21);
    assert.equal(await store.redis.strlen(`popbridge:default:{${migration.id}}:journal`), 21 * 32);
  });

  it('ends a run whose commits Redis has lost', async () => {
    await using server = await startRedis({ args: ['--appendfsync', 'no'] });
    await using store = openStore(server.url, { leaseMs: 30_000 });
    const { migration, job } = await created(store, 'lost suffix');
    const { journal } = await claimed(store, job);
    await journal.commit({ append: [record()], recordsBefore: 0 });
    // As if the last write had never reached the disk.
    const key = (part: string) => `popbridge:default:{${migration.id}}:${part}`;
    await store.redis.multi().del(key('journal')).hset(key('run'), 'seq', 0, 'nonce', '').exec();
    await assert.rejects(
      journal.commit({ append: [record()], recordsBefore: 1 }),
      (error) => error instanceof BridgeError && error.code === 'lease_lost',
    );
    assert.equal(await store.redis.exists(key('journal')), 0);
  });

  it('fails commands in bounded time when Redis does not come back', async () => {
    await using server = await startRedis();
    await using store = openStore(server.url, { commandTimeoutMs: 1_000 });
    await created(store, 'before');
    await server.kill();
    const since = performance.now();
    await assert.rejects(
      store.migrations.create('default', draft('after'), credentials()),
      (error) =>
        error instanceof BridgeError && error.code === 'store_unavailable' && error.cause === undefined,
    );
    assert.ok(performance.now() - since < 2_000);
  });
});

describe('the connection to Redis', () => {
  it('takes a socket path, Cluster and Sentinel URLs', async () => {
    const seen: RedisClient[] = [];
    const open = (url: string) => {
      const client = connectRedis(url, { onError: () => {} });
      seen.push(client);
      return client;
    };
    const openOne = (url: string) => {
      const client = open(url);
      assert.ok(client instanceof Redis);
      return client;
    };
    try {
      const plain = openOne('redis://user:p%40ss@127.0.0.1:1/3');
      const { host, port, db, username, password } = plain.options;
      assert.deepEqual([host, port, db, username, password], ['127.0.0.1', 1, 3, 'user', 'p@ss']);
      assert.notEqual(openOne('rediss://127.0.0.1:1').options.tls ?? null, null);
      assert.equal(openOne('/run/redis.sock').options.path, '/run/redis.sock');
      assert.equal(openOne('unix:///run/redis.sock').options.path, '/run/redis.sock');
      const cluster = open('redis://u:p@127.0.0.1:1,redis://127.0.0.1:2');
      assert.ok(cluster instanceof Cluster);
      assert.equal(cluster.options.redisOptions?.password, 'p');
      const sentinel = openOne('redis+sentinel://u:p@127.0.0.1:1,127.0.0.1:2/main?db=4');
      const { sentinels, name, db: sentinelDb, password: sentinelPassword } = sentinel.options;
      assert.deepEqual(sentinels, [
        { host: '127.0.0.1', port: 1 },
        { host: '127.0.0.1', port: 2 },
      ]);
      assert.deepEqual([name, sentinelDb, sentinelPassword], ['main', 4, 'p']);
    } finally {
      for (const client of seen) client.disconnect();
    }
  });

  it('refuses other URLs without repeating them', () => {
    for (const url of ['', 'http://user:hunter2@host', 'redis+sentinel://u:hunter2@host', 'redis://[hunter2'])
      assert.throws(
        () => connectRedis(url, { onError: () => {} }),
        (error) => error instanceof RangeError && !error.message.includes('hunter2'),
      );
  });

  it('warns of a Redis that drops keys or keeps no file, and of no other', async () => {
    await using careless = await startRedis({
      args: ['--maxmemory-policy', 'allkeys-lru', '--appendonly', 'no'],
    });
    await using careful = await startRedis();
    const check = async (url: string) => {
      const client = connectRedis(url, { onError: () => {} });
      try {
        return await checkRedis(client);
      } finally {
        client.disconnect();
      }
    };
    const bad = await check(careless.url);
    assert.equal(bad.policy, 'allkeys-lru');
    assert.match(bad.warnings.join('\n'), /allkeys-lru.*noeviction.*append-only/s);
    assert.deepEqual(await check(careful.url), { policy: 'noeviction', warnings: [] });
  });
});
