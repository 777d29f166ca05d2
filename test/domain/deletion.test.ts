import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TransferContext } from '../../src/domain/attempt.ts';
import { DEFAULT_OPTIONS, type MigrationOptions } from '../../src/domain/migration.ts';
import { lost, runTransfer, type World, world } from '../support/memory.ts';

const NOW = Date.UTC(2026, 0, 1);
const DAY_MS = 24 * 60 * 60 * 1000;

function mail(n: number, ageDays = 0): Buffer {
  const date = new Date(NOW - ageDays * DAY_MS).toUTCString();
  return Buffer.from(
    `Date: ${date}\r\nMessage-ID: <${n}@example.com>\r\nSubject: s${n}\r\n\r\nbody ${n}\r\n`,
  );
}

function deleting(minAgeDays = 0): MigrationOptions {
  return { ...DEFAULT_OPTIONS, verify: 'digest', sourceDeletion: { policy: 'delete', minAgeDays } };
}

async function run(place: World, overrides: Partial<TransferContext> = {}) {
  return (await runTransfer(place, { options: deleting(), ...overrides })).progress.messages;
}

const left = (place: World) => place.source.messages.map(({ uidl }) => uidl);
const reasons = (place: World) => [...place.journal.details.values()].map(({ reason }) => reason?.code);

describe('deletion from the source', () => {
  it('takes away what was copied and proven, and counts it', async () => {
    const place = world([mail(1), mail(2), mail(3)]);
    const messages = await run(place);
    assert.deepEqual(left(place), []);
    assert.equal(place.target.stored.length, 3);
    assert.equal(messages.copied, 3);
    assert.equal(messages.deletedFromSource, 3);
    assert.ok(place.journal.settled.every(({ deleted }) => deleted));
  });

  it('takes away what the destination held before only after reading it', async () => {
    const place = world([mail(1), mail(2)]);
    place.target.put(mail(1));
    const messages = await run(place);
    assert.equal(messages.alreadyPresent, 1);
    assert.deepEqual(left(place), []);
  });

  it('keeps what is too young by its internal date, and takes it when its time has come', async () => {
    const place = world([mail(1, 10), mail(2, 3)]);
    await run(place, { options: deleting(7) });
    assert.deepEqual(left(place), ['uidl-1']);
    await run(place, { options: deleting(2) });
    assert.deepEqual(left(place), []);
    assert.equal(place.target.stored.length, 2);
  });

  it('keeps a message of which the destination stored another byte and said OK', async () => {
    const place = world([mail(1), mail(2), mail(3)]);
    place.target.alter = (bytes) => Buffer.from(bytes.toString().replace('body 2', 'bodY 2'));
    const messages = await run(place);
    assert.deepEqual(left(place), ['uidl-1']);
    assert.equal(messages.altered, 1);
    assert.equal(messages.deletedFromSource, 2);
    await run(place);
    assert.deepEqual(left(place), ['uidl-1'], 'for good');
  });

  it('keeps a message whose copy somebody removed between append and deletion', async () => {
    const place = world([mail(1), mail(2), mail(3)]);
    place.target.step = (name) => {
      if (name === 'target.dates') place.target.stored.splice(1, 1);
    };
    await run(place);
    assert.deepEqual(left(place), ['uidl-1']);
    assert.deepEqual(reasons(place), ['copy_gone']);
  });

  it('keeps a copy of an earlier run until it was read again, and the message where it differs now', async () => {
    const place = world([mail(1), mail(2)]);
    await run(place, { options: DEFAULT_OPTIONS });
    const [first] = place.target.stored;
    if (first !== undefined) first.bytes = Buffer.from('rotten');
    await run(place);
    assert.deepEqual(left(place), ['uidl-0']);
    assert.deepEqual(reasons(place), ['altered']);
  });

  it('keeps a message under whose UIDL stands other mail than was moved', async () => {
    const place = world([mail(1), mail(2)]);
    await run(place, { options: DEFAULT_OPTIONS });
    const changed = place.source.messages[0];
    if (changed !== undefined) changed.bytes = mail(9);
    await run(place);
    assert.deepEqual(left(place), ['uidl-0']);
  });

  it('goes by the next listing after a session that was cut before its QUIT was answered', async () => {
    for (const tookEffect of [false, true]) {
      const place = world([mail(1), mail(2)]);
      let quits = 0;
      place.source.step = (name) => {
        if (name !== 'source.quit' || ++quits > 1) return;
        if (tookEffect) place.source.messages = [];
        throw lost('source');
      };
      const messages = await run(place);
      assert.equal(place.source.sessions, 2);
      assert.equal(messages.deletedFromSource, 2);
      assert.deepEqual(left(place), []);
      assert.equal(place.target.stored.length, 2);
    }
  });

  it('ends the session now and then, so that deletions take effect', async () => {
    const place = world(Array.from({ length: 2500 }, (_, n) => mail(n)));
    const leftAt: number[] = [];
    place.source.step = (name) => {
      if (name === 'source.list') leftAt.push(place.source.messages.length);
    };
    await run(place);
    assert.deepEqual(leftAt, [2500, 1500, 500]);
    assert.deepEqual(left(place), []);
    assert.equal(place.target.stored.length, 2500);
  });

  it('never happens with the policy keep', async () => {
    const place = world([mail(1)]);
    await run(place, { options: { ...DEFAULT_OPTIONS, verify: 'digest' } });
    assert.deepEqual(left(place), ['uidl-0']);
  });
});
