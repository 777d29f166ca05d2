import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { BridgeError } from '../../src/domain/errors.ts';
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
  progress,
  record,
  SECRET,
  type TestStore,
} from './support.ts';

describe('a migration in the store', () => {
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

  it('is created as queued, with what the caller gave and no secret', async () => {
    const { migration, job } = await created(store, 'fresh');
    assert.match(migration.id, /^mig_[0-9a-f]{32}$/);
    assert.equal(migration.state, 'queued');
    assert.equal(migration.runs, 0);
    assert.equal(migration.progress.messages.total, null);
    assert.deepEqual(migration.source, draft('fresh').source);
    assert.deepEqual(migration.destination, draft('fresh').destination);
    assert.deepEqual(job, { version: 1, tenant: 'default', migrationId: migration.id, job: 1 });
    assert.deepEqual(await store.migrations.get('default', migration.id), migration);
    assert.ok(!JSON.stringify(migration).includes(SECRET));
  });

  it('is unknown to another tenant, by every call', async () => {
    const { migration, job } = await created(store, 'foreign');
    const { id } = migration;
    const { migrations } = store;
    assert.equal(await migrations.get('other', id), null);
    assert.deepEqual(await migrations.act('other', id, 'cancel'), { kind: 'unknown' });
    assert.deepEqual(await migrations.patch('other', id, { label: 'x' }), { kind: 'unknown' });
    assert.deepEqual(await migrations.putCredentials('other', id, credentials()), { kind: 'unknown' });
    assert.equal(await migrations.erase('other', id), 'unknown');
    assert.equal(await migrations.messages('other', id, { limit: 1 }), null);
    assert.equal(await migrations.runs('other', id), null);
    assert.deepEqual(await claim(store, { ...job, tenant: 'other' }), { kind: 'superseded' });
    assert.equal((await migrations.get('default', id))?.state, 'queued');
  });

  it('is unknown under an id that no migration can have', async () => {
    for (const id of ['', 'mig_', 'mig_x}:record', `mig_${'a'.repeat(31)}`]) {
      assert.equal(await store.migrations.get('default', id), null);
      assert.deepEqual(await store.migrations.act('default', id, 'pause'), { kind: 'unknown' });
      assert.deepEqual(await store.migrations.patch('default', id, {}), { kind: 'unknown' });
    }
  });

  it('hands credentials, journal and options to the run that claims it', async () => {
    const { migration, job } = await created(store, 'claimable');
    const first = await claimed(store, job);
    assert.deepEqual(first.credentials, credentials());
    assert.equal(first.migration.state, 'running');
    assert.equal(first.migration.runs, 1);
    assert.notEqual(first.migration.startedAt, null);
    assert.equal(first.journal.snapshot.records.length, 0);
    assert.equal(first.journal.snapshot.cleanEnd, true);
    assert.equal(first.journal.snapshot.digestKey.length, 32);
    assert.equal(first.waits, 0);
    await first.journal.end(ending('completed', { progress: progress(100), passComplete: true }));
    const ended = await store.migrations.get('default', migration.id);
    assert.equal(ended?.state, 'completed');
    assert.notEqual(ended?.finishedAt, null);
    assert.equal(ended?.progress.messages.copied, 100);
  });

  it('shows each run with its counts, and what ended it', async () => {
    const { migration, job } = await created(store, 'runs');
    const { journal } = await claimed(store, job, 'worker-a');
    await journal.commit({ append: [record()], recordsBefore: 0, progress: progress(30) });
    const running = await store.migrations.runs('default', migration.id);
    assert.equal(running?.[0]?.outcome, null);
    assert.equal(running?.[0]?.counts.copied, 30);
    const error = new BridgeError('over_quota', { side: 'destination', detail: 'full' }).report();
    const nextRunAt = new Date(Date.now() + 60_000);
    const waiting = ending('waiting', { stateReason: 'over_quota', nextRunAt, error });
    await journal.end(waiting);
    const shown = await store.migrations.get('default', migration.id);
    assert.equal(shown?.stateReason, 'over_quota');
    assert.equal(shown?.nextRunAt, nextRunAt.toISOString());
    assert.deepEqual(shown?.error, error);
    const rows = await store.migrations.runs('default', migration.id);
    assert.equal(rows?.length, 1);
    const [row] = rows ?? [];
    assert.equal(row?.worker, 'worker-a');
    assert.equal(row?.outcome, 'waiting');
    assert.deepEqual(row?.counts, { copied: 30, alreadyPresent: 0, skipped: 0, failed: 0, bytes: 30_000 });
    assert.deepEqual(row?.error, error);
    assert.notEqual(row?.endedAt, null);
  });

  it('counts the runs in a row that ended waiting and settled nothing', async () => {
    const { migration, job } = await created(store, 'waits');
    const waiting = ending('waiting', { stateReason: 'mailbox_locked', nextRunAt: new Date() });
    let next = job;
    const again = async (settle: boolean) => {
      const { journal, waits } = await claimed(store, next);
      if (settle) await journal.commit({ append: [record()], recordsBefore: 0, progress: progress(1) });
      await journal.end(waiting);
      const jobs = await sweepFor(store, migration.id);
      next = jobs;
      return waits;
    };
    assert.equal(await again(false), 0);
    assert.equal(await again(false), 1);
    assert.equal(await again(true), 2);
    assert.equal(await again(false), 0);
  });

  it('moves by the state machine and refuses the rest', async () => {
    const { migration } = await created(store, 'moves');
    const act = (action: 'pause' | 'resume' | 'cancel' | 'retry') =>
      store.migrations.act('default', migration.id, action);
    const stateAfter = async (action: Parameters<typeof act>[0]) => {
      const change = await act(action);
      return change.kind === 'changed' ? change.migration.state : change.kind;
    };
    assert.deepEqual(await act('resume'), { kind: 'illegal', state: 'queued' });
    assert.equal(await stateAfter('pause'), 'paused');
    assert.deepEqual(await act('pause'), { kind: 'illegal', state: 'paused' });
    const resumed = await act('resume');
    assert.equal(resumed.kind === 'changed' && resumed.job?.job, 2);
    assert.equal(await stateAfter('cancel'), 'canceled');
    assert.equal(await stateAfter('retry'), 'credentialsRequired');
    const put = await store.migrations.putCredentials('default', migration.id, credentials());
    assert.equal(put.kind === 'changed' && put.migration.state, 'canceled');
    assert.equal(await stateAfter('retry'), 'queued');
  });

  it('supersedes the job of before a pause, and runs the one of the resume', async () => {
    const { migration, job } = await created(store, 'superseded');
    await store.migrations.act('default', migration.id, 'pause');
    assert.deepEqual(await claim(store, job), { kind: 'superseded' });
    const resumed = await store.migrations.act('default', migration.id, 'resume');
    assert.deepEqual(await claim(store, job), { kind: 'superseded' });
    assert.ok(resumed.kind === 'changed' && resumed.job !== null);
    const { journal } = await claimed(store, resumed.job);
    await journal.end(ending('completed'));
    assert.deepEqual(await claim(store, resumed.job), { kind: 'superseded' });
  });

  it('takes a label and options at any time', async () => {
    const { migration } = await created(store, 'patched');
    const options = { ...migration.options, verify: 'digest' as const };
    const change = await store.migrations.patch('default', migration.id, { label: 'A \ud800 b', options });
    assert.equal(change.kind === 'changed' && change.migration.label, 'A \ufffd b');
    assert.deepEqual((await store.migrations.get('default', migration.id))?.options, options);
  });

  it('goes on when new credentials come for one that waits for them, and only then', async () => {
    const { migration, job } = await created(store, 'credentials');
    const { journal } = await claimed(store, job);
    await journal.end(ending('waiting', { stateReason: 'credentials_required' }));
    assert.deepEqual(await claim(store, job), { kind: 'superseded' });
    const source = { type: 'password', password: 'new one', authorizationId: 'alice' } as const;
    const change = await store.migrations.putCredentials('default', migration.id, { source });
    assert.ok(change.kind === 'changed' && change.job !== null);
    assert.equal(change.migration.state, 'queued');
    assert.deepEqual(change.migration.source.auth, { type: 'password', authorizationId: 'alice' });
    const next = await claimed(store, change.job);
    assert.deepEqual(next.credentials, { source, destination: credentials().destination });
    await next.journal.end(ending('paused'));
    const paused = await store.migrations.putCredentials('default', migration.id, { source });
    assert.equal(paused.kind === 'changed' && paused.migration.state, 'paused');
    assert.equal(paused.kind === 'changed' && paused.job, null);
  });

  it('drops credentials when it completes, and keeps them for a time when it fails', async () => {
    const kept = async (id: string) => store.redis.pttl(`popbridge:default:{${id}}:secrets`);
    const done = await created(store, 'done');
    await (await claimed(store, done.job)).journal.end(ending('completed'));
    assert.equal(await kept(done.migration.id), -2);
    const failed = await created(store, 'failed');
    await (await claimed(store, failed.job)).journal.end(ending('failed'));
    const left = await kept(failed.migration.id);
    assert.ok(left > 3_500_000 && left <= 3_600_000, String(left));
    const retried = await store.migrations.act('default', failed.migration.id, 'retry');
    assert.ok(retried.kind === 'changed' && retried.job !== null);
    assert.equal(retried.migration.finishedAt, null);
    assert.equal(await kept(failed.migration.id), -1);
    const again = await claimed(store, retried.job);
    assert.equal(again.journal.snapshot.retryFailed, true);
    await again.journal.end(ending('completed', { passComplete: true }));
  });

  it('remembers across runs that a pass was complete, and forgets the wish to retry with it', async () => {
    const { migration, job } = await created(store, 'pass');
    const first = await claimed(store, job);
    assert.equal(first.journal.snapshot.passComplete, false);
    await first.journal.end(ending('completedWithFailures', { passComplete: true }));
    const retry = async () => {
      const change = await store.migrations.act('default', migration.id, 'retry');
      assert.ok(change.kind === 'changed' && change.job !== null);
      return claimed(store, change.job);
    };
    const second = await retry();
    assert.equal(second.journal.snapshot.passComplete, true);
    assert.equal(second.journal.snapshot.retryFailed, true);
    await second.journal.end(ending('failed'));
    const third = await retry();
    await third.journal.end(ending('completedWithFailures', { passComplete: true }));
    const fields = await store.redis.hgetall(`popbridge:default:{${migration.id}}:record`);
    assert.equal(fields.retryFailed, '0');
  });
});

/** The job that the sweep gives out for this migration, once it is due. */
async function sweepFor(store: TestStore, id: string) {
  return until(async () => (await store.runs.sweep(100)).find(({ job }) => job.migrationId === id)?.job, {
    what: `the sweep to find ${id}`,
  });
}
