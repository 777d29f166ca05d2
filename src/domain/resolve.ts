import type { Attempt } from './attempt.ts';
import type { Item } from './item.ts';
import type { Intent, IntentMember } from './journal.ts';
import type { Pending } from './ledger.ts';
import type { ImapUid } from './ports.ts';
import { itemOf, settleFound } from './receive.ts';
import { asIs, repairsFor } from './repair.ts';

interface Found {
  pending: Pending;
  position: number;
  uid: ImapUid;
}

interface Missing {
  pending: Pending;
  fingerprint: string;
}

/**
 * Looks up what became of appends whose outcome is unknown, instead of repeating them blindly. Members that
 * arrived are settled and leave `pending`; the rest is believed absent and stays there.
 * @returns what is still pending, in the same order
 */
export async function resolveIntents(attempt: Attempt, pending: readonly Pending[]): Promise<Pending[]> {
  const settled = new Set<Pending>();
  for (const intent of [...attempt.ledger.intents.values()]) {
    const members = membersOf(intent, pending, settled);
    const { found, missing } = await findMembers(attempt, intent, members);
    for (const { pending } of found) settled.add(pending);
    if (intent.atomic && isProven(attempt, intent, found))
      for (const { pending, fingerprint } of missing) {
        // It arrived with its group, and somebody moved or expunged it since: never appended again.
        attempt.settle(pending, fingerprint, null, { outcome: 'copied' });
        settled.add(pending);
      }
    attempt.ledger.closeIntent(intent.id);
    await attempt.ledger.flush();
    attempt.assertGoesOn();
  }
  return pending.filter((each) => !settled.has(each));
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

async function findMembers(
  attempt: Attempt,
  intent: Intent,
  members: Map<Pending, number>,
): Promise<{ found: Found[]; missing: Missing[] }> {
  const found: Found[] = [];
  const missing: Missing[] = [];
  const byNumber = new Map([...members.keys()].map((each) => [each.entry.number, each]));
  const entries = [...members.keys()].map((each) => each.entry);
  for await (const got of attempt.source.retrieve(entries, attempt.context.budget, attempt.stop)) {
    const pending = byNumber.get(got.entry.number);
    if (pending === undefined || got.kind === 'refused') continue;
    try {
      const item = itemOf(attempt, pending, got);
      const position = members.get(pending) as number;
      const member = intent.members[position] as IntentMember;
      // Under the same UIDL stands other mail now: not the message that was sent.
      if (item.fingerprint !== member.fingerprint) continue;
      const match = await attempt.stock.copies.claim(item.bytes, () => formsOf(attempt, item, member));
      if (match === null) missing.push({ pending, fingerprint: item.fingerprint });
      else {
        settleFound(attempt, item, match);
        found.push({ pending, position, uid: match.uid });
      }
    } finally {
      got.release();
    }
  }
  attempt.assertGoesOn();
  return { found, missing };
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
