import type { MessageDetail, Outcome, Progress, Repair } from './migration.ts';
import type { ImapUid } from './ports.ts';

/** Version of the record layout and of the intent's encoding, kept beside the journal. */
export const JOURNAL_VERSION = 1;

/** Bytes of one record. */
export const RECORD_BYTES = 32;

/**
 * One settled message. On disk, 32 bytes, big-endian:
 *
 *     0  12  keyed digest of the UIDL
 *    12   8  keyed digest of the raw header block
 *    20   4  LIST size, bytes
 *    24   4  UID in the destination, 0 where unknown
 *    28   1  epoch index (255: none)
 *    29   1  outcome
 *    30   1  flags
 *    31   1  repair rung
 */
export interface JournalRecord {
  /** 24 hex digits. */
  uidlDigest: string;
  /** 16 hex digits. */
  fingerprint: string;
  size: number;
  uid: ImapUid | null;
  epoch: number | null;
  outcome: Outcome;
  verified: boolean;
  altered: boolean;
  deleted: boolean;
  looselyMatched: boolean;
  repair: Repair;
}

const OUTCOMES: readonly Outcome[] = ['copied', 'alreadyPresent', 'skipped', 'failed'];
const REPAIRS: readonly Repair[] = [null, 'literal8', 'lineEndings'];
const NO_EPOCH = 255;
const FLAG = { verified: 1, altered: 2, deleted: 4, looselyMatched: 8 } as const;

export function encodeRecord(record: JournalRecord): Buffer {
  const out = Buffer.alloc(RECORD_BYTES);
  out.write(record.uidlDigest, 0, 12, 'hex');
  out.write(record.fingerprint, 12, 8, 'hex');
  out.writeUInt32BE(Math.min(record.size, 0xffffffff), 20);
  out.writeUInt32BE(record.uid ?? 0, 24);
  out[28] = record.epoch ?? NO_EPOCH;
  out[29] = OUTCOMES.indexOf(record.outcome) + 1;
  out[30] =
    (record.verified ? FLAG.verified : 0) |
    (record.altered ? FLAG.altered : 0) |
    (record.deleted ? FLAG.deleted : 0) |
    (record.looselyMatched ? FLAG.looselyMatched : 0);
  out[31] = REPAIRS.indexOf(record.repair);
  return out;
}

export function decodeRecord(journal: Buffer, index: number): JournalRecord {
  const at = journal.subarray(index * RECORD_BYTES, (index + 1) * RECORD_BYTES);
  const outcome = OUTCOMES[at.readUInt8(29) - 1];
  const repair = REPAIRS[at.readUInt8(31)];
  if (outcome === undefined || repair === undefined)
    throw new RangeError(`journal record ${index} is of a newer version or damaged`);
  const flags = at.readUInt8(30);
  const epoch = at.readUInt8(28);
  return {
    uidlDigest: at.toString('hex', 0, 12),
    fingerprint: at.toString('hex', 12, 20),
    size: at.readUInt32BE(20),
    uid: (at.readUInt32BE(24) || null) as ImapUid | null,
    epoch: epoch === NO_EPOCH ? null : epoch,
    outcome,
    verified: (flags & FLAG.verified) !== 0,
    altered: (flags & FLAG.altered) !== 0,
    deleted: (flags & FLAG.deleted) !== 0,
    looselyMatched: (flags & FLAG.looselyMatched) !== 0,
    repair,
  };
}

/** A destination folder under one UIDVALIDITY. Its index in the list is what records hold. */
export interface Epoch {
  path: string;
  uidValidity: number;
  /** UIDNEXT when this migration first saw it: what lies below was there before us. */
  firstUidNext: number;
  /** A UID below which no later append of ours can land; null until the first commit. */
  mark: number | null;
}

export interface IntentMember {
  uidlDigest: string;
  /** Keyed digest of the header block of the bytes to be sent, 16 hex digits. */
  fingerprint: string;
  repair: Repair;
}

/** "I am about to append these messages to this folder, whose UIDNEXT is at least `bound`." */
export interface Intent {
  /** Unique within the migration: `runId/n`. */
  id: string;
  epoch: number;
  bound: number;
  /** One MULTIAPPEND command: one member found proves all. */
  atomic: boolean;
  members: IntentMember[];
}

/** What a run finds when it claims the migration. */
export interface JournalSnapshot {
  records: Buffer;
  epochs: Epoch[];
  intents: Intent[];
  /** The last run ended in order, on this very Redis process: nothing can be under way. */
  cleanEnd: boolean;
  /** The source was gone through to its end once. */
  passComplete: boolean;
  /** `retry` asked to try what failed again; stays until a pass is complete. */
  retryFailed: boolean;
  /** Secret key for the digests, per migration. */
  digestKey: Buffer;
}

/** One atomic write. Whatever it does not name stays. */
export interface Commit {
  append?: readonly JournalRecord[];
  update?: readonly { index: number; record: JournalRecord }[];
  /** Where `append` starts, as a check: the number of records before. */
  recordsBefore?: number;
  closeIntents?: readonly string[];
  openIntents?: readonly Intent[];
  /** New or changed epochs, by index. */
  epochs?: readonly { index: number; epoch: Epoch }[];
  /** By index of the record. */
  details?: readonly { index: number; detail: MessageDetail }[];
  /** Details that no longer apply (a retried failure that was copied), by index of the record. */
  dropDetails?: readonly number[];
  progress?: Progress;
}
