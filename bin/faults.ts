/**
 * `npm run test:faults`: each fault at each step of a run that touches the outside, then rounds of two and three
 * faults in a row. `-- --rounds 300 --seed 1 --worlds 4 --only TEXT`: other numbers, or only pairs with that text.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { Arena } from '../test/faults/arena.ts';
import { randomRound, titleOfRound } from '../test/faults/random.ts';
import { type Case, survive, table, titleOf } from '../test/faults/survive.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '300' },
    seed: { type: 'string', default: '1' },
    worlds: { type: 'string', default: `${availableParallelism() * 2}` },
    only: { type: 'string', default: '' },
  },
});
const seed = Number(values.seed);
const failures: string[] = [];

const cases = table(seed).filter((each) => titleOf(each).includes(values.only));
const results = new Map<Case, boolean>();
{
  await using arena = await Arena.open(Number(values.worlds));
  await arena.playAll(cases, async (world, each) => {
    results.set(each, await survives(titleOf(each), () => survive(world, each)));
  });
  printTable();
  const seeds = Array.from({ length: values.only === '' ? Number(values.rounds) : 0 }, (_, n) => seed + n);
  let struck = 0;
  await arena.playAll(seeds, async (world, each) => {
    await survives(`seed ${each}: ${titleOfRound(each)}`, async () => {
      struck += (await randomRound(world, each)).struck;
    });
  });
  console.log(
    `\n${cases.length} pairs of step and fault; ${seeds.length} rounds with ${struck} faults in a row`,
  );
}
console.log(failures.length === 0 ? 'lost 0, doubled 0, altered 0' : `${failures.length} did not survive:`);
for (const failure of failures) console.log(`\n${failure}`);
process.exitCode = failures.length === 0 ? 0 : 1;

async function survives(title: string, play: () => Promise<unknown>): Promise<boolean> {
  try {
    await play();
    return true;
  } catch (error) {
    failures.push(`${title}: ${error instanceof Error ? error.message : String(error)}`);
    console.log(`did not survive: ${title}`);
    return false;
  }
}

/** A line for each fault: at how many of the steps where it makes sense it was survived. */
function printTable(): void {
  const width = Math.max(...cases.map(({ fault }) => fault.name.length));
  console.log(`${'fault'.padEnd(width)}  steps  survived`);
  for (const [name, pairs] of Map.groupBy(cases, ({ fault }) => fault.name)) {
    const survived = pairs.filter((each) => results.get(each) === true).length;
    console.log(
      `${name.padEnd(width)}  ${String(pairs.length).padStart(5)}  ${String(survived).padStart(8)}`,
    );
  }
}
