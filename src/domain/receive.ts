import type { Attempt } from './attempt.ts';
import type { Match } from './copies.ts';
import type { Delivery } from './delivery.ts';
import { BridgeError } from './errors.ts';
import { digestOfAltered } from './fingerprint.ts';
import { type Item, item } from './item.ts';
import type { Pending } from './ledger.ts';
import type { Retrieved } from './ports.ts';
import { asIs, type Repaired, repairsFor } from './repair.ts';
import { compareCopy } from './verifier.ts';

/**
 * Reads pending messages from the source, settles those that need no append, and hands the others on. Ends with
 * the last message or when the run is to stop.
 * @param strays records whose UIDL is gone from the listing, by fingerprint (see Ledger.drifted)
 * @param altered what to do with a message of which the destination seems to hold an altered copy: `defer` until all
 *   that may own it exactly have been asked, then `claim`
 * @returns the deferred ones
 * @throws BridgeError when the source session ends
 */
export async function receive(
  attempt: Attempt,
  pending: readonly Pending[],
  strays: Map<string, number[]>,
  delivery: Delivery,
  altered: 'defer' | 'claim',
): Promise<Pending[]> {
  const deferred: Pending[] = [];
  const byNumber = new Map(pending.map((each) => [each.entry.number, each]));
  const entries = pending.map((each) => each.entry);
  const leave = AbortSignal.any([attempt.stop, attempt.halt.signal]);
  for await (const got of attempt.source.retrieve(entries, attempt.context.budget, leave)) {
    const task = byNumber.get(got.entry.number);
    try {
      const settled = task === undefined || (await take(attempt, task, got, strays, delivery, altered));
      if (!settled) deferred.push(task);
    } catch (error) {
      // The budget is shared with other mailboxes: it must get its bytes back whatever happens to this one.
      if (got.kind === 'message') got.release();
      throw error;
    }
    // What needs no append is written down as it goes, too.
    if (attempt.ledger.unwritten >= attempt.context.group.messages) await attempt.ledger.flush();
    if (leave.aborted) break;
  }
  return deferred;
}

/** @returns false: to be asked again later */
async function take(
  attempt: Attempt,
  pending: Pending,
  got: Retrieved,
  strays: Map<string, number[]>,
  delivery: Delivery,
  altered: 'defer' | 'claim',
): Promise<boolean> {
  if (got.kind === 'refused') {
    if (pending.task !== 'verify') attempt.failed(pending, NO_FINGERPRINT, null, got.error);
    return true;
  }
  const message = itemOf(attempt, pending, got);
  if (pending.task === 'verify') {
    await attempt.verifyAgain(message, pending.records[0] as number);
    return true;
  }
  const settled = await settledAlready(attempt, message, strays, altered);
  if (settled !== 'no') message.release();
  else if (!isRefusedAtOnce(attempt, message)) delivery.add(message);
  return settled !== 'later';
}

async function settledAlready(
  attempt: Attempt,
  message: Item,
  strays: Map<string, number[]>,
  altered: 'defer' | 'claim',
): Promise<'yes' | 'no' | 'later'> {
  const { copies } = attempt.stock;
  if (await isSettled(attempt, message, strays)) return 'yes';
  if (copies.size === 0) return 'no';
  if (await isPresent(attempt, message)) return 'yes';
  if (altered === 'defer') return (await copies.hasAltered(message.bytes)) ? 'later' : 'no';
  const match = await copies.claimAltered(message.bytes);
  if (match !== null) settleFound(attempt, message, match);
  return match === null ? 'no' : 'yes';
}

// A message that was never seen has no header to take a fingerprint of.
const NO_FINGERPRINT = '0'.repeat(16);

export function itemOf(attempt: Attempt, pending: Pending, got: Retrieved & { kind: 'message' }): Item {
  const { options, digests, context } = attempt;
  return item(pending, got.bytes, got.release, { options, digests, now: context.clock.now() });
}

/** Its UIDL alone was not to be believed: settled if a record has its fingerprint. */
async function isSettled(attempt: Attempt, message: Item, strays: Map<string, number[]>): Promise<boolean> {
  const { ledger } = attempt;
  const { pending, fingerprint } = message;
  const known = pending.records.find(
    (index) =>
      pending.task === 'compare' &&
      ledger.unconsumed(index) &&
      ledger.record(index).fingerprint === fingerprint,
  );
  if (known !== undefined) {
    if (ledger.record(known).size !== pending.entry.size) ledger.amend(known, { size: pending.entry.size });
    ledger.recognise(pending, known);
    return true;
  }
  return pending.task === 'new' && (await isStray(attempt, message, strays.get(fingerprint) ?? []));
}

/** The server gave all messages new UIDLs: a record is taken over, once, if its copy is this very message. */
async function isStray(attempt: Attempt, message: Item, candidates: readonly number[]): Promise<boolean> {
  const { ledger, target, signal, epoch } = attempt;
  const { pending } = message;
  for (const index of candidates.filter((each) => ledger.unconsumed(each))) {
    const record = ledger.record(index);
    if (record.uid === null || record.epoch !== epoch) continue;
    const copy = await target.read(record.uid, signal);
    const forms = record.repair === null ? [asIs(message.bytes)] : formsOf(attempt, message);
    const equal = forms.some((form) => compareCopy(form, copy).kind === 'equal');
    const altered =
      record.altered && copy !== null && digestOfAltered(copy) === digestOfAltered(message.bytes);
    if (!equal && !altered) continue;
    ledger.amend(index, { uidlDigest: pending.uidlDigest, size: pending.entry.size });
    ledger.recognise(pending, index);
    return true;
  }
  return false;
}

function formsOf(attempt: Attempt, message: Item): Repaired[] {
  // What an earlier run could send does not depend on what this connection offers.
  return [asIs(message.bytes), ...repairsFor(message.bytes, attempt.options.repair, { literal8: true })];
}

/** Whether the destination holds it already: from before, or from an append that nobody wrote down. */
async function isPresent(attempt: Attempt, message: Item): Promise<boolean> {
  const match = await attempt.stock.copies.claim(message.bytes, () => formsOf(attempt, message));
  if (match !== null) settleFound(attempt, message, match);
  return match !== null;
}

/** A copy that was found, not made: present before this migration, or ours of an outcome that was unknown. */
export function settleFound(attempt: Attempt, message: Item, match: Match): void {
  const { ledger, options, epoch } = attempt;
  const before =
    match.uid < (ledger.epochs[epoch]?.firstUidNext ?? 0) && options.deduplicate === 'destination';
  const altered = !match.exact;
  const index = attempt.settle(message.pending, message.fingerprint, message.bytes, {
    outcome: before ? 'alreadyPresent' : 'copied',
    uid: match.uid,
    verified: true,
    looselyMatched: altered,
    altered: altered && !before,
    repair: before ? null : match.repair,
  });
  if (match.exact) attempt.proven.add(index);
}

function isRefusedAtOnce(attempt: Attempt, message: Item): boolean {
  const { appendLimit } = attempt.target;
  const { length } = message.bytes;
  if (length === 0) attempt.settleFailed(message, refusal('message_empty', 'The message has 0 bytes.'));
  else if (appendLimit !== null && length > appendLimit)
    attempt.settleFailed(
      message,
      refusal('message_too_large', `The message has ${length} bytes, the destination takes ${appendLimit}.`),
    );
  else return false;
  return true;
}

function refusal(code: 'message_empty' | 'message_too_large', detail: string): BridgeError {
  return new BridgeError(code, { side: 'destination', detail });
}
