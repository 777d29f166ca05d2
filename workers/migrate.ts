import type { Log } from '../src/domain/attempt.ts';
import type { Clock } from '../src/domain/clock.ts';
import { BridgeError } from '../src/domain/errors.ts';
import type { GroupLimits } from '../src/domain/intake.ts';
import type { Credentials, Migration } from '../src/domain/migration.ts';
import type { ByteBudget, Claim, JobRef, MailSource, MailTarget, RunStore } from '../src/domain/ports.ts';
import { transfer } from '../src/domain/transfer.ts';
import { endOfFault, endOfTransfer } from '../src/domain/verdict.ts';

export interface MigrateContext {
  runs: RunStore;
  /** Makes the two ends; nothing connects yet. */
  ends(migration: Migration, credentials: Credentials): { source: MailSource; target: MailTarget };
  budget: ByteBudget;
  group: GroupLimits;
  clock: Clock;
  /** A log whose every line carries these facts. */
  log(facts: object): Log;
  /** Names this process in `/runs`. */
  worker: string;
  settleMs: number;
  recordHeaders: boolean;
}

type Claimed = Claim & { kind: 'claimed' };

/**
 * One job of the queue: claim, transfer, verdict. The queue never hears of a failure: what comes next stands in
 * the record, and the sweep brings the job again where there is more to do.
 * @param shutdown the worker closes: finish the group in hand and hand the job back
 */
export async function migrate(context: MigrateContext, job: JobRef, shutdown: AbortSignal): Promise<void> {
  const log = context.log({ tenant: job.tenant, migrationId: job.migrationId });
  const claim = await context.runs.claim(job, context.worker, shutdown);
  if (claim.kind !== 'claimed') {
    log.info({ claim }, 'not ours to run');
    return;
  }
  const { journal } = claim;
  try {
    await run(context, claim, log, shutdown);
  } catch (thrown) {
    const fault = BridgeError.from(journal.lost.aborted ? journal.lost.reason : thrown);
    if (fault.code === 'internal_error') log.warn({ err: thrown }, 'a fault of our own');
    else log.warn({ error: fault.report() }, 'the run ended in a fault');
    // The record belongs to somebody else now, or cannot be reached: there is nothing to write.
    if (fault.code === 'lease_lost' || fault.code === 'store_unavailable') return;
    await journal.end(endOfFault(fault, claim.waits, context.clock.now()));
  }
}

async function run(context: MigrateContext, claim: Claimed, log: Log, shutdown: AbortSignal): Promise<void> {
  const { migration, journal, credentials } = claim;
  if (credentials === null) throw new BridgeError('credentials_required', { side: 'service' });
  const result = await transfer({
    ...context.ends(migration, credentials),
    journal,
    folder: migration.destination.folder,
    options: migration.options,
    budget: context.budget,
    group: context.group,
    clock: context.clock,
    log,
    settleMs: context.settleMs,
    recordHeaders: context.recordHeaders,
    shutdown,
  });
  const end = endOfTransfer(result, journal.wanted);
  log.info({ state: end.state, messages: result.progress.messages }, 'the run ended');
  await journal.end(end);
}
