import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { BridgeError } from '../../src/domain/errors.ts';
import { until } from '../support/net.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { claim, claimed, created, ending, openStore, progress, record, type TestStore } from './support.ts';

const lost = (error: unknown) => error instanceof BridgeError && error.code === 'lease_lost';
const LEASE_MS = 1_000;

describe('leases', () => {
  let server: RedisServer;
  let store: TestStore;
  before(async () => {
    server = await startRedis();
    store = openStore(server.url, { leaseMs: LEASE_MS });
  });
  after(async () => {
    await store?.[Symbol.asyncDispose]();
    await server?.stop();
  });

  function sweepFor(from: TestStore, id: string, timeoutMs = 10_000) {
    return until(async () => (await from.runs.sweep(100)).find(({ job }) => job.migrationId === id)?.job, {
      what: 'the sweep to hand the job out',
      timeoutMs,
      everyMs: 50,
    });
  }

  it('lets exactly one of two claims at once through', async () => {
    for (let round = 0; round < 10; round++) {
      const { job } = await created(store, `race ${round}`);
      const claims = await Promise.all([claim(store, job, 'w1'), claim(store, job, 'w2')]);
      const winners = claims.filter(({ kind }) => kind === 'claimed');
      assert.equal(winners.length, 1);
      for (const winner of winners)
        if (winner.kind === 'claimed') await winner.journal.end(ending('completed'));
    }
  });

  it('holds off a job that the queue starts twice, and tells for how long', async () => {
    const { job } = await created(store, 'double start');
    const { journal } = await claimed(store, job);
    const second = await claim(store, job, 'w2');
    assert.equal(second.kind, 'held');
    assert.ok(second.kind === 'held' && second.by === 'lease' && second.waitMs > 0);
    await journal.end(
      ending('waiting', { stateReason: 'throttled', nextRunAt: new Date(Date.now() + 60_000) }),
    );
    assert.deepEqual(await claim(store, job, 'w2'), { kind: 'superseded' });
  });

  it('is renewed for as long as the run goes on', async () => {
    const { job } = await created(store, 'renewed');
    const { journal } = await claimed(store, job);
    const until3Leases = Date.now() + 3 * LEASE_MS;
    await until(() => Date.now() > until3Leases, { what: 'three leases to pass' });
    journal.assertHeld();
    await journal.commit({ append: [record()], recordsBefore: 0 });
    await journal.end(ending('completed'));
  });

  it('is known as lost at once when the wall clock has jumped, without asking', async () => {
    let jump = 0;
    const clock = { now: () => new Date(Date.now() + jump), monotonic: () => performance.now() };
    await using frozen = openStore(server.url, { leaseMs: 60_000, clock });
    const { job } = await created(frozen, 'frozen');
    const { journal } = await claimed(frozen, job);
    journal.assertHeld();
    jump = 60_000;
    assert.throws(() => journal.assertHeld(), lost);
    assert.equal(journal.lost.aborted, true);
    await assert.rejects(journal.commit({ append: [record()], recordsBefore: 0 }), lost);
  });

  it('is known as lost at once when the monotonic clock shows more time gone', async () => {
    let jump = 0;
    const clock = { now: () => new Date(), monotonic: () => performance.now() + jump };
    await using thawed = openStore(server.url, { leaseMs: 60_000, clock });
    const { job } = await created(thawed, 'thawed');
    const { journal } = await claimed(thawed, job);
    jump = 60_000;
    assert.throws(() => journal.assertHeld(), lost);
  });

  it('is lost at its local deadline when Redis does not answer', async () => {
    await using own = await startRedis();
    await using cut = openStore(own.url, { leaseMs: LEASE_MS });
    const { job } = await created(cut, 'cut off');
    const { journal } = await claimed(cut, job);
    const waiting = once(journal.lost, 'abort');
    await own.kill();
    await waiting;
    assert.ok(lost(journal.lost.reason));
  });

  for (const [action, wanted, state] of [
    ['pause', 'pause', 'paused'],
    ['cancel', 'cancel', 'canceled'],
  ] as const)
    it(`tells the run of a ${action} within two seconds, between commits and with the next one`, async () => {
      const { migration, job } = await created(store, `told ${action}`);
      const { journal } = await claimed(store, job);
      const stopped = once(journal.stopRequested, 'abort');
      const before = performance.now();
      await store.migrations.act('default', migration.id, action);
      await stopped;
      assert.ok(performance.now() - before < 2_000);
      assert.equal(journal.wanted, wanted);
      await journal.end(ending('waiting', { stateReason: 'throttled', nextRunAt: new Date() }));
      const ended = await store.migrations.get('default', migration.id);
      assert.equal(ended?.state, state);
      assert.equal(ended?.stateReason, null);
      assert.equal(ended?.nextRunAt, null);
    });

  it('is not brought back to life once it has run out', async () => {
    const { migration, job } = await created(store, 'run out');
    const { journal } = await claimed(store, job);
    const key = `popbridge:default:{${migration.id}}:run`;
    await store.redis.hset(key, 'leaseUntil', 1);
    await until(() => journal.lost.aborted, { what: 'the lease to be lost', timeoutMs: LEASE_MS });
    assert.equal(await store.redis.hget(key, 'leaseUntil'), '1');
  });

  it('keeps the sweep from a run that is at work, and from erasing its journal', async () => {
    const { migration, job } = await created(store, 'at work');
    const { journal } = await claimed(store, job);
    const sweepNow = async () => {
      await store.redis.zadd('popbridge:{due}:work', 0, `default/${migration.id}`);
      return (await store.runs.sweep(100)).filter((found) => found.job.migrationId === migration.id);
    };
    assert.deepEqual(await sweepNow(), []);
    const lookAt = Number(await store.redis.zscore('popbridge:{due}:work', `default/${migration.id}`));
    assert.ok(lookAt > Date.now() && lookAt < Date.now() + LEASE_MS + 1_000);
    await store.migrations.erase('default', migration.id);
    assert.deepEqual(await sweepNow(), []);
    await journal.commit({ append: [record()], recordsBefore: 0 });
    assert.equal(journal.wanted, 'gone');
    await journal.end(ending('canceled'));
  });

  it('tells the run with its next commit, without waiting for a renewal', async () => {
    await using patient = openStore(server.url, { leaseMs: 60_000 });
    const { migration, job } = await created(patient, 'told by commit');
    const { journal } = await claimed(patient, job);
    await patient.migrations.act('default', migration.id, 'pause');
    await journal.commit({ append: [record()], recordsBefore: 0 });
    assert.equal(journal.wanted, 'pause');
    assert.equal(journal.stopRequested.aborted, true);
    await journal.end(ending('completed', { passComplete: true }));
    assert.equal((await patient.migrations.get('default', migration.id))?.state, 'completed');
  });

  it('makes a canceled run canceled, even one that was just complete', async () => {
    const { migration, job } = await created(store, 'cancel wins');
    const { journal } = await claimed(store, job);
    await store.migrations.act('default', migration.id, 'cancel');
    await journal.end(ending('completed'));
    assert.equal((await store.migrations.get('default', migration.id))?.state, 'canceled');
  });

  it('gives the migration of a killed worker to another soon after the lease has run out', async () => {
    const victim = openStore(server.url, { leaseMs: LEASE_MS });
    const { migration, job } = await created(store, 'killed');
    const { journal } = await claimed(victim, job, 'victim');
    await journal.commit({ append: [record()], recordsBefore: 0, progress: progress(1) });
    victim.crash();
    const killedAt = performance.now();
    const next = await sweepFor(store, migration.id);
    const foundAfter = performance.now() - killedAt;
    assert.ok(foundAfter < LEASE_MS + 5_000, `found after ${foundAfter} ms`);
    assert.equal(next.job, 2);
    const heir = await claimed(store, next, 'heir');
    assert.equal(heir.journal.snapshot.records.length, 32);
    assert.equal(heir.journal.snapshot.cleanEnd, false);
    await heir.journal.commit({ append: [record()], recordsBefore: 1, progress: progress(5) });
    const rows = await store.migrations.runs('default', migration.id);
    assert.deepEqual(
      rows?.map(({ worker, outcome, counts }) => [worker, outcome, counts.copied]),
      [
        ['victim', 'lost', 1],
        ['heir', null, 4],
      ],
    );
    await assert.rejects(journal.commit({ append: [record()], recordsBefore: 2 }), BridgeError);
    await heir.journal.end(ending('completed'));
    assert.equal((await store.migrations.runs('default', migration.id))?.[0]?.outcome, 'lost');
  });

  it('settles a pause and a cancel whose worker was killed', async () => {
    for (const [action, state] of [
      ['pause', 'paused'],
      ['cancel', 'canceled'],
    ] as const) {
      const victim = openStore(server.url, { leaseMs: LEASE_MS });
      const { migration, job } = await created(store, `killed ${action}`);
      await claimed(victim, job);
      await store.migrations.act('default', migration.id, action);
      victim.crash();
      await until(
        async () => {
          await store.runs.sweep(100);
          return (await store.migrations.get('default', migration.id))?.state === state;
        },
        { what: `it to be ${state}`, everyMs: 50 },
      );
      assert.deepEqual(await claim(store, job), { kind: 'superseded' });
    }
  });

  it('hands a job out again that never reached the queue, under its old number', async () => {
    const { migration, job } = await created(store, 'never queued');
    assert.deepEqual(await sweepFor(store, migration.id), job);
  });

  it('gives each job to one of several sweeps, and does not repeat it at once', async () => {
    const ids = new Set<string>();
    for (let n = 0; n < 20; n++) ids.add((await created(store, `many ${n}`)).migration.id);
    const found: string[] = [];
    await until(
      async () => {
        const sweeps = await Promise.all([1, 2, 3].map(() => store.runs.sweep(7)));
        for (const { job } of sweeps.flat()) if (ids.has(job.migrationId)) found.push(job.migrationId);
        return new Set(found).size === ids.size;
      },
      { what: 'all jobs to be found', everyMs: 20 },
    );
    for (let n = 0; n < 5; n++)
      for (const { job } of await store.runs.sweep(100))
        if (ids.has(job.migrationId)) found.push(job.migrationId);
    assert.equal(found.length, ids.size);
  });

  it('finds a migration again that the index has lost', async () => {
    const { migration, job } = await created(store, 'lost by the index');
    await store.redis.zrem('popbridge:{due}:backlog', `default/${migration.id}`);
    assert.deepEqual(await sweepFor(store, migration.id), job);
  });

  it('brings a waiting migration at its time and not before', async () => {
    const { migration, job } = await created(store, 'waiting');
    const { journal } = await claimed(store, job);
    const nextRunAt = new Date(Date.now() + 1_500);
    await journal.end(ending('waiting', { stateReason: 'throttled', nextRunAt }));
    const next = await sweepFor(store, migration.id);
    assert.ok(Date.now() >= nextRunAt.getTime());
    assert.equal(next.job, 2);
    await (await claimed(store, next)).journal.end(ending('completed'));
  });

  it('takes a job that a worker handed back at once', async () => {
    const { migration, job } = await created(store, 'handed back');
    const { journal } = await claimed(store, job);
    await journal.end(ending('queued'));
    const since = performance.now();
    const next = await sweepFor(store, migration.id);
    assert.ok(performance.now() - since < 1_000);
    assert.equal((await store.migrations.runs('default', migration.id))?.[0]?.outcome, 'released');
    await (await claimed(store, next)).journal.end(ending('completed'));
  });
});
