import type { Log } from '../src/domain/attempt.ts';
import type { Clock } from '../src/domain/clock.ts';
import { BridgeError } from '../src/domain/errors.ts';
import type { RunStore, WorkQueue } from '../src/domain/ports.ts';

const EVERY_MS = 2_000;
const AT_ONCE = 200;

export interface SweepContext {
  runs: RunStore;
  queue: WorkQueue;
  clock: Clock;
  log: Log;
}

/**
 * Brings to the queue what should be at work and is not: migrations whose worker vanished, whose wait is over, or
 * whose job was never added. Every worker does; the store sees to it that none comes twice.
 */
export function startSweeping(context: SweepContext): { close(): Promise<void> } {
  const closing = new AbortController();
  const done = sweepUntil(closing.signal, context);
  return {
    close: async () => {
      closing.abort();
      await done;
    },
  };
}

async function sweepUntil(closed: AbortSignal, context: SweepContext): Promise<void> {
  while (!closed.aborted) {
    await sweepOnce(context).catch((thrown: unknown) => {
      context.log.warn({ error: BridgeError.from(thrown).report() }, 'the sweep failed and is tried again');
    });
    await context.clock.sleep(EVERY_MS, closed).catch(() => {});
  }
}

async function sweepOnce({ runs, queue }: SweepContext): Promise<void> {
  for (const { job, notBefore } of await runs.sweep(AT_ONCE)) await queue.enqueue(job, notBefore);
}
