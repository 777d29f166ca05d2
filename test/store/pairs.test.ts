import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { until } from '../support/net.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import {
  claim,
  claimed,
  created,
  credentials,
  draft,
  ending,
  openStore,
  record,
  type TestStore,
} from './support.ts';

const LEASE_MS = 1_000;

describe('two migrations of one mailbox', () => {
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
  const create = (change: Parameters<typeof draft>[1] = {}, name = 'pair') =>
    store.migrations.create('default', draft(name, change), credentials());

  it('are refused at the door while the first is active, by its id', async () => {
    const first = await created(store, 'door');
    const { id } = first.migration;
    const second = () => create({}, 'door');
    assert.deepEqual(await second(), { kind: 'duplicate', id });
    await store.migrations.act('default', id, 'pause');
    assert.deepEqual(await second(), { kind: 'duplicate', id });
    await store.migrations.act('default', id, 'cancel');
    const next = await second();
    assert.equal(next.kind, 'created');
    assert.deepEqual(await second(), {
      kind: 'duplicate',
      id: next.kind === 'created' ? next.migration.id : '',
    });
  });

  it('are the same whatever the case of host and INBOX, and others by account, folder or tenant', async () => {
    const first = await created(store, 'same');
    const { source, destination } = draft('same');
    const duplicate = { kind: 'duplicate', id: first.migration.id };
    const variants = { source: { ...source, host: 'POP.Example.net.' } };
    assert.deepEqual(await create(variants, 'same'), duplicate);
    const inbox = { destination: { ...destination, folder: { path: ['inbox'] } } };
    assert.deepEqual(await create(inbox, 'same'), duplicate);
    const folder = { destination: { ...destination, folder: { path: ['Old mail'] } } };
    assert.equal((await create(folder, 'same')).kind, 'created');
    const use = { destination: { ...destination, folder: { specialUse: 'archive' as const } } };
    assert.equal((await create(use, 'same')).kind, 'created');
    assert.equal((await create({ source: { ...source, username: 'Same' } }, 'same')).kind, 'created');
    assert.equal((await store.migrations.create('other', draft('same'), credentials())).kind, 'created');
  });

  it('come through once when both are created at the same moment', async () => {
    const creations = await Promise.all(Array.from({ length: 8 }, () => create({}, 'at once')));
    assert.equal(creations.filter(({ kind }) => kind === 'created').length, 1);
  });

  it('cannot both be active by a retry of the first', async () => {
    const first = await created(store, 'retry');
    await (await claimed(store, first.job)).journal.end(ending('failed'));
    const second = await created(store, 'retry');
    const { id } = first.migration;
    assert.deepEqual(await store.migrations.act('default', id, 'retry'), {
      kind: 'duplicate',
      id: second.migration.id,
    });
    assert.equal((await store.migrations.get('default', id))?.state, 'failed');
    await store.migrations.erase('default', second.migration.id);
    const retried = await store.migrations.act('default', id, 'retry');
    assert.equal(retried.kind === 'changed' && retried.migration.state, 'queued');
    assert.deepEqual(await create({}, 'retry'), { kind: 'duplicate', id });
  });

  it('are kept apart at work, when the first was deleted and its worker has not let go yet', async () => {
    const first = await created(store, 'apart');
    const { journal } = await claimed(store, first.job);
    assert.equal(await store.migrations.erase('default', first.migration.id), 'lettingGo');
    const second = await created(store, 'apart');
    const held = await claim(store, second.job, 'w2');
    assert.ok(held.kind === 'held' && held.by === 'pair' && held.waitMs > 0, JSON.stringify(held));
    // The lease goes on being renewed: the record is gone from sight, the worker is not.
    await until(() => journal.wanted === 'gone', { what: 'the worker to be told' });
    assert.equal((await claim(store, second.job, 'w2')).kind, 'held');
    await journal.end(ending('queued'));
    const { journal: next } = await claimed(store, second.job, 'w2');
    await next.end(ending('completed'));
  });

  it('of two tenants are kept apart at work, and the second is shown as waiting', async () => {
    const first = await created(store, 'tenants');
    const { journal } = await claimed(store, first.job);
    const second = await store.migrations.create('other', draft('tenants'), credentials());
    assert.ok(second.kind === 'created');
    assert.equal((await claim(store, second.job, 'w2')).kind, 'held');
    const waiting = await store.migrations.get('other', second.migration.id);
    assert.equal(waiting?.state, 'waiting');
    assert.equal(waiting?.stateReason, 'destination_busy');
    assert.equal(waiting?.error?.code, 'destination_busy');
    assert.ok(Date.parse(waiting?.nextRunAt ?? '') > Date.now());
    await journal.end(ending('completed'));
    const next = await claimed(store, second.job, 'w2');
    assert.equal(next.migration.error, null);
    await next.journal.end(ending('completed'));
  });

  it('leave no trace of the pair when all of them are erased', async () => {
    const { migration, job } = await created(store, 'traceless');
    const pair = await store.redis.hget(`popbridge:default:{${migration.id}}:record`, 'pair');
    const key = `popbridge:default:{pair:${pair}}:pair`;
    assert.equal(await store.redis.exists(key), 1);
    await (await claimed(store, job)).journal.end(ending('completed'));
    await store.migrations.erase('default', migration.id);
    assert.equal(await store.redis.exists(key), 0);
  });
});

describe('erasing', () => {
  let server: RedisServer;
  let store: TestStore;
  before(async () => {
    server = await startRedis();
    store = openStore(server.url, { leaseMs: LEASE_MS, retentionMs: 500 });
  });
  after(async () => {
    await store?.[Symbol.asyncDispose]();
    await server?.stop();
  });
  const keysOf = (id: string) => store.redis.keys(`*${id}*`);

  it('takes everything away at once when no worker has it', async () => {
    const { migration, job } = await created(store, 'erased');
    assert.equal(await store.migrations.erase('default', migration.id), 'erased');
    assert.equal(await store.migrations.get('default', migration.id), null);
    assert.deepEqual(await keysOf(migration.id), []);
    assert.equal(await store.migrations.erase('default', migration.id), 'unknown');
    assert.deepEqual(await claim(store, job), { kind: 'superseded' });
    assert.equal((await store.migrations.list('default', { sort: 'label', limit: 10 })).total, 0);
  });

  it('hides it at once and tells its worker, which erases it as it lets go', async () => {
    const { migration, job } = await created(store, 'let go');
    const { id } = migration;
    const { journal } = await claimed(store, job);
    await journal.commit({ append: [record()], recordsBefore: 0 });
    assert.equal(await store.migrations.erase('default', id), 'lettingGo');
    assert.equal(await store.migrations.get('default', id), null);
    assert.equal((await store.migrations.list('default', { sort: 'label', limit: 10 })).total, 0);
    assert.equal(await store.migrations.messages('default', id, { limit: 1 }), null);
    assert.deepEqual(await store.migrations.act('default', id, 'pause'), { kind: 'unknown' });
    assert.equal(await store.redis.exists(`popbridge:default:{${id}}:secrets`), 0);
    await journal.commit({ append: [record()], recordsBefore: 1 });
    assert.equal(journal.wanted, 'gone');
    assert.equal(journal.stopRequested.aborted, true);
    await journal.end(ending('completed'));
    assert.deepEqual(await keysOf(id), []);
  });

  it('erases it by the sweep when its worker is dead', async () => {
    const victim = openStore(server.url, { leaseMs: LEASE_MS });
    const { migration, job } = await created(store, 'dead');
    await claimed(victim, job);
    assert.equal(await store.migrations.erase('default', migration.id), 'lettingGo');
    victim.crash();
    await until(
      async () => {
        const jobs = await store.runs.sweep(100);
        assert.ok(jobs.every((found) => found.job.migrationId !== migration.id));
        return (await keysOf(migration.id)).length === 0;
      },
      { what: 'the sweep to erase it', everyMs: 50 },
    );
  });

  it('erases an ended migration when its time of retention is over, and frees its pair', async () => {
    const { migration, job } = await created(store, 'old');
    await (await claimed(store, job)).journal.end(ending('completed'));
    await until(
      async () => {
        await store.runs.sweep(100);
        return (await keysOf(migration.id)).length === 0;
      },
      { what: 'the sweep to erase it', everyMs: 50 },
    );
    assert.equal((await store.migrations.list('default', { sort: 'label', limit: 10 })).total, 0);
    await created(store, 'old');
  });
});
