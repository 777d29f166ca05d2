import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Arena } from './arena.ts';
import { randomRound, titleOfRound } from './random.ts';
import { type Case, survive, table, titleOf } from './survive.ts';

/** What a machine of two cores plays in under three minutes; `npm run test:faults` plays all. */
const WORLDS = 3;
const EVERY = 4;
const RARE = 6;
const ROUNDS = 12;

/** Every fourth pair, and every pair of a fault that fits few steps. */
function selection(): Case[] {
  const all = table();
  const pairsOf = Map.groupBy(all, ({ fault }) => fault.name);
  return all.filter(
    ({ fault }, index) => index % EVERY === 0 || (pairsOf.get(fault.name)?.length ?? 0) <= RARE,
  );
}

async function failuresOf<T>(
  cases: readonly T[],
  title: (each: T) => string,
  play: (...args: Parameters<Parameters<Arena['playAll']>[1]>) => Promise<unknown>,
): Promise<string[]> {
  await using arena = await Arena.open(WORLDS);
  const failures: string[] = [];
  await arena.playAll(cases as readonly unknown[], async (world, each) => {
    await play(world, each).catch((error: unknown) => failures.push(`${title(each as T)}: ${error}`));
  });
  return failures;
}

it('keeps every message exactly once through each fault at each step', async (t) => {
  const cases = selection();
  const steps = new Set(cases.map(({ step }) => step.name));
  const faults = new Set(cases.map(({ fault }) => fault.name));
  assert.equal(steps.size, new Set(table().map(({ step }) => step.name)).size, 'every step is in it');
  assert.equal(faults.size, new Set(table().map(({ fault }) => fault.name)).size, 'every fault is in it');
  const failures = await failuresOf(cases, titleOf, (world, each) => survive(world, each as Case));
  assert.deepEqual(failures, []);
  t.diagnostic(`${cases.length} pairs of ${steps.size} steps and ${faults.size} faults survived`);
});

it('keeps every message exactly once through two and three faults in a row', async (t) => {
  const seeds = Array.from({ length: ROUNDS }, (_, n) => n + 1);
  let struck = 0;
  const failures = await failuresOf(seeds, titleOfRound, async (world, seed) => {
    struck += (await randomRound(world, seed as number)).struck;
  });
  assert.deepEqual(failures, []);
  assert.ok(struck >= ROUNDS, `${struck} faults struck`);
  t.diagnostic(`${struck} faults survived in ${ROUNDS} rounds`);
});
