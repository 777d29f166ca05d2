import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SharedBudget } from '../../src/domain/budget.ts';
import { BridgeError } from '../../src/domain/errors.ts';
import { Intake } from '../../src/domain/intake.ts';
import { decodeRecord, encodeRecord, type JournalRecord, RECORD_BYTES } from '../../src/domain/journal.ts';
import { NO_PROGRESS, STATES } from '../../src/domain/migration.ts';
import type { ImapUid } from '../../src/domain/ports.ts';
import { applyAction, TRANSITIONS } from '../../src/domain/state.ts';
import { endOfFault, endOfTransfer } from '../../src/domain/verdict.ts';

const forever = new AbortController().signal;

describe('a journal record', () => {
  const hex = (bytes: number) =>
    fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((each) => Buffer.from(each).toString('hex'));
  const record: fc.Arbitrary<JournalRecord> = fc.record(
    {
      uidlDigest: hex(12),
      fingerprint: hex(8),
      size: fc.integer({ min: 0, max: 0xffffffff }),
      uid: fc.option(fc.integer({ min: 1, max: 0xffffffff })).map((uid) => uid as ImapUid | null),
      epoch: fc.option(fc.integer({ min: 0, max: 254 })),
      outcome: fc.constantFrom('copied' as const, 'alreadyPresent', 'skipped', 'failed'),
      verified: fc.boolean(),
      altered: fc.boolean(),
      deleted: fc.boolean(),
      looselyMatched: fc.boolean(),
      repair: fc.constantFrom(null, 'literal8' as const, 'lineEndings'),
    },
    { noNullPrototype: true },
  );
  it('takes 32 bytes and comes back as it was', () => {
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 5 }), (records) => {
        const journal = Buffer.concat(records.map(encodeRecord));
        assert.equal(journal.length, records.length * RECORD_BYTES);
        assert.deepEqual(
          records.map((_, index) => decodeRecord(journal, index)),
          records,
        );
      }),
    );
  });
  it('is refused when it is of a newer version', () => {
    const journal = Buffer.alloc(RECORD_BYTES, 0xee);
    assert.throws(() => decodeRecord(journal, 0), /newer version or damaged/);
  });
});

describe('the byte budget', () => {
  it('never lets out more than its limit but for one that is larger, alone', async () => {
    const budget = new SharedBudget(100);
    const first = await budget.reserve(60, forever);
    assert.equal(budget.tryReserve(60), null);
    const order: string[] = [];
    const named = async (name: string, bytes: number) => {
      const held = await budget.reserve(bytes, forever);
      order.push(name);
      return held;
    };
    const huge = named('huge', 500);
    const small = named('small', 10);
    first.release();
    const held = await huge;
    assert.deepEqual(order, ['huge'], 'first come, first served');
    assert.equal(budget.used, 500);
    held.release();
    held.release();
    (await small).release();
    assert.equal(budget.used, 0);
  });
  it('gives a place in the queue up when the waiter leaves', async () => {
    const budget = new SharedBudget(100);
    const first = await budget.reserve(100, forever);
    const leaving = new AbortController();
    const gone = budget.reserve(100, leaving.signal);
    const next = budget.reserve(1, forever);
    leaving.abort(new Error('left'));
    await assert.rejects(gone, /left/);
    first.release();
    (await next).release();
    assert.equal(budget.used, 0);
  });
  it('counts a message at the size that it turned out to have', async () => {
    const budget = new SharedBudget(100);
    const held = await budget.reserve(50, forever);
    held.adjust(150);
    assert.equal(budget.used, 150);
    held.adjust(10);
    assert.ok(budget.tryReserve(90));
  });
});

describe('the intake', () => {
  const sized = (...sizes: number[]) => sizes.map((size) => ({ bytes: Buffer.alloc(size) }));
  const limits = { messages: 4, bytes: 1000, patienceMs: 1 };

  it('cuts full groups in order, and the rest at the end', async () => {
    const intake = new Intake<{ bytes: Buffer }>(limits);
    for (const item of sized(1, 2, 3, 4, 5, 6)) intake.push(item);
    intake.end();
    const sizes = async () => (await intake.take(() => false))?.map(({ bytes }) => bytes.length);
    assert.deepEqual(await sizes(), [1, 2, 3, 4]);
    assert.deepEqual(await sizes(), [5, 6]);
    assert.equal(await sizes(), undefined);
  });
  it('lets a group go early only when nothing else is under way', async () => {
    const intake = new Intake<{ bytes: Buffer }>(limits);
    let idle = false;
    intake.push({ bytes: Buffer.alloc(1) });
    const group = intake.take(() => idle);
    idle = true;
    intake.nudge();
    assert.equal((await group)?.length, 1);
  });
  it('ends a group with a small message where the last quarter has one', async () => {
    const intake = new Intake<{ bytes: Buffer }>({ messages: 8, bytes: 1e6, patienceMs: 1 });
    for (const item of sized(9, 9, 9, 9, 9, 9, 1, 9)) intake.push(item);
    assert.equal((await intake.take(() => false))?.length, 7);
  });
  it('sends what is larger than a group alone', async () => {
    const intake = new Intake<{ bytes: Buffer }>(limits);
    for (const item of sized(5000, 1)) intake.push(item);
    assert.equal((await intake.take(() => false))?.length, 1);
  });
});

describe('the state machine', () => {
  it('knows every state and leads nowhere else', () => {
    assert.deepEqual(Object.keys(TRANSITIONS).sort(), [...STATES].sort());
  });
  it('allows an action only where the table of states does', () => {
    for (const state of STATES)
      for (const action of ['pause', 'resume', 'cancel', 'retry'] as const) {
        const next = applyAction(state, action);
        if (next !== null) assert.ok(TRANSITIONS[state].includes(next), `${action} in ${state}`);
      }
    assert.equal(applyAction('completed', 'pause'), null);
    assert.equal(applyAction('running', 'pause'), 'pausing');
    assert.equal(applyAction('failed', 'retry'), 'queued');
  });
});

describe('the verdict', () => {
  const now = new Date('2026-01-01T00:00:00Z');
  const fault = (code: ConstructorParameters<typeof BridgeError>[0], waitMs?: number) =>
    new BridgeError(code, { side: 'source', ...(waitMs === undefined ? {} : { waitMs }) });

  it('waits for credentials after a wrong password', () => {
    const end = endOfFault(fault('authentication_failed'), 0, now);
    assert.equal(end.state, 'waiting');
    assert.equal(end.stateReason, 'credentials_required');
    assert.equal(end.nextRunAt, null);
    assert.equal(end.error?.code, 'authentication_failed');
  });
  it('fails what nothing but a change can mend', () => {
    assert.equal(endOfFault(fault('host_not_found'), 0, now).state, 'failed');
    assert.equal(endOfFault(fault('tls_name_mismatch'), 0, now).state, 'failed');
  });
  it('waits longer each time, as long as the server says, and not for ever', () => {
    const wait = (waits: number) =>
      (endOfFault(fault('unreachable'), waits, now).nextRunAt?.getTime() ?? 0) - now.getTime();
    assert.deepEqual([wait(0), wait(1), wait(20)], [15_000, 30_000, 900_000]);
    assert.equal(endOfFault(fault('unreachable'), 100, now).state, 'failed');
    const said = endOfFault(fault('login_delay', 7000), 3, now);
    assert.equal(said.nextRunAt?.getTime(), now.getTime() + 7000);
    assert.equal(said.stateReason, 'login_delay');
  });
  it('names the end by what failed and what was wanted', () => {
    const complete = (failed: number) =>
      endOfTransfer({ kind: 'complete', progress: NO_PROGRESS, failed }, 'run').state;
    assert.equal(complete(0), 'completed');
    assert.equal(complete(2), 'completedWithFailures');
    const stopped = (wanted: 'run' | 'pause' | 'cancel') =>
      endOfTransfer({ kind: 'stopped', progress: NO_PROGRESS }, wanted).state;
    assert.deepEqual([stopped('pause'), stopped('cancel'), stopped('run')], ['paused', 'canceled', 'queued']);
  });
});
