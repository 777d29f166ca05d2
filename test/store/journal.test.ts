import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { BridgeError } from '../../src/domain/errors.ts';
import { decodeRecord, type Intent, RECORD_BYTES } from '../../src/domain/journal.ts';
import type { ImapUid } from '../../src/domain/ports.ts';
import { run, text } from '../../src/store/db.ts';
import { migrationKeys } from '../../src/store/keys.ts';
import { MIGRATION_SCRIPTS } from '../../src/store/scripts.ts';
import { until } from '../support/net.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import {
  claim,
  claimed,
  created,
  detail,
  ending,
  openStore,
  progress,
  record,
  type TestStore,
} from './support.ts';

const lost = (error: unknown) => error instanceof BridgeError && error.code === 'lease_lost';

describe('the journal of a run', () => {
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

  /** The next run of a migration, after this one let go. */
  async function reclaim(id: string) {
    const job = await until(
      async () => (await store.runs.sweep(100)).find((found) => found.job.migrationId === id)?.job,
      { what: 'the sweep to hand the job out' },
    );
    return claimed(store, job);
  }

  it('keeps every byte of every record, whatever its value', async () => {
    const { migration, job } = await created(store, 'bytes');
    const { journal } = await claimed(store, job);
    const records = Array.from({ length: 256 }, (_, value) =>
      record({
        uidlDigest: value.toString(16).padStart(2, '0').repeat(12),
        fingerprint: (255 - value).toString(16).padStart(2, '0').repeat(8),
        size: value * 0x01010101,
        uid: (value * 0x01010101 || null) as ImapUid | null,
        epoch: value === 255 ? null : value,
        verified: value % 2 === 0,
        altered: value % 3 === 0,
      }),
    );
    await journal.commit({ append: records, recordsBefore: 0 });
    await journal.end(ending('queued'));
    const next = await reclaim(migration.id);
    const { records: kept } = next.journal.snapshot;
    assert.equal(kept.length, 256 * RECORD_BYTES);
    assert.deepEqual(
      records.map((_, index) => decodeRecord(kept, index)),
      records,
    );
    await next.journal.end(ending('completed'));
  });

  it('changes records in place, and intents, epochs and details by their names', async () => {
    const { migration, job } = await created(store, 'changes');
    const { journal } = await claimed(store, job);
    const intent = (id: string): Intent => ({ id, epoch: 0, bound: 7, atomic: true, members: [] });
    const epoch = { path: 'INBOX', uidValidity: 1, firstUidNext: 7, mark: null };
    await journal.commit({ epochs: [{ index: 0, epoch }], openIntents: [intent('a'), intent('b')] });
    const [one, two, three] = [record(), record({ outcome: 'failed', uid: null }), record()];
    await journal.commit({
      append: [one, two, three],
      recordsBefore: 0,
      closeIntents: ['a'],
      details: [{ index: 1, detail: detail() }],
    });
    const changed = { ...two, outcome: 'copied' as const, uid: 9 as ImapUid };
    await journal.commit({
      update: [{ index: 1, record: changed }],
      epochs: [{ index: 0, epoch: { ...epoch, mark: 10 } }],
      dropDetails: [1],
      openIntents: [intent('c')],
    });
    assert.equal((await store.migrations.messages('default', migration.id, { limit: 10 }))?.total, 0);
    await journal.end(ending('queued'));
    const next = await reclaim(migration.id);
    const { snapshot } = next.journal;
    assert.deepEqual(
      [0, 1, 2].map((index) => decodeRecord(snapshot.records, index)),
      [one, changed, three],
    );
    assert.deepEqual(snapshot.epochs, [{ ...epoch, mark: 10 }]);
    assert.deepEqual(snapshot.intents.map(({ id }) => id).sort(), ['b', 'c']);
    assert.equal(snapshot.cleanEnd, false);
    await next.journal.end(ending('completed'));
  });

  it('calls a run clean that ended in order with no intent open', async () => {
    const { migration, job } = await created(store, 'clean');
    const { journal } = await claimed(store, job);
    await journal.commit({ append: [record()], recordsBefore: 0 });
    await journal.end(ending('queued'));
    const next = await reclaim(migration.id);
    assert.equal(next.journal.snapshot.cleanEnd, true);
    await next.journal.end(ending('completed'));
  });

  it('applies a commit that is sent twice once, and answers it as before', async () => {
    const { migration, job } = await created(store, 'twice');
    const { journal } = await claimed(store, job);
    const keys = migrationKeys('default', migration.id);
    const lists = { updates: [], close: [], open: [], epochs: [], details: [], drop: [] };
    const call = { runId: journal.runId, seq: 1, nonce: 'n1', recordsBefore: 0, ...lists };
    const send = (args: object) =>
      run(store.redis, MIGRATION_SCRIPTS.commit, keys, args, Buffer.alloc(RECORD_BYTES), Buffer.alloc(0));
    const words = async (args: object) => (await send(args)).map((word) => text(word));
    const first = await words(call);
    assert.equal(first[0], 'ok');
    assert.deepEqual(await words(call), first);
    assert.equal(await store.redis.strlen(keys[2] ?? ''), RECORD_BYTES);
    assert.deepEqual(await words({ ...call, nonce: 'n2' }), ['refused', 'stale']);
    assert.deepEqual(await words({ ...call, seq: 3, nonce: 'n3' }), ['refused', 'stale']);
    assert.deepEqual(await words({ ...call, seq: 2, nonce: 'n4' }), ['refused', 'length']);
    assert.deepEqual(await words({ ...call, seq: 2, nonce: 'n5', runId: 'f'.repeat(32) }), [
      'refused',
      'foreign',
    ]);
    assert.equal(await store.redis.strlen(keys[2] ?? ''), RECORD_BYTES);
  });

  it('loses the lease when the journal has another length than the run believes', async () => {
    const { job } = await created(store, 'length');
    const { journal } = await claimed(store, job);
    await assert.rejects(journal.commit({ append: [record()], recordsBefore: 1 }), lost);
    assert.equal(journal.lost.aborted, true);
    assert.ok(lost(journal.lost.reason));
    assert.throws(() => journal.assertHeld(), lost);
    await assert.rejects(journal.end(ending('completed')), lost);
  });

  it('loses the lease when the record is gone', async () => {
    const { migration, job } = await created(store, 'vanished');
    const { journal } = await claimed(store, job);
    await store.redis.del(...migrationKeys('default', migration.id));
    await assert.rejects(journal.commit({ append: [record()], recordsBefore: 0 }), lost);
    assert.equal(await store.redis.exists(...migrationKeys('default', migration.id)), 0);
  });

  it('notices within a renewal that the record is gone', async () => {
    const { migration, job } = await created(store, 'vanished too');
    const { journal } = await claimed(store, job);
    await store.redis.del(...migrationKeys('default', migration.id));
    await until(() => journal.lost.aborted, { what: 'the lease to be lost', timeoutMs: 2_000 });
  });

  it('applies commits in the order in which they were called, without waiting in between', async () => {
    const { migration, job } = await created(store, 'order');
    const { journal } = await claimed(store, job);
    const commits = Array.from({ length: 50 }, (_, n) =>
      journal.commit({ append: [record({ size: n })], recordsBefore: n, progress: progress(n + 1) }),
    );
    await Promise.all(commits);
    assert.equal((await store.migrations.get('default', migration.id))?.progress.messages.copied, 50);
    await journal.end(ending('queued'));
    const next = await reclaim(migration.id);
    const sizes = commits.map((_, n) => decodeRecord(next.journal.snapshot.records, n).size);
    assert.deepEqual(
      sizes,
      commits.map((_, n) => n),
    );
    await next.journal.end(ending('completed'));
  });

  it('refuses a journal of a newer version and leaves it alone', async () => {
    const { migration, job } = await created(store, 'newer');
    const key = `popbridge:default:{${migration.id}}:record`;
    await store.redis.hset(key, 'journalVersion', '2');
    await assert.rejects(claim(store, job), /version 2/);
    assert.equal((await store.migrations.get('default', migration.id))?.state, 'queued');
  });

  it('gives details page by page in the order of the journal, with filters', async () => {
    const { migration, job } = await created(store, 'details');
    const { journal } = await claimed(store, job);
    const rows = Array.from({ length: 25 }, (_, index) => ({
      index,
      detail: detail({
        uidl: `u${index}`,
        outcome: index % 5 === 0 ? ('copied' as const) : ('failed' as const),
        altered: index % 5 === 0,
        repair: index === 3 ? ('literal8' as const) : null,
      }),
    }));
    await journal.commit({ append: rows.map(() => record()), recordsBefore: 0, details: rows });
    const page = async (query: object) => {
      const found = await store.migrations.messages('default', migration.id, { limit: 10, ...query });
      assert.ok(found !== null);
      return { ...found, uidls: found.items.map(({ uidl }) => uidl) };
    };
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const next: Awaited<ReturnType<typeof page>> = await page(cursor === null ? {} : { cursor });
      assert.equal(next.total, 25);
      seen.push(...next.uidls);
      cursor = next.nextCursor;
    } while (cursor !== null);
    assert.deepEqual(
      seen,
      rows.map(({ detail: { uidl } }) => uidl),
    );
    assert.deepEqual((await page({ outcome: 'copied' })).uidls, ['u0', 'u5', 'u10', 'u15', 'u20']);
    assert.equal((await page({ outcome: 'failed' })).total, 20);
    assert.deepEqual((await page({ flag: 'repaired' })).uidls, ['u3']);
    assert.equal((await page({ flag: 'altered' })).total, 5);
    assert.deepEqual((await page({ limit: 1 })).items[0], rows[0]?.detail);
    await assert.rejects(page({ cursor: 'nonsense' }), RangeError);
    await journal.end(ending('completed'));
  });
});
