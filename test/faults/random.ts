import { isEnded } from '../../src/domain/state.ts';
import { Random } from '../support/random.ts';
import { assertExact } from './compare.ts';
import { type Afterwards, FAULTS, type Fault } from './faults.ts';
import { act, LIFECYCLES, putCredentials } from './lifecycle.ts';
import { Round } from './round.ts';
import { STEPS, type Step } from './steps.ts';
import { told } from './survive.ts';
import type { Held, World } from './world.ts';

interface Blow {
  step: Step;
  nth: number;
  fault: Fault;
}

export interface RoundReport {
  /** How many faults struck: a run may end before it comes to a step. */
  struck: number;
}

/** Two or three faults in a row, at steps and in an order that the seed gives. */
export function blowsOf(seed: number): Blow[] {
  const random = new Random(seed);
  const faults = [...FAULTS, ...LIFECYCLES].filter(({ check }) => check === undefined);
  const blows: Blow[] = [];
  for (let left = random.int(2, 3); left > 0; left--) {
    const step = random.pick(STEPS);
    const fitting = faults
      .filter(({ at }) => at?.(step.name) ?? true)
      // What a replica that took over was told stands in another file: it is not cut back, nor replaced again.
      .filter(({ spoils }) => spoils !== true || blows.length === 0)
      .filter(({ name }) => name !== 'redis-crash' || blows.every(({ fault }) => fault.spoils !== true));
    blows.push({ step, nth: random.int(1, step.nth + 1), fault: random.pick(fitting) });
  }
  return blows;
}

export function titleOfRound(seed: number): string {
  return blowsOf(seed)
    .map(({ fault, step, nth }) => `${fault.name} at ${step.name} (${nth})`)
    .join(', then ');
}

/** @throws Error with what the workers said */
export async function randomRound(world: World, seed: number): Promise<RoundReport> {
  const blows = blowsOf(seed);
  for (const { fault } of blows) await fault.prepare?.(world, seed);
  const options = Object.assign({}, ...blows.map(({ step }) => step.options ?? {}));
  const round = await Round.begin(world, { seed, options });
  let isSound = false;
  try {
    const struck = await strikeAll(round, blows);
    await assertExact(round);
    isSound = true;
    return { struck };
  } catch (error) {
    throw new Error(await told(round, error), { cause: error });
  } finally {
    await round.close();
    if (!isSound || blows.some(({ fault }) => fault.spoils)) await world.renew();
  }
}

async function strikeAll(round: Round, blows: readonly Blow[]): Promise<number> {
  const afterwards: Afterwards[] = [];
  let struck = 0;
  for (const blow of blows) {
    const reached = expect(round, blow);
    if (struck === 0 && blow === blows[0]) void round.start();
    const held = await reached;
    if (held === null) continue;
    struck += 1;
    const after = await blow.fault.strike(round, held);
    if (after !== undefined) afterwards.push(after);
  }
  await round.until(
    (now) => now !== null && isOver(now.state) && round.isQuiet,
    'the round to end',
    () => persist(round),
  );
  for (const after of afterwards) await after();
  await round.ended();
  return struck;
}

/** Null: the migration ended without coming there. */
async function expect(round: Round, { step, nth }: Blow): Promise<Held | null> {
  let held: Held | null = null;
  let isLate = false;
  void round.world.arm(step.name, { nth }).then((reached) => {
    // What a dead or frozen worker sent before is on its way all the same.
    const { worker } = reached.seat;
    if (isLate || !worker.isAlive || worker.isFrozen) reached.go();
    else held = reached;
  });
  await round.until(
    (now) => held !== null || (now !== null && isOver(now.state) && round.isQuiet),
    step.name,
    () => persist(round),
  );
  isLate = held === null;
  return held;
}

function isOver(state: Parameters<typeof isEnded>[0]): boolean {
  return isEnded(state) && state !== 'canceled';
}

/** A user whose order was lost gives it again. */
async function persist(round: Round): Promise<void> {
  const now = await round.migration();
  if (now?.state === 'paused') await act(round, 'resume');
  if (now?.state === 'waiting' && now.stateReason === 'credentials_required') await putCredentials(round);
  if (now?.state !== 'canceled') return;
  await putCredentials(round);
  round.watch.expectRetry();
  await act(round, 'retry');
}
