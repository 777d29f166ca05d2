import type { KeyedDigests } from './fingerprint.ts';
import { sha256 } from './fingerprint.ts';
import { headerBlock, topmostFields } from './header.ts';
import type { JournalRecord } from './journal.ts';
import type { Pending } from './ledger.ts';
import type { MessageDetail, MigrationOptions, Outcome, Repair } from './migration.ts';
import { type Placement, placement } from './placement.ts';
import type { ImapUid, Outgoing } from './ports.ts';
import type { Repaired } from './repair.ts';

/** A retrieved message on its way to being settled. */
export interface Item {
  pending: Pending;
  /** As POP3 delivered it. */
  bytes: Buffer;
  fingerprint: string;
  placement: Placement;
  /** Gives its bytes back to the budget. */
  release: () => void;
}

export function item(
  pending: Pending,
  bytes: Buffer,
  release: () => void,
  context: { digests: KeyedDigests; options: MigrationOptions; now: Date },
): Item {
  return {
    pending,
    bytes,
    fingerprint: context.digests.fingerprint(bytes),
    placement: placement(bytes, context.options, context.now),
    release,
  };
}

export function outgoing(item: Item, form: Repaired): Outgoing {
  return {
    bytes: form.bytes,
    literal8: form.literal8,
    flags: item.placement.flags,
    internalDate: item.placement.internalDate,
  };
}

/** How a message was settled; whatever is not given is as for a plain, unverified copy. */
export interface Settlement {
  outcome: Outcome;
  uid?: ImapUid | null;
  verified?: boolean;
  altered?: boolean;
  looselyMatched?: boolean;
  repair?: Repair;
  reason?: { code: string; detail: string };
}

export function recordOf(
  pending: Pending,
  fingerprint: string,
  epoch: number | null,
  settlement: Settlement,
): JournalRecord {
  const uid = settlement.uid ?? null;
  return {
    uidlDigest: pending.uidlDigest,
    fingerprint,
    size: pending.entry.size,
    uid,
    epoch: uid === null ? null : epoch,
    outcome: settlement.outcome,
    verified: settlement.verified ?? false,
    altered: settlement.altered ?? false,
    deleted: false,
    looselyMatched: settlement.looselyMatched ?? false,
    repair: settlement.repair ?? null,
  };
}

/** Whether people need to see this one, manifest or not. */
export function isException(settlement: Settlement): boolean {
  const { outcome, altered = false, repair = null, reason } = settlement;
  return outcome === 'failed' || outcome === 'skipped' || altered || repair !== null || reason !== undefined;
}

const NAMES = ['subject', 'from', 'date', 'message-id'] as const;
const MAX_HEADER = 500;

/** The readable row of a message. Headers are kept for exceptions only, and only where that is allowed. */
export function detailOf(
  pending: Pending,
  bytes: Buffer | null,
  settlement: Settlement,
  context: { folder: string; recordHeaders: boolean },
): MessageDetail {
  const keep = context.recordHeaders && bytes !== null && isException(settlement);
  const fields = keep ? topmostFields(headerBlock(bytes), NAMES) : new Map<string, string>();
  const field = (name: (typeof NAMES)[number]) => readable(fields.get(name));
  return {
    uidl: pending.entry.uidl,
    size: pending.entry.size,
    outcome: settlement.outcome,
    altered: settlement.altered ?? false,
    reason: settlement.reason ?? null,
    repair: settlement.repair ?? null,
    folder: settlement.outcome === 'failed' ? null : context.folder,
    uid: settlement.uid ?? null,
    sha256: bytes === null ? null : sha256(bytes),
    subject: field('subject'),
    from: field('from'),
    date: field('date'),
    messageId: field('message-id'),
  };
}

/** The readable row of a message of which only its record is at hand. */
export function rowOf(
  uidl: string,
  record: JournalRecord,
  folder: string,
  reason: { code: string; detail: string },
): MessageDetail {
  const { size, outcome, altered, repair, uid } = record;
  const unknown = { sha256: null, subject: null, from: null, date: null, messageId: null };
  return { uidl, size, outcome, altered, reason, repair, folder, uid, ...unknown };
}

// RFC 6532 mail has UTF-8 in headers; what is not UTF-8 is shown as Latin-1. Control characters are not shown.
function readable(latin1: string | undefined): string | null {
  if (latin1 === undefined) return null;
  const utf8 = Buffer.from(latin1, 'latin1').toString('utf8');
  const text = utf8.includes('\ufffd') ? latin1 : utf8;
  return text.replace(/\p{Cc}/gu, ' ').slice(0, MAX_HEADER);
}
