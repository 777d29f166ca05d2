import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { keyedDigests } from '../../src/domain/fingerprint.ts';
import {
  decodeRecord,
  type Epoch,
  type Intent,
  type JournalRecord,
  RECORD_BYTES,
} from '../../src/domain/journal.ts';
import type { Progress } from '../../src/domain/migration.ts';
import { type KeyPart, migrationKey } from '../../src/store/keys.ts';
import { type HeldMessage, readFolder } from '../support/imap-reader.ts';
import { MAX_MAIL_BYTES } from './mailbox.ts';
import { type Round, readSource } from './round.ts';
import { TENANT } from './settings.ts';

export const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** What the journal of a migration says, read from Redis past the store. */
export interface Journal {
  records: JournalRecord[];
  epochs: Epoch[];
  openIntents: Intent[];
  digestKey: Buffer;
}

export async function readJournal({ world, id }: Round): Promise<Journal> {
  const { redis } = world.store;
  const key = (part: KeyPart) => migrationKey(TENANT, id, part);
  const journal = (await redis.getBuffer(key('journal'))) ?? Buffer.alloc(0);
  const epochs = Object.entries(await redis.hgetall(key('epochs'))).sort(([a], [b]) => Number(a) - Number(b));
  return {
    records: Array.from({ length: journal.length / RECORD_BYTES }, (_, index) =>
      decodeRecord(journal, index),
    ),
    epochs: epochs.map(([, json]) => JSON.parse(json) as Epoch),
    openIntents: (await redis.hvals(key('intents'))).map((json) => JSON.parse(json) as Intent),
    digestKey: Buffer.from((await redis.hget(key('record'), 'digestKey')) ?? '', 'hex'),
  };
}

/**
 * The end of a round: every message of the source that the destination takes is there exactly once, in order,
 * to the octet; journal and counters agree with it; nothing is open; nothing untrue was seen on the way.
 */
export async function assertExact(round: Round): Promise<void> {
  const held = await readFolder(round.world.dovecot, round.target, round.folder.join('/'));
  const taken = round.source.filter(({ bytes }) => bytes.length <= MAX_MAIL_BYTES);
  const expected = taken.map(({ bytes }) => sha256(bytes));
  const found = held.map(({ bytes }) => sha256(bytes));
  assert.deepEqual(found.toSorted(), expected.toSorted(), 'each message exactly once, none altered');
  assert.deepEqual(found, expected, 'in the order of the source');
  const journal = await readJournal(round);
  assertNoIntent(round, journal);
  assertJournal(round, journal, held);
  await assertCounters(round, journal);
  if (round.isDeleting) await assertDeleted(round);
  assert.deepEqual(round.watch.violations, [], 'what was seen on the way');
}

/** Nothing is left but what could not be moved. */
async function assertDeleted(round: Round): Promise<void> {
  const left = (await readSource(round.world, round.user)).map(({ uidl }) => uidl);
  const failed = round.source.filter(({ bytes }) => bytes.length > MAX_MAIL_BYTES);
  assert.deepEqual(
    left,
    failed.map(({ uidl }) => uidl),
    'what stays at the source',
  );
}

/** But for messages that have left the source, of which a journal that was lost says nothing any more. */
function assertNoIntent(round: Round, { openIntents, records }: Journal): void {
  const settled = new Set(records.map(({ uidlDigest }) => uidlDigest));
  const hasLeft = ({ members }: Intent) => members.some(({ uidlDigest }) => !settled.has(uidlDigest));
  assert.deepEqual(
    openIntents.filter((intent) => !(round.mayHaveForgotten && hasLeft(intent))),
    [],
    'no intent is open',
  );
}

function assertJournal(round: Round, { records, digestKey }: Journal, held: HeldMessage[]): void {
  const byUid = new Map(held.map(({ uid, bytes }) => [uid, bytes]));
  const digests = keyedDigests(digestKey);
  if (!round.mayHaveForgotten) assert.equal(records.length, round.source.length, 'one record a message');
  for (const { uidl, bytes } of round.source) {
    const digest = digests.uidl(uidl);
    const [record, ...others] = records.filter(({ uidlDigest }) => uidlDigest === digest);
    // A journal that was lost is not made anew for what has left the source.
    if (record === undefined && round.mayHaveForgotten) continue;
    assert.ok(record !== undefined && others.length === 0, `one record for ${uidl}`);
    assert.equal(record.fingerprint, digests.fingerprint(bytes));
    if (bytes.length > MAX_MAIL_BYTES) {
      assert.equal(record.outcome, 'failed');
      continue;
    }
    assert.ok(record.outcome === 'copied' || record.outcome === 'alreadyPresent', record.outcome);
    assert.ok(record.verified || round.mayHaveForgotten, `${uidl} is verified`);
    assert.ok(byUid.get(record.uid ?? 0)?.equals(bytes), `UID ${record.uid} is ${uidl}`);
    byUid.delete(record.uid ?? 0);
  }
  if (!round.mayHaveForgotten) assert.equal(byUid.size, 0, 'each copy has a record of its own');
}

async function assertCounters(round: Round, { records }: Journal): Promise<void> {
  const migration = await round.migration();
  const count = (outcome: string) => records.filter((record) => record.outcome === outcome).length;
  const expected: Progress['messages'] = {
    total: records.length,
    copied: count('copied'),
    alreadyPresent: count('alreadyPresent'),
    skipped: 0,
    failed: count('failed'),
    remaining: 0,
    altered: records.filter(({ altered }) => altered).length,
    repaired: records.filter(({ repair }) => repair !== null).length,
    deletedFromSource: records.filter(({ deleted }) => deleted).length,
  };
  assert.deepEqual(migration?.progress.messages, expected);
  const bytes = records.reduce((sum, { size }) => sum + size, 0);
  assert.deepEqual(migration?.progress.bytes, { total: bytes, settled: bytes });
  assert.equal(migration?.state, expected.failed ? 'completedWithFailures' : 'completed');
  assert.equal(expected.altered, 0, 'none altered');
}
