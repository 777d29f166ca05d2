import type { Attempt } from './attempt.ts';
import type { Item } from './item.ts';
import type { Intent, IntentMember } from './journal.ts';
import type { Pending } from './ledger.ts';
import type { ImapUid, SourceEntry } from './ports.ts';
import { itemOf, settleFound } from './receive.ts';
import { asIs, repairsFor } from './repair.ts';

interface Found {
  pending: Pending;
  position: number;
  uid: ImapUid;
}

interface Missing {
  pending: Pending;
  /** Empty until it was retrieved and seen to be the message that was sent. */
  fingerprint: string;
  mayBeAltered?: boolean;
}

/** What is known of one intent. */
interface Inquiry {
  intent: Intent;
  /** By position in the group. */
  members: Map<Pending, number>;
  found: Found[];
  missing: Missing[];
}

/**
 * Looks up what became of appends whose outcome is unknown, instead of repeating them blindly. Members that
 * arrived are settled and leave `pending`; the rest is believed absent and stays there.
 * @returns what is still pending, in the same order
 */
export async function resolveIntents(
  attempt: Attempt,
  pending: readonly Pending[],
  listing: readonly SourceEntry[],
): Promise<Pending[]> {
  const inquiries = inquiriesOf(attempt, pending);
  if (inquiries.length === 0) return [...pending];
  // A copy goes to its exact owner first, whichever intent that one is in.
  for (const inquiry of inquiries) await findMembers(attempt, inquiry, 'exact');
  for (const inquiry of inquiries) await findMembers(attempt, inquiry, 'altered');
  const settled = new Set<Pending>();
  const listed = new Set(listing.map(({ uidl }) => attempt.digests.uidl(uidl)));
  for (const inquiry of inquiries) {
    for (const each of conclude(attempt, inquiry)) settled.add(each);
    // A member that is not listed now may be so again: until then nobody knows what became of it.
    const isAccountedFor = ({ uidlDigest }: IntentMember) =>
      listed.has(uidlDigest) || attempt.ledger.recordsOf(uidlDigest).length > 0;
    if (inquiry.intent.members.every(isAccountedFor)) attempt.ledger.closeIntent(inquiry.intent.id);
  }
  await attempt.ledger.flush();
  attempt.assertGoesOn();
  return pending.filter((each) => !settled.has(each));
}

function inquiriesOf(attempt: Attempt, pending: readonly Pending[]): Inquiry[] {
  const taken = new Set<Pending>();
  return [...attempt.ledger.intents.values()].map((intent) => {
    const members = membersOf(intent, pending, taken);
    for (const each of members.keys()) taken.add(each);
    const missing = [...members.keys()].map((each) => ({ pending: each, fingerprint: '' }));
    return { intent, members, found: [], missing };
  });
}

/** @returns what is settled */
function conclude(attempt: Attempt, { intent, found, missing }: Inquiry): Pending[] {
  const settled = found.map(({ pending }) => pending);
  if (!intent.atomic || !isProven(attempt, intent, found)) return settled;
  for (const { pending, fingerprint } of missing) {
    // It arrived with its group, and somebody moved or expunged it since: never appended again.
    if (fingerprint === '') continue;
    attempt.settle(pending, fingerprint, null, { outcome: 'copied' });
    settled.push(pending);
  }
  return settled;
}

function membersOf(intent: Intent, pending: readonly Pending[], settled: Set<Pending>): Map<Pending, number> {
  const positions = new Map<string, number[]>();
  intent.members.forEach(({ uidlDigest }, position) => {
    positions.set(uidlDigest, [...(positions.get(uidlDigest) ?? []), position]);
  });
  const members = new Map<Pending, number>();
  for (const each of pending) {
    if (each.task === 'verify' || settled.has(each)) continue;
    const position = positions.get(each.uidlDigest)?.shift();
    if (position !== undefined) members.set(each, position);
  }
  return members;
}

/** Asks for the members that are still missing, and keeps those that stay so. */
async function findMembers(attempt: Attempt, inquiry: Inquiry, how: 'exact' | 'altered'): Promise<void> {
  const { copies } = attempt.stock;
  const asked = inquiry.missing.filter((each) => how === 'exact' || each.mayBeAltered === true);
  const byNumber = new Map(asked.map((each) => [each.pending.entry.number, each]));
  const entries = asked.map(({ pending }) => pending.entry);
  const found = new Set<Missing>();
  for await (const got of attempt.source.retrieve(entries, attempt.context.budget, attempt.stop)) {
    const asking = byNumber.get(got.entry.number);
    if (asking === undefined || got.kind === 'refused') continue;
    try {
      const item = itemOf(attempt, asking.pending, got);
      const position = inquiry.members.get(asking.pending) as number;
      const member = inquiry.intent.members[position] as IntentMember;
      // Under the same UIDL stands other mail now: not the message that was sent.
      if (item.fingerprint !== member.fingerprint) continue;
      const match =
        how === 'exact'
          ? await copies.claim(item.bytes, () => formsOf(attempt, item, member))
          : await copies.claimAltered(item.bytes);
      asking.fingerprint = item.fingerprint;
      if (match === null) asking.mayBeAltered = how === 'exact' && (await copies.hasAltered(item.bytes));
      else {
        settleFound(attempt, item, match);
        inquiry.found.push({ pending: asking.pending, position, uid: match.uid });
        found.add(asking);
      }
    } finally {
      got.release();
    }
  }
  attempt.assertGoesOn();
  inquiry.missing = inquiry.missing.filter((each) => !found.has(each));
}

function formsOf(attempt: Attempt, item: Item, member: IntentMember) {
  const rungs = repairsFor(item.bytes, attempt.options.repair, { literal8: true });
  const sent = rungs.find((form) => form.repair === member.repair) ?? asIs(item.bytes);
  const others = [asIs(item.bytes), ...rungs].filter((form) => form !== sent);
  return [sent, ...others] as const;
}

/**
 * MULTIAPPEND stores a group wholly or not at all, in order (RFC 3502), and was seen to give it UIDs without a
 * gap: so one member found proves the group, unless another message stands where a member should, or the folder
 * never had that many UIDs.
 */
function isProven(attempt: Attempt, intent: Intent, found: readonly Found[]): boolean {
  const first = found[0];
  if (first === undefined) return false;
  const base = first.uid - first.position;
  if (found.some(({ uid, position }) => uid - position !== base)) return false;
  if (base < intent.bound || base + intent.members.length > attempt.stock.uidNext) return false;
  return intent.members.every((_, position) => {
    const uid = (base + position) as ImapUid;
    const isFound = found.some((each) => each.position === position);
    return isFound || (!attempt.stock.copies.has(uid) && attempt.isUnknown(uid));
  });
}
