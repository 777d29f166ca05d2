import { assertExact } from './compare.ts';
import { FAULTS, type Fault } from './faults.ts';
import { LIFECYCLES } from './lifecycle.ts';
import { Round } from './round.ts';
import { STEPS, type Step } from './steps.ts';
import type { Held, World } from './world.ts';

/** One entry of the table. */
export interface Case {
  step: Step;
  fault: Fault;
  seed: number;
}

/** Every step with every fault and every action that makes sense there. */
export function table(seed = 1): Case[] {
  return STEPS.flatMap((step, row) =>
    [...FAULTS, ...LIFECYCLES]
      .filter((fault) => fault.at?.(step.name) ?? true)
      .map((fault, column) => ({ step, fault, seed: seed + row * 31 + column })),
  );
}

export function titleOf({ step, fault }: Pick<Case, 'step' | 'fault'>): string {
  return `${fault.name} at ${step.name}`;
}

/**
 * Runs a migration to the step, lets the fault strike, and goes on to the end as the product does.
 * @throws Error with what the workers said, when the end is not what it should be, or the step never came
 */
export async function survive(world: World, { step, fault, seed }: Case): Promise<void> {
  await fault.prepare?.(world, seed);
  const round = await Round.begin(world, { seed, ...(step.options && { options: step.options }) });
  let isSound = false;
  try {
    const held = await reach(round, step);
    const afterwards = await fault.strike(round, held);
    await round.ended();
    await afterwards?.();
    await (fault.check ?? assertExact)(round);
    isSound = true;
  } catch (error) {
    throw new Error(await told(round, error), { cause: error });
  } finally {
    await round.close();
    if (fault.spoils === true || !isSound) await world.renew();
  }
}

async function reach(round: Round, step: Step): Promise<Held> {
  const { world } = round;
  const reached = world.arm(step.name, { nth: step.nth });
  if (step.awaits !== undefined)
    void world.arm(step.awaits.name, { nth: step.awaits.nth }).then(async (brake) => {
      await reached;
      brake.go();
    });
  const ran = round.start();
  const held = await Promise.race([reached, ran]);
  if (held === undefined) throw new Error(`the run ended without coming to ${step.name}`);
  return held;
}

/** What went wrong, and all that is known of it. */
export async function told(round: Round, error: unknown): Promise<string> {
  const logs = round.world.taken.map(({ worker }) => worker.log.slice(-12).join('\n'));
  const record = JSON.stringify(await round.migration().catch(String));
  return [error instanceof Error ? error.message : String(error), record, ...logs].join('\n--\n');
}
