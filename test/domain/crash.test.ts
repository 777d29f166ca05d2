import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Clock } from '../../src/domain/clock.ts';
import { BridgeError } from '../../src/domain/errors.ts';
import { DEFAULT_OPTIONS, type MigrationOptions } from '../../src/domain/migration.ts';
import { transfer } from '../../src/domain/transfer.ts';
import { endOfTransfer } from '../../src/domain/verdict.ts';
import { contextOf, lost, memoryClock, type World, world } from '../support/memory.ts';
import { Random } from '../support/random.ts';

class Killed extends Error {}

/** Octets of a connection that is gone arrive within this time. */
const SETTLE_MS = 10_000;

type Place = World & { options: MigrationOptions };

const ROUNDS = Number(process.argv.find((each) => /^\d+$/.test(each)) ?? 200);

function mailbox(count: number, next: () => number): Buffer[] {
  // Few distinct headers and bodies, so that twins and near-twins are common.
  return Array.from({ length: count }, () =>
    Buffer.from(
      `Message-ID: <${Math.floor(next() * 12)}@x>\r\nSubject: s\r\n\r\n${Math.floor(next() * 4)}\r\n`,
    ),
  );
}

function tally(messages: readonly Buffer[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const bytes of messages) counts.set(bytes.toString(), (counts.get(bytes.toString()) ?? 0) + 1);
  return counts;
}

/** One run that a seeded fault ends at a random step. True when it came to its end. */
async function runWithFault(place: Place, random: Random, spare: boolean): Promise<boolean> {
  const next = () => random.next();
  const clock = memoryClock();
  const settling: Clock = {
    ...clock,
    sleep: async (ms, signal) => {
      if (ms === SETTLE_MS) place.target.landLate();
      await clock.sleep(ms, signal);
    },
  };
  const context = contextOf(place, { options: place.options, clock: settling, settleMs: SETTLE_MS });
  let steps = spare ? Number.POSITIVE_INFINITY : Math.floor(next() ** 2 * 600);
  let dead = false;
  const step = (name: string) => {
    // A killed process does nothing more, whichever of its parts is asked.
    if (dead || steps-- === 0) {
      dead = true;
      context.journal.lost.aborted || (context.journal as ReturnType<World['journal']['claim']>).loseLease();
      throw new Killed(name);
    }
    if (!spare && name.startsWith('target.') && name !== 'target.close' && next() < 0.02)
      throw lost('destination');
    if (!spare && name === 'source.retr' && next() < 0.01) throw lost('source');
  };
  place.source.step = step;
  place.target.step = step;
  place.journal.step = step;
  if (next() < 0.3) place.target.loseNextAnswer = random.pick(['stored', 'notStored', 'late'] as const);
  try {
    const result = await transfer(context);
    await context.journal.end(endOfTransfer(result, context.journal.wanted));
    return true;
  } catch (error) {
    assert.ok(error instanceof BridgeError || error instanceof Killed, String(error));
    return false;
  }
}

it(`keeps every message exactly once through ${ROUNDS} rounds of random faults`, async () => {
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const random = new Random(seed);
    const messages = mailbox(20 + random.int(0, 200), () => random.next());
    const options: MigrationOptions = random.chance(0.5)
      ? DEFAULT_OPTIONS
      : { ...DEFAULT_OPTIONS, verify: 'digest', sourceDeletion: { policy: 'delete', minAgeDays: 0 } };
    const place = { ...world(messages), options };
    place.target.multiAppend = random.chance(0.7);
    place.target.uidPlus = random.chance(0.7);
    for (let runs = 1; !(await runWithFault(place, random, runs > 20)); runs++)
      if (random.chance(0.3)) place.journal.forget(random.int(1, 6));
    const expected = tally(messages);
    assert.deepEqual(tally(place.target.stored.map(({ bytes }) => bytes)), expected, `seed ${seed}`);
    assert.equal(place.journal.intents.length, 0, `seed ${seed}`);
    if (options.sourceDeletion.policy === 'delete')
      assert.equal(place.source.messages.length, 0, `seed ${seed}: all are gone from the source`);
    else assert.equal(place.journal.settled.length, messages.length, `seed ${seed}`);
  }
});
