import type { Attempt } from './attempt.ts';
import { nomination, sha256 } from './fingerprint.ts';
import { rowOf } from './item.ts';
import type { FoundCopy, ImapUid, SourceEntry } from './ports.ts';

/**
 * Octets of a connection that is gone can land later than anybody waits. A run that believed something absent
 * looks again at its end, and names each copy that turned up beside the one that it made.
 */
export async function reportTwins(attempt: Attempt, listing: readonly SourceEntry[]): Promise<void> {
  const { target, stock, signal, epoch, ledger } = attempt;
  const ours = new Map<string, FoundCopy[]>();
  const others: FoundCopy[] = [];
  for (const found of await target.scan(stock.floor, null, signal)) {
    const key = nomination(found.header);
    if (attempt.isUnknown(found.uid)) others.push(found);
    else ours.set(key, [...(ours.get(key) ?? []), found]);
  }
  for (const late of others) {
    attempt.assertGoesOn();
    if (!ours.has(nomination(late.header))) continue;
    const digest = await digestOf(attempt, late);
    for (const copy of ours.get(nomination(late.header)) ?? []) {
      if (digest === null || digest !== (await digestOf(attempt, copy))) continue;
      const index = ledger.holder(epoch, copy.uid);
      if (index !== undefined) report(attempt, listing, index, late.uid);
      break;
    }
  }
}

async function digestOf({ target, signal }: Attempt, { uid }: FoundCopy): Promise<string | null> {
  const bytes = await target.read(uid, signal);
  return bytes === null ? null : sha256(bytes);
}

function report(attempt: Attempt, listing: readonly SourceEntry[], index: number, twin: ImapUid): void {
  const { ledger, target, digests, context } = attempt;
  const record = ledger.record(index);
  const entry = listing.find(({ uidl }) => digests.uidl(uidl) === record.uidlDigest);
  const detail = `The destination holds it twice: as UID ${record.uid} and, arrived late, as UID ${twin}.`;
  context.log.warn({ uid: record.uid, twin }, 'a late copy turned up');
  ledger.amend(
    index,
    {},
    rowOf(entry?.uidl ?? '', record, target.folder.path, { code: 'duplicate', detail }),
  );
}
