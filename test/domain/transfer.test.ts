import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SharedBudget } from '../../src/domain/budget.ts';
import { BridgeError } from '../../src/domain/errors.ts';
import { DEFAULT_OPTIONS } from '../../src/domain/migration.ts';
import { transfer } from '../../src/domain/transfer.ts';
import { contextOf, lost, memoryClock, runTransfer, type World, world } from '../support/memory.ts';

function mail(n: number, body = `body ${n}`): Buffer {
  return Buffer.from(
    `Received: from a by b; Mon, 2 Jan 2023 10:00:${String(n % 60).padStart(2, '0')} +0000\r\n` +
      `Message-ID: <${n}@example.com>\r\nSubject: message ${n}\r\n\r\n${body}\r\n`,
  );
}

const mails = (count: number) => Array.from({ length: count }, (_, n) => mail(n));

/** Every source message is in the destination exactly once, and the journal agrees with it. */
function assertExactlyOnce({ source, target, journal }: World): void {
  const sent = source.messages.map(({ bytes }) => bytes.toString('latin1')).sort();
  const stored = target.stored.map(({ bytes }) => bytes.toString('latin1')).sort();
  assert.deepEqual(stored, sent);
  assert.equal(journal.settled.length, source.messages.length);
  assert.equal(journal.intents.length, 0);
  const uids = journal.settled.map(({ uid }) => uid);
  assert.equal(new Set(uids).size, uids.length);
}

describe('transfer', () => {
  it('moves a mailbox in the order of the source', async () => {
    const place = world(mails(1000));
    const result = await runTransfer(place);
    assert.equal(result.kind, 'complete');
    assert.deepEqual(
      place.target.stored.map(({ bytes }) => bytes),
      place.source.messages.map(({ bytes }) => bytes),
    );
    assertExactlyOnce(place);
    assert.ok(place.journal.settled.every(({ verified }) => verified));
    assert.equal(result.progress.messages.copied, 1000);
    assert.equal(result.progress.messages.remaining, 0);
    assert.equal(result.progress.bytes.settled, result.progress.bytes.total);
  });

  it('adds nothing the second time', async () => {
    const place = world(mails(50));
    await runTransfer(place);
    await runTransfer(place);
    assertExactlyOnce(place);
  });

  it('adds what is new, and only that', async () => {
    const place = world(mails(50));
    await runTransfer(place);
    place.source.messages.push({ uidl: 'later', bytes: mail(99) });
    await runTransfer(place);
    assertExactlyOnce(place);
  });

  it('copies nothing that the folder held before', async () => {
    const place = world(mails(50));
    place.target.put(mail(7));
    place.target.put(mail(8));
    place.target.put(mail(1234));
    const { progress } = await runTransfer(place);
    assert.equal(progress.messages.alreadyPresent, 2);
    assert.equal(progress.messages.copied, 48);
    assert.equal(place.target.stored.length, 51);
  });

  it('tells equal headers with other bodies apart', async () => {
    const place = world([mail(1, 'aaaa'), mail(1, 'bbbb'), mail(1, 'aaaa')]);
    place.target.put(mail(1, 'bbbb'));
    const { progress } = await runTransfer(place);
    assert.equal(progress.messages.alreadyPresent, 1);
    assertExactlyOnce(place);
  });

  for (const stored of ['stored', 'notStored'] as const)
    it(`looks an append up whose answer was lost when it was ${stored}`, async () => {
      const place = world(mails(300));
      place.target.loseNextAnswer = stored;
      const clock = memoryClock();
      await runTransfer(place, { clock });
      assertExactlyOnce(place);
      assert.ok(clock.slept.includes(10_000), 'absence is believed only after the settle time');
    });

  it('reads single appends back the same way where MULTIAPPEND and UIDPLUS are missing', async () => {
    const place = world(mails(100));
    place.target.multiAppend = false;
    place.target.uidPlus = false;
    place.target.loseNextAnswer = 'stored';
    await runTransfer(place);
    assertExactlyOnce(place);
  });

  it('isolates a refused message, reports it, and moves the rest in order', async () => {
    const place = world(mails(200));
    const culprit = mail(77).toString('latin1');
    place.target.refuse = ({ bytes }) => (bytes.toString('latin1') === culprit ? 'bad header' : null);
    const result = await runTransfer(place);
    assert.ok(result.kind === 'complete' && result.failed === 1);
    assert.equal(place.target.stored.length, 199);
    const subjects = place.target.stored.map(({ bytes }) => bytes.toString('latin1'));
    assert.deepEqual(
      subjects,
      place.source.messages.map(({ bytes }) => bytes.toString('latin1')).filter((each) => each !== culprit),
    );
    const [detail] = [...place.journal.details.values()];
    assert.equal(detail?.outcome, 'failed');
    assert.deepEqual(detail?.reason, { code: 'message_refused', detail: 'bad header' });
    assert.equal(detail?.subject, 'message 77');
  });

  it('repairs what the destination refuses as it is, and records it', async () => {
    const place = world([mail(1), Buffer.from('Subject: bare\n\nlf\n'), mail(2)]);
    place.target.refuse = ({ bytes }) => (/[^\r]\n/.test(bytes.toString('latin1')) ? 'bare newline' : null);
    const { progress } = await runTransfer(place);
    assert.equal(progress.messages.repaired, 1);
    assert.equal(progress.messages.copied, 3);
    assert.equal(place.target.stored[1]?.bytes.toString(), 'Subject: bare\r\n\r\nlf\r\n');
    assert.equal([...place.journal.details.values()][0]?.repair, 'lineEndings');
  });

  it('sees what the destination altered', async () => {
    const place = world([mail(1), Buffer.from('Subject: nul\r\n\r\n\0\0\r\n')]);
    place.target.alter = (bytes) => Buffer.from(bytes.toString('latin1').replaceAll('\0', '\x80'), 'latin1');
    const options = { ...DEFAULT_OPTIONS, verify: 'digest' as const };
    const { progress } = await runTransfer(place, { options });
    assert.equal(progress.messages.altered, 1);
    assert.equal(progress.messages.copied, 2);
  });

  it('fails a message that the source does not hand out, and takes it on retry', async () => {
    const place = world(mails(20));
    place.source.refuse.add('uidl-3');
    const first = await runTransfer(place);
    assert.ok(first.kind === 'complete' && first.failed === 1);
    place.source.refuse.clear();
    await runTransfer(place);
    assert.equal(place.target.stored.length, 19, 'failed stays settled until a retry');
    place.journal.retryFailed = true;
    const last = await runTransfer(place);
    assert.ok(last.kind === 'complete' && last.failed === 0);
    assertExactlyOnce(place);
    assert.equal(place.journal.details.size, 0);
  });

  it('stops with the group in hand finished, and goes on later', async () => {
    const place = world(mails(1000));
    const context = contextOf(place);
    const journal = context.journal as ReturnType<World['journal']['claim']>;
    let oks = 0;
    place.target.step = (name) => {
      if (name === 'target.ok' && ++oks === 2) journal.stop.abort();
    };
    const result = await transfer(context);
    assert.equal(result.kind, 'stopped');
    assert.equal(place.journal.settled.length, place.target.stored.length);
    assert.ok(place.target.stored.length < 1000);
    assert.equal(place.journal.intents.length, 0);
    await runTransfer(place);
    assertExactlyOnce(place);
  });

  it('gives up after tries that bring nothing forward, with the servers words', async () => {
    const place = world(mails(5));
    place.source.step = (name) => {
      if (name === 'source.list') throw new BridgeError('timeout', { side: 'source', detail: 'quiet' });
    };
    await assert.rejects(
      runTransfer(place),
      (error: BridgeError) => error.code === 'timeout' && error.detail === 'quiet',
    );
    assert.equal(place.source.sessions, 3);
  });

  it('claims copies of a run whose last writes Redis lost', async () => {
    for (const forgotten of [1, 2, 3, 5, 8]) {
      const place = world(mails(600));
      let oks = 0;
      place.target.step = (name) => {
        if (name === 'target.ok' && ++oks >= 4) throw lost('destination');
        if (name === 'target.open' && oks >= 4) throw new BridgeError('unreachable', { side: 'destination' });
      };
      await assert.rejects(runTransfer(place), BridgeError);
      place.target.step = () => {};
      place.journal.forget(forgotten);
      await runTransfer(place);
      assertExactlyOnce(place);
    }
  });

  it('keeps an orphan within reach when a run dies before its message came up', async () => {
    // ADR 0002: group A is stored and its intent lost; the next run settles others first and dies, too.
    const place = world(mails(300));
    place.target.put(mail(299));
    place.target.uidNext = 2;
    place.journal.epochs = [{ path: 'INBOX', uidValidity: 7, firstUidNext: 1, mark: 1 }];
    place.journal.passComplete = true;
    place.journal.cleanEnd = false;
    let retrieved = 0;
    place.source.step = (name) => {
      if (name === 'source.retr' && ++retrieved > 200)
        throw new BridgeError('unreachable', { side: 'source' });
    };
    await assert.rejects(runTransfer(place), BridgeError);
    assert.equal(place.target.stored.length, 201);
    place.source.step = () => {};
    await runTransfer(place);
    assertExactlyOnce(place);
  });

  it('names a late twin', async () => {
    const place = world(mails(10));
    place.target.loseNextAnswer = 'notStored';
    let late = false;
    place.target.step = (name) => {
      if (name !== 'target.ok' || late) return;
      late = true;
      place.target.put(mail(4));
    };
    await runTransfer(place);
    const duplicates = [...place.journal.details.values()].filter(
      ({ reason }) => reason?.code === 'duplicate',
    );
    assert.equal(duplicates.length, 1);
    assert.equal(duplicates[0]?.uidl, 'uidl-4');
  });

  it('assigns copies to settled records first when UIDVALIDITY changed', async () => {
    const place = world([mail(1), mail(2), mail(3)]);
    await runTransfer(place);
    place.target.uidValidity = 8;
    place.source.messages.unshift({ uidl: 'twin', bytes: mail(2) });
    await runTransfer(place);
    assertExactlyOnce(place);
  });

  it('takes records over when the server gave all messages new UIDLs', async () => {
    const place = world(mails(30));
    await runTransfer(place);
    for (const message of place.source.messages) message.uidl = `new-${message.uidl}`;
    place.source.messages.push({ uidl: 'later', bytes: mail(99) });
    await runTransfer(place);
    assertExactlyOnce(place);
  });

  it('does not believe a UIDL that stands for other mail now', async () => {
    const place = world(mails(3));
    await runTransfer(place);
    place.source.messages[1] = { uidl: 'uidl-1', bytes: mail(500, 'longer than before') };
    await runTransfer(place);
    assert.equal(place.target.stored.length, 4);
  });

  it('settles messages that share one UIDL each by itself', async () => {
    const place = world(mails(4));
    for (const message of place.source.messages) message.uidl = 'same';
    await runTransfer(place);
    await runTransfer(place);
    assertExactlyOnce(place);
  });

  it('does not append again what was moved out of a group that is proven', async () => {
    const place = world(mails(10));
    place.target.loseNextAnswer = 'stored';
    let scans = 0;
    place.target.step = (name) => {
      if (name === 'target.scan' && ++scans === 2) place.target.stored.splice(3, 2);
    };
    await runTransfer(place);
    assert.equal(place.target.stored.length, 8);
    assert.equal(place.journal.settled.length, 10);
  });

  it('gives the budget back when the destination cannot be asked about a message', async () => {
    const place = world(mails(50));
    for (const { bytes } of place.source.messages) place.target.put(bytes);
    place.target.step = (name) => {
      if (name === 'target.read') throw new BridgeError('unreachable', { side: 'destination' });
    };
    const budget = new SharedBudget(100_000);
    await assert.rejects(runTransfer(place, { budget }), BridgeError);
    assert.equal(budget.used, 0);
  });

  it('holds no more than the budget, and ends with all of it given back', async () => {
    const big = mail(5, 'x'.repeat(50_000));
    const place = world([...mails(100), big, ...mails(100).map((each) => Buffer.concat([each, each]))]);
    const budget = new SharedBudget(2_000);
    await runTransfer(place, { budget });
    assertExactlyOnce(place);
    assert.equal(budget.used, 0);
  });
});
