import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as tick } from 'node:timers/promises';
import type { TransferContext } from '../../src/domain/attempt.ts';
import { BridgeError } from '../../src/domain/errors.ts';
import { DEFAULT_OPTIONS, type MigrationOptions } from '../../src/domain/migration.ts';
import { lost, memoryClock, runTransfer, type World, world } from '../support/memory.ts';
import { Random } from '../support/random.ts';

function mail(n: number | string): Buffer {
  return Buffer.from(`Message-ID: <${n}@example.com>\r\nSubject: message ${n}\r\n\r\nbody ${n}\r\n`);
}

const mails = (count: number) => Array.from({ length: count }, (_, n) => mail(n));

function deleting(minAgeDays: number): MigrationOptions {
  return { ...DEFAULT_OPTIONS, verify: 'digest', sourceDeletion: { policy: 'delete', minAgeDays } };
}

async function run(place: World, overrides: Partial<TransferContext> = {}) {
  return (await runTransfer(place, overrides)).progress.messages;
}

/** Throws at the `at`-th step of a name, once. */
function failAt(at: number, step: string, error: () => Error): (name: string) => void {
  let count = 0;
  return (name) => {
    if (name === step && ++count === at) throw error();
  };
}

const renamed = (place: World) => place.source.messages.map((each, n) => ({ ...each, uidl: `new-${n}` }));
const stored = (place: World) => place.target.stored.map(({ bytes }) => bytes.toString()).sort();
const sent = (place: World) => place.source.messages.map(({ bytes }) => bytes.toString()).sort();

describe('when the server gave all messages new UIDLs', () => {
  it('a run that is cut in the middle doubles nothing', async () => {
    const place = world(mails(100));
    await run(place);
    place.source.messages = renamed(place);
    place.source.step = failAt(71, 'source.retr', () => lost('source'));
    await run(place);
    assert.deepEqual(stored(place), sent(place));
  });

  it('sessions that end now and then double nothing', async () => {
    const place = world(mails(2100));
    await run(place, { options: deleting(36_500) });
    place.source.messages = renamed(place);
    await run(place, { options: deleting(36_500) });
    assert.equal(place.target.stored.length, 2100);
  });

  it('copies that the destination altered are known again', async () => {
    const place = world(mails(10));
    place.target.alter = (bytes) => Buffer.concat([bytes, Buffer.from('\r\n')]);
    await run(place);
    place.source.messages = renamed(place);
    await run(place);
    assert.equal(place.target.stored.length, 10);
  });
});

describe('an append whose UID is looked up', () => {
  const cases = [
    { multiAppend: false, uidPlus: false, lanes: 4, distinct: 5 },
    { multiAppend: false, uidPlus: false, lanes: 4, distinct: 100_000 },
    { multiAppend: false, uidPlus: true, lanes: 4, distinct: 5 },
    { multiAppend: true, uidPlus: false, lanes: 4, distinct: 5 },
  ];
  for (const { multiAppend, uidPlus, lanes, distinct } of cases)
    it(`is never lost or doubled: ${JSON.stringify({ multiAppend, uidPlus, lanes, distinct })}`, async () => {
      for (let seed = 1; seed <= 100; seed++) {
        const random = new Random(seed);
        const place = world(Array.from({ length: 60 }, () => mail(random.int(0, distinct))));
        Object.assign(place.target, { multiAppend, uidPlus, lanes });
        let left = random.int(5, 300);
        place.target.step = async (name) => {
          // Answers come in another order than the appends began.
          if (name === 'target.ok') for (let turns = random.int(0, 12); turns > 0; turns--) await tick();
          if (--left === 0) throw new BridgeError('throttled', { side: 'destination' });
        };
        const group = { messages: 16, bytes: 1e6, patienceMs: 1 };
        await run(place, { group }).catch((error) => assert.equal(error.code, 'throttled'));
        place.target.step = () => {};
        await run(place);
        assert.deepEqual(stored(place), sent(place), `seed ${seed}`);
        assert.ok(
          place.journal.settled.every(({ uid }) => uid !== null),
          `seed ${seed}: every record knows its copy`,
        );
      }
    });
});

describe('a folder that came back under another UIDVALIDITY', () => {
  it('is assigned to settled records though the assignment is cut in the middle', async () => {
    const place = world([mail(1), mail(2)]);
    await run(place);
    place.target.uidValidity = 8;
    place.source.messages.push({ uidl: 'twin', bytes: mail(1) });
    place.target.step = failAt(1, 'target.read', () => lost('destination'));
    await run(place);
    assert.deepEqual(stored(place), sent(place));
  });
});

describe('an intent', () => {
  it('stays open while its members are not listed', async () => {
    const place = world(mails(5));
    place.target.step = failAt(1, 'target.ok', () => new BridgeError('throttled', { side: 'destination' }));
    await assert.rejects(run(place));
    assert.equal(place.target.stored.length, 5);
    const all = place.source.messages;
    place.source.messages = [];
    await run(place);
    place.source.messages = all;
    await run(place);
    assert.deepEqual(stored(place), sent(place));
    assert.equal(place.journal.intents.length, 0);
  });

  it('gives a copy to its exact owner before a near twin may have it', async () => {
    const whole = mail(1);
    const cut = whole.subarray(0, whole.length - 2);
    const place = world([cut, whole]);
    Object.assign(place.target, { multiAppend: false, lanes: 2 });
    let uploads = 0;
    place.target.step = async (name) => {
      // Both intents are open; the second lane's message is stored, the first lane's never sent.
      if (name === 'target.upload' && uploads++ === 0) {
        for (let turns = 0; turns < 50; turns++) await tick();
        throw new BridgeError('throttled', { side: 'destination' });
      }
      if (name === 'target.ok') throw new BridgeError('throttled', { side: 'destination' });
    };
    await assert.rejects(run(place, { group: { messages: 8, bytes: 1e6, patienceMs: 1 } }));
    place.target.step = () => {};
    await run(place);
    assert.deepEqual(stored(place), sent(place));
  });
});

describe('a near twin', () => {
  it('does not take the copy of a message that comes up later', async () => {
    const whole = mail(1);
    const cut = whole.subarray(0, whole.length - 2);
    const place = world([cut, whole]);
    place.target.put(whole);
    place.journal.cleanEnd = false;
    const messages = await run(place);
    assert.equal(messages.alreadyPresent, 1);
    assert.deepEqual(stored(place), sent(place));
  });
});

describe('a UIDL', () => {
  it('that is used again after we deleted its message is another message', async () => {
    const place = world([mail(1)]);
    await run(place, { options: deleting(0) });
    assert.equal(place.source.messages.length, 0);
    place.source.messages = [{ uidl: 'uidl-0', bytes: mail(2) }];
    await run(place, { options: deleting(0) });
    assert.equal(place.target.stored.length, 2);
  });
});

describe('a run', () => {
  it('tries a failure again once, however many sessions it takes', async () => {
    const place = world(mails(1001));
    place.target.refuse = () => 'no';
    await run(place, { options: deleting(0) });
    place.journal.retryFailed = true;
    const before = place.source.sessions;
    const messages = await run(place, { options: deleting(0) });
    assert.equal(messages.failed, 1001);
    assert.equal(place.source.sessions - before, 2);
  });

  it('comes to its end in a folder where other mail arrives all the time', async () => {
    const place = world(mails(3));
    place.journal.cleanEnd = false;
    const clock = memoryClock();
    let others = 0;
    const sleep: typeof clock.sleep = async (ms, signal) => {
      if (ms === 10_000) place.target.put(mail(`other ${others++}`));
      await clock.sleep(ms, signal);
    };
    await run(place, { clock: { ...clock, sleep } });
    assert.equal(place.target.stored.length, 3 + others);
  });

  it('looks for late twins without reading the mail of others', async () => {
    const place = world(mails(20));
    for (let n = 0; n < 500; n++) place.target.put(mail(`foreign ${n}`));
    place.target.loseNextAnswer = 'stored';
    let reads = 0;
    place.target.step = (name) => {
      if (name === 'target.read') reads++;
    };
    await run(place);
    assert.ok(reads <= 40, `${reads} reads`);
  });

  it('does not call a repaired copy altered when it is verified by a later attempt', async () => {
    const place = world([mail(1), Buffer.from('Subject: bare\n\nlf\n')]);
    place.target.refuse = ({ bytes }) => (/[^\r]\n/.test(bytes.toString('latin1')) ? 'bare newline' : null);
    place.target.step = failAt(2, 'target.sizes', () => lost('destination'));
    const messages = await run(place);
    assert.equal(messages.repaired, 1);
    assert.equal(messages.altered, 0);
  });

  it('writes down as it goes what needs no append', async () => {
    const place = world(mails(1000));
    for (const { bytes } of place.source.messages) place.target.put(bytes);
    let retrieved = 0;
    let written = 0;
    place.source.step = (name) => {
      if (name === 'source.retr' && ++retrieved === 999) written = place.journal.settled.length;
    };
    await run(place);
    assert.ok(written > 800, `${written} were written by then`);
  });
});
