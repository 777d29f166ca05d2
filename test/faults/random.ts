import type { Migration } from '../../src/domain/migration.ts';
import { isEnded } from '../../src/domain/state.ts';
import { until } from '../support/net.ts';
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
    blows.push({ step, nth: random.int(1, step.nth), fault: random.pick(fitting) });
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

/** Each strikes when its step comes, whichever is first; one at a time. */
async function strikeAll(round: Round, blows: readonly Blow[]): Promise<number> {
  const afterwards: Afterwards[] = [];
  const reached: { blow: Blow; held: Held }[] = [];
  let isStriking = false;
  let isOver = false;
  let struck = 0;
  const expect = (blow: Blow, nth: number): void => {
    void round.world.arm(blow.step.name, { nth }).then((held) => {
      const { worker } = held.seat;
      // What a dead or frozen worker sent before is on its way all the same.
      const isMoot = isStriking || reached.length > 0 || !worker.isAlive || worker.isFrozen;
      if (isOver || isMoot) held.go();
      else reached.push({ blow, held });
      if (isMoot && !isOver) expect(blow, 1);
    });
  };
  for (const blow of blows) expect(blow, blow.nth);
  const first = round.start();
  await Promise.race([first, until(() => reached.length > 0, { what: 'a step', timeoutMs: 30_000 })]);
  for (;;) {
    const done = (now: Migration | null) => now !== null && isDone(now.state) && round.isQuiet;
    await round.until(
      (now) => reached.length > 0 || done(now),
      'the round to end',
      () => persist(round),
    );
    const next = reached[0];
    if (next === undefined) break;
    isStriking = true;
    const after = await next.blow.fault.strike(round, next.held);
    if (after !== undefined) afterwards.push(after);
    struck += 1;
    reached.shift();
    isStriking = false;
  }
  isOver = true;
  for (const after of afterwards) await after();
  await round.ended();
  return struck;
}

function isDone(state: Parameters<typeof isEnded>[0]): boolean {
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
