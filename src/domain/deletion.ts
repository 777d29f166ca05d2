import type { Attempt } from './attempt.ts';
import { BridgeError } from './errors.ts';
import type { KeyedDigests } from './fingerprint.ts';
import { rowOf } from './item.ts';
import type { Ledger } from './ledger.ts';
import type { ImapUid, SourceEntry } from './ports.ts';
import { formSent } from './repair.ts';
import { compareCopy } from './verifier.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

/** A listed message, and the record that says where its copy is. */
interface Due {
  entry: SourceEntry;
  index: number;
}

/** What a run remembers of its deletions from one session to the next. */
export class Deletions {
  /** UIDL digests that this run need not look at again. */
  readonly tried = new Set<string>();
  /** Records marked in a session whose QUIT was not answered: the next listing tells whether they are gone. */
  readonly unconfirmed = new Set<number>();
}

/**
 * Deletes from the source what was moved, is old enough, and whose copy was proven in this run. Ends the source
 * session: DELE takes effect with QUIT (RFC 1939 section 6), and only its +OK is recorded.
 * @param most how many messages one session may delete
 * @returns how many were looked at; fewer than `most`: there are no more
 * @throws BridgeError connection_lost when QUIT was not answered: nothing was deleted, or all of it unseen
 */
export async function deleteMoved(
  attempt: Attempt,
  listing: readonly SourceEntry[],
  deletions: Deletions,
  most: number,
): Promise<number> {
  const candidates = movedMessages(attempt, listing, deletions.tried).slice(0, most);
  const due = await oldEnough(attempt, candidates);
  await prove(attempt, due);
  const agreed = await headersAgree(
    attempt,
    due.filter(({ index }) => attempt.proven.has(index)),
  );
  attempt.assertGoesOn();
  const entries = agreed.map(({ entry }) => entry);
  const refused = await attempt.source.delete(entries, attempt.signal);
  attempt.journal.assertHeld();
  const confirmed = await attempt.source.quit();
  for (const { entry, index } of agreed) {
    const refusal = refused.get(entry.number);
    if (refusal !== undefined) keep(attempt, { entry, index }, refusal.code, refusal.detail);
    else if (confirmed) attempt.ledger.amend(index, { deleted: true });
    else deletions.unconfirmed.add(index);
  }
  await attempt.ledger.flush();
  if (!confirmed) throw quitUnanswered();
  for (const { entry } of candidates) deletions.tried.add(attempt.digests.uidl(entry.uidl));
  return candidates.length;
}

/** What was marked in a session whose QUIT was not answered, and is not listed any more, was deleted. */
export function confirmByListing(
  ledger: Ledger,
  digests: KeyedDigests,
  listing: readonly SourceEntry[],
  { unconfirmed }: Deletions,
): void {
  if (unconfirmed.size === 0) return;
  const listed = new Set(listing.map(({ uidl }) => digests.uidl(uidl)));
  for (const index of unconfirmed)
    if (!listed.has(ledger.record(index).uidlDigest)) ledger.amend(index, { deleted: true });
  unconfirmed.clear();
}

function quitUnanswered(): BridgeError {
  const detail = 'QUIT was not answered with +OK, so it is not known yet what was deleted';
  return new BridgeError('connection_lost', { side: 'source', detail });
}

/** What is settled by a copy in this folder, as far as the journal and the listing tell. */
function movedMessages(attempt: Attempt, listing: readonly SourceEntry[], tried: ReadonlySet<string>): Due[] {
  const { ledger, epoch, digests } = attempt;
  return listing.flatMap((entry) => {
    const digest = digests.uidl(entry.uidl);
    if (tried.has(digest)) return [];
    return ledger
      .recordsOf(digest)
      .filter((index) => {
        const { outcome, altered, looselyMatched, deleted, uid, size, epoch: held } = ledger.record(index);
        const moved = outcome === 'copied' || outcome === 'alreadyPresent';
        const sound = !altered && !looselyMatched && !deleted;
        return moved && sound && uid !== null && held === epoch && size === entry.size;
      })
      .map((index) => ({ entry, index }));
  });
}

/** The copy still exists, and its internal date is far enough back. */
async function oldEnough(attempt: Attempt, candidates: readonly Due[]): Promise<Due[]> {
  const { sourceDeletion } = attempt.options;
  if (sourceDeletion.policy !== 'delete' || candidates.length === 0) return [];
  const { minAgeDays } = sourceDeletion;
  const latest = attempt.context.clock.now().getTime() - minAgeDays * DAY_MS;
  const uids = candidates.map(({ index }) => attempt.ledger.record(index).uid as ImapUid);
  const dates = await attempt.target.internalDates(uids, attempt.signal);
  return candidates.filter((due, at) => {
    const date = dates.get(uids[at] as ImapUid);
    if (date === undefined) copyGone(attempt, due);
    // Without a least age a date in the future, of a sender's wrong clock, keeps nothing.
    return date !== undefined && (minAgeDays === 0 || date.getTime() <= latest);
  });
}

/** What was settled by an earlier run is read from both sides again: a digest counts only in the run that saw it. */
async function prove(attempt: Attempt, due: readonly Due[]): Promise<void> {
  const open = due.filter(({ index }) => !attempt.proven.has(index));
  const byNumber = Map.groupBy(open, ({ entry }) => entry.number);
  const entries = [...byNumber.values()].map(([first]) => (first as Due).entry);
  for await (const got of attempt.source.retrieve(entries, attempt.context.budget, attempt.stop)) {
    if (got.kind === 'refused') continue;
    try {
      for (const each of byNumber.get(got.entry.number) ?? []) await proveOne(attempt, each, got.bytes);
    } finally {
      got.release();
    }
  }
}

async function proveOne(attempt: Attempt, due: Due, message: Buffer): Promise<void> {
  const record = attempt.ledger.record(due.index);
  if (record.fingerprint !== attempt.digests.fingerprint(message)) return;
  const copy = await attempt.target.read(record.uid as ImapUid, attempt.signal);
  const result = compareCopy(formSent(message, record.repair), copy);
  if (result.kind === 'equal') attempt.proven.add(due.index);
  else if (result.kind === 'gone') copyGone(attempt, due);
  else {
    attempt.ledger.amend(due.index, { altered: true });
    keep(attempt, due, 'altered', result.settlement.reason?.detail ?? '');
  }
}

/** In the very session that deletes, the message must have the header that the journal knows. */
async function headersAgree(attempt: Attempt, due: readonly Due[]): Promise<Due[]> {
  const byNumber = Map.groupBy(due, ({ entry }) => entry.number);
  const entries = [...byNumber.values()].map(([first]) => (first as Due).entry);
  const agreed: Due[] = [];
  for await (const got of attempt.source.headers(entries, attempt.context.budget, attempt.stop)) {
    if (got.kind === 'refused') continue;
    const fingerprint = attempt.digests.fingerprint(got.header);
    const records = byNumber.get(got.entry.number) ?? [];
    // Several messages may share a UIDL; each has the record of its own header.
    const own = records.find(
      ({ index }) =>
        attempt.ledger.record(index).fingerprint === fingerprint &&
        !agreed.some((each) => each.index === index),
    );
    if (own !== undefined) agreed.push(own);
  }
  return agreed;
}

function copyGone(attempt: Attempt, due: Due): void {
  const { uid } = attempt.ledger.record(due.index);
  attempt.ledger.amend(due.index, { uid: null, epoch: null });
  keep(attempt, due, 'copy_gone', `The copy, UID ${uid}, is not in the destination any more.`);
}

/** The message stays at the source, and the report says why. */
function keep(attempt: Attempt, { entry, index }: Due, code: string, detail: string): void {
  const record = attempt.ledger.record(index);
  attempt.ledger.amend(index, {}, rowOf(entry.uidl, record, attempt.target.folder.path, { code, detail }));
}
