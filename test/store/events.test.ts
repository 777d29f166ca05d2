import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { MessageDetail } from '../../src/domain/migration.ts';
import type { FeedEvent } from '../../src/domain/migrations.ts';
import { run, text } from '../../src/store/db.ts';
import type { MigrationEvent } from '../../src/store/feed.ts';
import { migrationKeys } from '../../src/store/keys.ts';
import { MIGRATION_SCRIPTS } from '../../src/store/scripts.ts';
import { until } from '../support/net.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { claimed, created, detail, ending, openStore, progress, record, type TestStore } from './support.ts';

/** Collects what a subscription tells. */
function collect(store: TestStore, tenant: string, lastEventId: string | null = null) {
  const stop = new AbortController();
  const events: FeedEvent[] = [];
  const ended = (async () => {
    for await (const event of store.events.subscribe(tenant, lastEventId, stop.signal)) events.push(event);
  })();
  return {
    events,
    ended,
    states: (id: string) => migrationEvents(events, id).map(({ state }) => state),
    stop: async () => {
      stop.abort();
      await ended;
    },
  };
}

function migrationEvents(events: readonly FeedEvent[], id: string): MigrationEvent[] {
  return events
    .filter(({ type, migrationId }) => type === 'migration' && migrationId === id)
    .map(({ data }) => data as MigrationEvent);
}

/** A sweep that looks at this migration. */
async function sweepNow(store: TestStore, id: string): Promise<void> {
  const member = `default/${id}`;
  await store.redis
    .multi()
    .zrem('popbridge:{due}:backlog', member)
    .zadd('popbridge:{due}:work', 0, member)
    .exec();
  await store.runs.sweep(100);
}

describe('events', () => {
  let server: RedisServer;
  let store: TestStore;
  before(async () => {
    server = await startRedis();
    store = openStore(server.url);
  });
  after(async () => {
    await store?.[Symbol.asyncDispose]();
    await server?.stop();
  });

  it('tell every state to all subscribers of the tenant and to no other', async () => {
    const [one, two, other] = [collect(store, 'here'), collect(store, 'here'), collect(store, 'there')];
    const { migration, job } = await created(store, 'told', 'here');
    const { journal } = await claimed(store, job);
    await until(() => one.states(migration.id).includes('running'), { what: 'running to be told' });
    await journal.end(ending('completed', { progress: progress(100) }));
    for (const { states } of [one, two])
      await until(() => states(migration.id).at(-1) === 'completed', { what: 'the end to be told' });
    assert.equal(one.states(migration.id)[0], 'queued');
    assert.deepEqual(one.events, two.events);
    assert.equal(migrationEvents(one.events, migration.id).at(-1)?.progress.messages.copied, 100);
    await created(store, 'elsewhere', 'there');
    await until(() => other.events.length > 0, { what: 'the other tenant to be told of its own' });
    assert.ok(other.events.every(({ migrationId }) => migrationId !== migration.id));
    await Promise.all([one.stop(), two.stop(), other.stop()]);
  });

  it('come at most four times a second for one migration, and end with the latest state', async () => {
    const { migration, job } = await created(store, 'throttled');
    const { journal } = await claimed(store, job);
    const { events, stop } = collect(store, 'default');
    const since = performance.now();
    let commits = 0;
    while (performance.now() - since < 1_500) {
      await journal.commit({
        append: [record()],
        recordsBefore: commits,
        progress: progress(++commits, 1e6),
      });
    }
    const last = () => migrationEvents(events, migration.id).at(-1);
    await until(() => last()?.progress.messages.copied === commits, { what: 'the last commit to be told' });
    await journal.end(ending('completed', { progress: progress(commits, 1e6) }));
    await until(() => last()?.state === 'completed', { what: 'the end to be told' });
    const seconds = (performance.now() - since) / 1000;
    const told = migrationEvents(events, migration.id);
    assert.ok(commits > 50, `${commits} commits`);
    assert.ok(told.length >= 5, `${told.length} events`);
    assert.ok(told.length <= seconds * 4 + 2, `${told.length} events in ${seconds} s`);
    const times = events
      .filter(({ migrationId }) => migrationId === migration.id)
      .map(({ id }) => Number.parseInt(id, 10));
    for (const [at, time] of times.entries()) if (at > 0) assert.ok(time - (times[at - 1] ?? 0) >= 250);
    const counts = told.map((event) => event.progress.messages.copied ?? 0);
    assert.deepEqual(
      counts,
      counts.toSorted((a, b) => a - b),
    );
    await stop();
  });

  it('never tell an older state after a newer one, whoever tells it', async () => {
    await using worker = openStore(server.url);
    const { events, stop, states } = collect(store, 'default');
    const { migration, job } = await created(store, 'order');
    const { journal } = await claimed(worker, job);
    await Promise.all([
      store.migrations.act('default', migration.id, 'pause'),
      journal.commit({ append: [record()], recordsBefore: 0, progress: progress(1) }),
    ]);
    await journal.end(ending('paused'));
    await until(() => states(migration.id).at(-1) === 'paused', { what: 'the pause to be told' });
    const order = ['queued', 'running', 'pausing', 'paused'];
    const ranks = migrationEvents(events, migration.id).map(({ state }) => order.indexOf(state));
    assert.deepEqual(ranks, ranks.toSorted());
    await stop();
  });

  it('tell each exception with its details, and copies that are none not', async () => {
    const { job, migration } = await created(store, 'exceptions');
    const { journal } = await claimed(store, job);
    const { events, stop } = collect(store, 'default');
    const failed = detail({ uidl: 'failed' });
    const altered = detail({ uidl: 'altered', outcome: 'copied', altered: true, reason: null });
    const plain = detail({ uidl: 'plain', outcome: 'copied', reason: null });
    const details = [failed, plain, altered].map((one, index) => ({ index, detail: one }));
    await journal.commit({ append: details.map(() => record()), recordsBefore: 0, details });
    const told = () => events.filter(({ type }) => type === 'message');
    await until(() => told().length === 2, { what: 'two exceptions to be told' });
    assert.deepEqual(
      told().map(({ data }) => data as MessageDetail),
      [failed, altered],
    );
    assert.ok(told().every(({ migrationId }) => migrationId === migration.id));
    await until(async () => (await store.redis.exists(`popbridge:default:{${migration.id}}:unfed`)) === 0, {
      what: 'nothing to be left to tell',
    });
    await journal.end(ending('completed'));
    assert.equal(told().length, 2);
    await stop();
  });

  it('are told by the sweep when the process died between its script and the feed', async () => {
    const { job, migration } = await created(store, 'unfed');
    const { journal } = await claimed(store, job);
    const { events, stop, states } = collect(store, 'default');
    const lists = { updates: [], close: [], open: [], epochs: [], drop: [] };
    const details = [
      [0, JSON.stringify(detail({ uidl: 'told late' })), true],
      [1, JSON.stringify(detail({ uidl: 'never told' })), false],
    ];
    const call = {
      runId: journal.runId,
      seq: 1,
      nonce: 'n',
      details,
      progress: JSON.stringify(progress(7)),
      ...lists,
    };
    const keys = migrationKeys('default', migration.id);
    const none = Buffer.alloc(0);
    assert.equal(text((await run(store.redis, MIGRATION_SCRIPTS.commit, keys, call, none, none))[0]), 'ok');
    await store.redis.hset(keys[0] ?? '', 'state', 'pausing');
    await sweepNow(store, migration.id);
    await until(() => states(migration.id).includes('pausing'), { what: 'the state to be told' });
    await until(() => events.some(({ type }) => type === 'message'), { what: 'the exception to be told' });
    const told = events
      .filter(({ type }) => type === 'message')
      .map(({ data }) => (data as MessageDetail).uidl);
    assert.deepEqual(told, ['told late']);
    const listed = await store.migrations.list('default', { state: ['pausing'], sort: 'label', limit: 10 });
    assert.deepEqual(
      listed.items.map(({ id }) => id),
      [migration.id],
    );
    await stop();
  });

  it('are not told again by a sweep that finds nothing new', async () => {
    const { migration } = await created(store, 'told already');
    const { events, stop } = collect(store, 'default');
    await sweepNow(store, migration.id);
    const marker = await created(store, 'told after');
    await until(() => events.some(({ migrationId }) => migrationId === marker.migration.id), {
      what: 'the marker',
    });
    assert.ok(events.every(({ migrationId }) => migrationId !== migration.id));
    await stop();
  });

  it('go on behind the last one that a subscriber has seen', async () => {
    const tenant = 'resumed';
    const first = collect(store, tenant);
    const one = await created(store, 'one', tenant);
    await until(() => first.events.length === 1, { what: 'the first event' });
    await first.stop();
    const missed = [];
    for (let n = 0; n < 250; n++) missed.push((await created(store, `missed ${n}`, tenant)).migration.id);
    const seen = first.events[0]?.id ?? '';
    const second = collect(store, tenant, seen);
    await until(() => second.events.length >= 250, { what: 'what was missed' });
    const live = await created(store, 'live', tenant);
    await until(() => second.events.some(({ migrationId }) => migrationId === live.migration.id), {
      what: 'more',
    });
    assert.deepEqual(
      second.events.map(({ migrationId }) => migrationId),
      [...missed, live.migration.id],
    );
    assert.ok(!second.events.some(({ migrationId }) => migrationId === one.migration.id));
    await second.stop();
  });

  it('begin with a reset when what was asked for is not kept, or never was', async () => {
    const tenant = 'reset';
    await created(store, 'old', tenant);
    const key = `popbridge:${tenant}:{tenant:${tenant}}:events`;
    const [oldest] = await store.redis.xrange(key, '-', '+');
    await created(store, 'newer', tenant);
    await store.redis.xtrim(key, 'MAXLEN', 1);
    const unknown = [oldest?.[0] ?? '', '99999999999999-0', 'nonsense', '1-1-1'];
    for (const lastEventId of unknown) {
      const subscriber = collect(store, tenant, lastEventId);
      await until(() => subscriber.events.length > 0, { what: `an answer to ${lastEventId}` });
      const [reset] = subscriber.events;
      assert.equal(reset?.type, 'reset', lastEventId);
      assert.equal(reset?.migrationId, null);
      const next = await created(store, `after ${lastEventId}`, tenant);
      await until(() => subscriber.events.at(-1)?.migrationId === next.migration.id, {
        what: 'what comes now',
      });
      assert.equal(subscriber.events.length, 2);
      await subscriber.stop();
      const again = collect(store, tenant, reset?.id ?? '');
      await until(() => again.events.length > 0, { what: 'a resume behind the reset' });
      assert.equal(again.events[0]?.type, 'migration');
      await again.stop();
    }
  });

  it('come from a slow subscriber’s place when it falls far behind', async () => {
    const tenant = 'slow';
    const stop = new AbortController();
    const iterator = store.events.subscribe(tenant, null, stop.signal)[Symbol.asyncIterator]();
    await created(store, 'first', tenant);
    const first = await iterator.next();
    assert.equal(first.done, false);
    const key = `popbridge:${tenant}:{tenant:${tenant}}:events`;
    const pipeline = store.redis.pipeline();
    for (let n = 0; n < 3_000; n++) pipeline.xadd(key, '*', 't', 'message', 'm', `m${n}`, 'd', '{}');
    await pipeline.exec();
    const seen: (string | null)[] = [];
    while (seen.length < 3_000) {
      const next = await iterator.next();
      assert.ok(!next.done);
      seen.push(next.value.migrationId);
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 3_000 }, (_, n) => `m${n}`),
    );
    stop.abort();
    assert.equal((await iterator.next()).done, true);
  });

  it('end at once with the signal, and leave no connection behind', async () => {
    const readers = async () => String(await store.redis.client('LIST')).split('cmd=xread').length - 1;
    await until(async () => (await readers()) === 0, { what: 'earlier readers to leave' });
    const subscribers = Array.from({ length: 20 }, () => collect(store, 'connections'));
    await until(async () => (await readers()) > 0, { what: 'the reader to block' });
    assert.equal(await readers(), 1);
    const since = performance.now();
    await Promise.all(subscribers.map(({ stop }) => stop()));
    assert.ok(performance.now() - since < 200);
    await until(async () => (await readers()) === 0, { what: 'the reader to leave' });
  });

  it('go on after a restart of Redis', async () => {
    await using own = await startRedis();
    await using restarted = openStore(own.url);
    const { events, stop, states } = collect(restarted, 'default');
    const first = await created(restarted, 'before');
    await until(() => states(first.migration.id).length > 0, { what: 'the first event' });
    await own.restart();
    const second = await created(restarted, 'after');
    await until(() => states(second.migration.id).length > 0, { what: 'an event after the restart' });
    assert.equal(events.length, 2);
    await stop();
  });

  it('are sent before the store closes', async () => {
    const { migration, job } = await created(store, 'closing');
    const worker = openStore(server.url);
    const { journal } = await claimed(worker, job);
    const { stop, states } = collect(store, 'default');
    await journal.end(ending('completed'));
    await worker[Symbol.asyncDispose]();
    await until(() => states(migration.id).at(-1) === 'completed', { what: 'the end to be told' });
    await stop();
  });
});
