import { Attempt, faultOf, type TransferContext } from './attempt.ts';
import { confirmByListing, Deletions, deleteMoved } from './deletion.ts';
import { Delivery } from './delivery.ts';
import { keyedDigests } from './fingerprint.ts';
import { Ledger, type Pending } from './ledger.ts';
import type { Progress } from './migration.ts';
import type { SourceSession, TargetSession } from './ports.ts';
import { RateMeter } from './rate.ts';
import { receive } from './receive.ts';
import { resolveIntents } from './resolve.ts';
import { epochOf, rebind, Stock } from './stock.ts';
import { reportTwins } from './twins.ts';

export type TransferResult =
  /** Every message of the listing is settled. */
  | { kind: 'complete'; progress: Progress; failed: number }
  /** Left off because somebody asked; all that was done is written down. */
  | { kind: 'stopped'; progress: Progress };

/** Tries in a row that bring nothing forward before the run gives up and waits. */
const FRUITLESS_TRIES = 3;
const FIRST_PAUSE_MS = 500;
/**
 * With deletion, a session takes on no more messages than this: DELE takes effect only when the session ends
 * (RFC 1939 section 6), and a long one may be cut.
 */
const DELETING_SESSION = 1000;

/**
 * Moves a mailbox: everything that the source lists and the journal does not hold goes to the destination,
 * exactly once. A connection that breaks is replaced and the work resumed; an append whose outcome is unknown is
 * looked up first.
 * @throws BridgeError when the run cannot go on; intents of unknown outcome stay open for the next run
 */
export async function transfer(context: TransferContext): Promise<TransferResult> {
  const digests = keyedDigests(context.journal.snapshot.digestKey);
  const ledger = new Ledger(context.journal, digests, new RateMeter(context.clock.monotonic));
  let unsettled = !context.journal.snapshot.cleanEnd;
  const memory: RunMemory = { proven: new Set(), deletions: new Deletions(), deferred: new Set() };
  for (let fruitless = 0; ; ) {
    const before = ledger.length;
    try {
      while (await attemptOnce(context, ledger, memory, unsettled)) {
        unsettled = false;
        fruitless = 0;
      }
      const progress = ledger.progress();
      return { kind: 'complete', progress, failed: progress.messages.failed ?? 0 };
    } catch (thrown) {
      const fault = faultOf(thrown);
      if (fault === null || isStop(context)) return await stopped(ledger, context);
      fruitless = ledger.length > before ? 0 : fruitless + 1;
      if (fault.recovery !== 'retry' || fault.scope === 'system' || fruitless >= FRUITLESS_TRIES) throw fault;
      context.log.warn({ code: fault.code, side: fault.side, detail: fault.detail }, 'trying again');
      await pause(context, FIRST_PAUSE_MS * 2 ** fruitless);
      unsettled = unsettled || ledger.intents.size > 0;
    }
  }
}

/** What a run remembers from one session to the next. */
interface RunMemory {
  /** Records whose copy was read in this run and found equal. */
  proven: Set<number>;
  deletions: Deletions;
  /** UIDL digests of messages left for the last session. */
  deferred: Set<string>;
}

function isStop({ journal, shutdown }: TransferContext): boolean {
  return !journal.lost.aborted && (journal.stopRequested.aborted || shutdown.aborted);
}

async function stopped(ledger: Ledger, { journal }: TransferContext): Promise<TransferResult> {
  if (journal.lost.aborted) throw journal.lost.reason;
  await ledger.flush();
  return { kind: 'stopped', progress: ledger.progress() };
}

async function pause({ clock, journal, shutdown }: TransferContext, ms: number): Promise<void> {
  const signal = AbortSignal.any([journal.lost, journal.stopRequested, shutdown]);
  await clock.sleep(ms, signal).catch(() => {});
}

/** @returns true when there is more to do in another session */
async function attemptOnce(
  context: TransferContext,
  ledger: Ledger,
  memory: RunMemory,
  unsettled: boolean,
): Promise<boolean> {
  const { source, target } = await openBoth(context);
  const drop = () => {
    source.destroy();
    target.destroy();
  };
  // A worker past its deadline destroys its sockets first.
  context.journal.lost.addEventListener('abort', drop);
  try {
    context.journal.lost.throwIfAborted();
    const more = await move(context, ledger, memory, unsettled, source, target);
    await Promise.all([source.quit(), target.close()]);
    return more;
  } catch (error) {
    // A stop is orderly too: the servers are told goodbye.
    if (isStop(context)) await Promise.all([source.quit(), target.close()]);
    throw error;
  } finally {
    context.journal.lost.removeEventListener('abort', drop);
    drop();
  }
}

async function openBoth(context: TransferContext): Promise<{ source: SourceSession; target: TargetSession }> {
  const { journal, folder, shutdown } = context;
  const signal = AbortSignal.any([journal.lost, journal.stopRequested, shutdown]);
  const [source, target] = await Promise.allSettled([
    context.source.open(signal),
    context.target.open(folder, signal),
  ]);
  if (source.status === 'fulfilled' && target.status === 'fulfilled')
    return { source: source.value, target: target.value };
  if (source.status === 'fulfilled') source.value.destroy();
  if (target.status === 'fulfilled') target.value.destroy();
  throw source.status === 'rejected' ? source.reason : (target as PromiseRejectedResult).reason;
}

async function move(
  context: TransferContext,
  ledger: Ledger,
  memory: RunMemory,
  unsettled: boolean,
  source: SourceSession,
  target: TargetSession,
): Promise<boolean> {
  const { journal, clock } = context;
  const leaving = AbortSignal.any([journal.lost, journal.stopRequested, context.shutdown]);
  const listing = await source.list(journal.lost);
  const epoch = epochOf(ledger, target);
  const digests = keyedDigests(journal.snapshot.digestKey);
  // Until the epoch has a mark nothing of it is accounted for: an attempt may have been cut in the middle of this.
  if (ledger.epochs[epoch]?.mark === null && (await rebind(ledger, target, epoch, digests, leaving)))
    memory.proven.clear();
  let pending = ledger.plan(listing, epoch);
  confirmByListing(ledger, digests, listing, memory.deletions);
  // People see the total before the first message is over.
  await ledger.flushProgress();
  const stock = await Stock.take(ledger, target, epoch, {
    includeEarlier: context.options.deduplicate === 'destination' && !journal.snapshot.passComplete,
    unsettled: unsettled && pending.length > 0,
    settle: () => clock.sleep(context.settleMs, leaving),
    signal: journal.lost,
  });
  const attempt = new Attempt({ context, ledger, source, target, epoch, stock, proven: memory.proven });
  pending = await resolveIntents(attempt, pending, listing);
  const deletes = context.options.sourceDeletion.policy === 'delete';
  const strays = ledger.drifted(pending, listing.length);
  const firm = pending.filter(({ uidlDigest }) => !memory.deferred.has(uidlDigest));
  const isLast = !deletes || firm.length <= DELETING_SESSION;
  const deferred = await deliver(attempt, isLast ? pending : firm.slice(0, DELETING_SESSION), strays, isLast);
  for (const { uidlDigest } of deferred) memory.deferred.add(uidlDigest);
  attempt.assertGoesOn();
  const looked = deletes ? await deleteMoved(attempt, listing, memory.deletions, DELETING_SESSION) : 0;
  if (!isLast || looked === DELETING_SESSION) return true;
  if (unsettled) await reportTwins(attempt, listing);
  stock.passEnded((await target.refresh(journal.lost)).uidNext);
  await ledger.flush();
  return false;
}

/** @returns what is left for the last session: messages whose copy the destination seems to have altered */
async function deliver(
  attempt: Attempt,
  pending: readonly Pending[],
  strays: Map<string, number[]>,
  isLast: boolean,
): Promise<Pending[]> {
  const delivery = new Delivery(attempt);
  const receiving = (async () => {
    const deferred = await receive(attempt, pending, strays, delivery, 'defer');
    return isLast && deferred.length > 0 ? receive(attempt, deferred, strays, delivery, 'claim') : deferred;
  })().finally(() => delivery.end());
  const [received, delivered] = await Promise.allSettled([receiving, delivery.run()]);
  const [verified] = await Promise.allSettled([attempt.verifier.finish()]);
  await attempt.ledger.flush();
  // The first cause is the destination's where both ended: its failure halts the reading.
  for (const result of [delivered, verified]) if (result.status === 'rejected') throw result.reason;
  if (received.status === 'rejected') throw received.reason;
  return received.value;
}
