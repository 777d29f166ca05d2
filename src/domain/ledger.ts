import type { KeyedDigests } from './fingerprint.ts';
import {
  type Commit,
  decodeRecord,
  type Epoch,
  encodeRecord,
  type Intent,
  type JournalRecord,
  type JournalSnapshot,
  RECORD_BYTES,
} from './journal.ts';
import type { MessageDetail, Outcome, Progress } from './migration.ts';
import type { ImapUid, RunJournal, SourceEntry } from './ports.ts';
import type { RateMeter } from './rate.ts';

/** What is to be done with one message of the listing. */
export interface Pending {
  entry: SourceEntry;
  uidlDigest: string;
  /**
   * `new`: nothing is known of it. `retry`: its record says failed, and a retry was asked for. `verify`: copied,
   * but the run died before it was verified. `compare`: its UIDL is known, but not enough to believe it: another
   * size, or a UIDL that occurs twice; settled only if the fingerprint agrees with one of `records`.
   */
  task: 'new' | 'retry' | 'verify' | 'compare';
  /** Indexes of the records concerned, empty for `new`. */
  records: number[];
}

/**
 * The journal of a migration in memory, with what waits to be written. Its counters are those of its records by
 * construction, so what the API shows always adds up.
 */
export class Ledger {
  readonly #journal: RunJournal;
  readonly #digests: KeyedDigests;
  readonly #rate: RateMeter;
  #records: Buffer;
  #length: number;
  #committed: number;
  readonly #byUidl = new Map<string, number[]>();
  readonly #uids = new Map<number, Map<ImapUid, number>>();
  readonly epochs: Epoch[];
  readonly intents = new Map<string, Intent>();
  readonly #consumed = new Set<number>();
  /** Failures that this run has tried again: not once more in its next session. */
  readonly #retried = new Set<number>();
  /** How many messages of a UIDL this run has looked at, of those whose UIDL alone is not believed. */
  readonly #compared = new Map<string, number>();
  #counts = noCounts();
  #settledBytes = 0;
  #remaining: { messages: number; bytes: number } | null = null;
  #waiting: WaitingWrites = noWrites();
  #writing: Promise<void> = Promise.resolve();

  constructor(journal: RunJournal, digests: KeyedDigests, rate: RateMeter) {
    const snapshot: JournalSnapshot = journal.snapshot;
    this.#journal = journal;
    this.#digests = digests;
    this.#rate = rate;
    this.#records = snapshot.records;
    this.#length = snapshot.records.length / RECORD_BYTES;
    this.#committed = this.#length;
    this.epochs = snapshot.epochs.map((epoch) => ({ ...epoch }));
    for (const intent of snapshot.intents) this.intents.set(intent.id, intent);
    for (let index = 0; index < this.#length; index++) this.#index(index, this.record(index));
  }

  get length(): number {
    return this.#length;
  }

  /** Records that no flush has taken yet. */
  get unwritten(): number {
    return this.#length - this.#committed;
  }

  record(index: number): JournalRecord {
    return decodeRecord(this.#records, index);
  }

  /** Indexes of the records of a UIDL; several where messages share one. */
  recordsOf(uidlDigest: string): readonly number[] {
    return this.#byUidl.get(uidlDigest) ?? [];
  }

  /** The record whose copy has this UID in this epoch. */
  holder(epoch: number, uid: ImapUid): number | undefined {
    return this.#uids.get(epoch)?.get(uid);
  }

  /** Settled, with a copy, and not yet consumed by a message of this listing. */
  unconsumed(index: number): boolean {
    return !this.#consumed.has(index);
  }

  consume(index: number): void {
    this.#consumed.add(index);
  }

  /** Compares a listing with the journal: what is to be done, in the order of the source. */
  plan(listing: readonly SourceEntry[], epoch: number): Pending[] {
    this.#consumed.clear();
    this.#recount();
    const digests = listing.map((entry) => this.#digests.uidl(entry.uidl));
    const seen = new Map<string, number>();
    for (const digest of digests) seen.set(digest, (seen.get(digest) ?? 0) + 1);
    const pending: Pending[] = [];
    let bytes = 0;
    listing.forEach((entry, at) => {
      const uidlDigest = digests[at] as string;
      const task = this.#task(entry, uidlDigest, seen.get(uidlDigest) ?? 1, epoch);
      if (task === null) return;
      pending.push({ entry, uidlDigest, ...task });
      if (task.task !== 'verify') bytes += entry.size;
    });
    const messages = pending.filter((each) => each.task !== 'verify').length;
    this.#remaining = { messages, bytes };
    return pending;
  }

  #task(
    entry: SourceEntry,
    digest: string,
    listed: number,
    epoch: number,
  ): Pick<Pending, 'task' | 'records'> | null {
    const records = this.#byUidl.get(digest) ?? [];
    const only = records[0];
    if (only === undefined) return { task: 'new', records: [] };
    const record = this.record(only);
    // RFC 1939 section 7 forbids a UIDL to be used again only while its message exists.
    if (listed > 1 || records.length > 1 || record.size !== entry.size || record.deleted)
      return (this.#compared.get(digest) ?? 0) >= listed ? null : { task: 'compare', records };
    this.#consumed.add(only);
    if (record.outcome === 'failed') {
      if (!this.#journal.snapshot.retryFailed || this.#retried.has(only)) return null;
      this.#uncount(record);
      return { task: 'retry', records };
    }
    const unverified = record.outcome === 'copied' && !record.verified && record.uid !== null;
    return unverified && record.epoch === epoch ? { task: 'verify', records } : null;
  }

  /**
   * When most UIDLs of a listing are new though the journal is not empty, the server may have given all messages
   * new ones: the records whose own UIDL is gone, by fingerprint. Empty where nothing looks like that.
   */
  drifted(pending: readonly Pending[], listed: number): Map<string, number[]> {
    const strays = new Map<string, number[]>();
    const isNew = pending.filter((each) => each.task === 'new').length;
    const gone: number[] = [];
    for (let index = 0; index < this.#length; index++) {
      const { outcome, deleted } = this.record(index);
      if (!this.#consumed.has(index) && !deleted && outcome !== 'failed') gone.push(index);
    }
    // A run that was cut short in the middle of it leaves few new ones, and about as many records without a message.
    if (isNew * 2 <= listed && gone.length * 2 < isNew) return strays;
    for (const index of gone) {
      const { fingerprint } = this.record(index);
      strays.set(fingerprint, [...(strays.get(fingerprint) ?? []), index]);
    }
    return strays;
  }

  /** A pending message is settled after all, by a record that exists. */
  recognise({ entry, uidlDigest }: Pending, index: number): void {
    this.#consumed.add(index);
    this.#noteCompared(uidlDigest);
    this.#leaveRemaining(entry.size);
  }

  /** Settles a pending message; answers the index of its record. Written with the next flush. */
  settle(pending: Pending, record: JournalRecord, detail: MessageDetail | null): number {
    const retried = pending.task === 'retry' ? pending.records[0] : undefined;
    const index = retried ?? this.#length;
    this.#leaveRemaining(pending.entry.size);
    if (retried === undefined) this.#push(record);
    else this.#overwrite(index, record);
    this.#index(index, record);
    this.#consumed.add(index);
    if (pending.task === 'compare') this.#noteCompared(pending.uidlDigest);
    if (retried !== undefined) this.#retried.add(retried);
    if (retried !== undefined) this.#waiting.updates.set(index, record);
    if (detail !== null) this.#waiting.details.set(index, detail);
    else if (retried !== undefined) this.#waiting.dropDetails.add(index);
    return index;
  }

  /** Changes a record in place: its verification, its UID, its epoch, its UIDL. */
  amend(index: number, change: Partial<JournalRecord>, detail: MessageDetail | null = null): void {
    const before = this.record(index);
    const after = { ...before, ...change };
    this.#uncount(before);
    this.#unindex(index, before);
    this.#overwrite(index, after);
    this.#index(index, after);
    if (index < this.#committed) this.#waiting.updates.set(index, after);
    if (detail !== null) this.#waiting.details.set(index, detail);
  }

  /** A new or changed epoch is written with the next flush. */
  touchEpoch(index: number): void {
    this.#waiting.epochs.add(index);
  }

  openIntent(intent: Intent): void {
    this.intents.set(intent.id, intent);
    this.#waiting.open.push(intent);
  }

  closeIntent(id: string): void {
    this.intents.delete(id);
    this.#waiting.close.push(id);
  }

  /**
   * Writes all that waits, in one commit. Commits keep their order, and what is flushed while one is under way
   * goes with the next.
   * @throws BridgeError lease_lost, store_unavailable
   */
  flush(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write(false));
    return this.#writing;
  }

  /** Like flush, and writes the progress even where nothing else waits. */
  flushProgress(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write(true));
    return this.#writing;
  }

  async #write(always: boolean): Promise<void> {
    const writes = this.#waiting;
    if (!always && this.#committed === this.#length && isEmpty(writes)) return;
    this.#waiting = noWrites();
    const append: JournalRecord[] = [];
    for (let index = this.#committed; index < this.#length; index++) append.push(this.record(index));
    const commit: Commit = {
      append,
      recordsBefore: this.#committed,
      update: [...writes.updates].map(([index, record]) => ({ index, record })),
      closeIntents: writes.close,
      openIntents: writes.open,
      epochs: [...writes.epochs].map((index) => ({ index, epoch: { ...(this.epochs[index] as Epoch) } })),
      details: [...writes.details].map(([index, detail]) => ({ index, detail })),
      dropDetails: [...writes.dropDetails],
      progress: this.progress(),
    };
    this.#committed = this.#length;
    await this.#journal.commit(commit);
  }

  progress(): Progress {
    const { copied, alreadyPresent, skipped, failed, altered, repaired, deleted } = this.#counts;
    const settled = copied + alreadyPresent + skipped + failed;
    const rate = this.#rate.sample(settled, this.#settledBytes);
    const remaining = this.#remaining;
    const total = remaining === null ? null : settled + remaining.messages;
    const eta = remaining !== null && rate !== null && rate.bytesPerSecond > 0;
    return {
      messages: {
        total,
        copied,
        alreadyPresent,
        skipped,
        failed,
        remaining: remaining?.messages ?? null,
        altered,
        repaired,
        deletedFromSource: deleted,
      },
      bytes: {
        total: remaining === null ? null : this.#settledBytes + remaining.bytes,
        settled: this.#settledBytes,
      },
      messagesPerSecond: rate?.messagesPerSecond ?? null,
      bytesPerSecond: rate?.bytesPerSecond ?? null,
      etaSeconds: eta ? Math.ceil(remaining.bytes / rate.bytesPerSecond) : null,
    };
  }

  counts(): Record<Outcome, number> & { bytes: number } {
    const { copied, alreadyPresent, skipped, failed } = this.#counts;
    return { copied, alreadyPresent, skipped, failed, bytes: this.#settledBytes };
  }

  #noteCompared(uidlDigest: string): void {
    this.#compared.set(uidlDigest, (this.#compared.get(uidlDigest) ?? 0) + 1);
  }

  #push(record: JournalRecord): void {
    if ((this.#length + 1) * RECORD_BYTES > this.#records.length) {
      const grown = Buffer.alloc(Math.max(this.#records.length * 2, 128 * RECORD_BYTES));
      this.#records.copy(grown);
      this.#records = grown;
    }
    this.#overwrite(this.#length, record);
    this.#length += 1;
  }

  #overwrite(index: number, record: JournalRecord): void {
    encodeRecord(record).copy(this.#records, index * RECORD_BYTES);
  }

  #index(index: number, record: JournalRecord): void {
    const same = this.#byUidl.get(record.uidlDigest);
    if (same === undefined) this.#byUidl.set(record.uidlDigest, [index]);
    else if (!same.includes(index)) same.push(index);
    if (record.uid !== null && record.epoch !== null) {
      const uids = this.#uids.get(record.epoch) ?? new Map<ImapUid, number>();
      this.#uids.set(record.epoch, uids.set(record.uid, index));
    }
    this.#count(record, 1);
  }

  #unindex(index: number, record: JournalRecord): void {
    const same = this.#byUidl.get(record.uidlDigest)?.filter((each) => each !== index) ?? [];
    if (same.length === 0) this.#byUidl.delete(record.uidlDigest);
    else this.#byUidl.set(record.uidlDigest, same);
    if (record.uid !== null && record.epoch !== null) this.#uids.get(record.epoch)?.delete(record.uid);
  }

  #recount(): void {
    this.#counts = noCounts();
    this.#settledBytes = 0;
    for (let index = 0; index < this.#length; index++) this.#count(this.record(index), 1);
  }

  #uncount(record: JournalRecord): void {
    this.#count(record, -1);
  }

  #count(record: JournalRecord, sign: 1 | -1): void {
    this.#counts[record.outcome] += sign;
    if (record.altered) this.#counts.altered += sign;
    if (record.repair !== null) this.#counts.repaired += sign;
    if (record.deleted) this.#counts.deleted += sign;
    this.#settledBytes += sign * record.size;
  }

  #leaveRemaining(size: number): void {
    if (this.#remaining === null) return;
    this.#remaining.messages -= 1;
    this.#remaining.bytes -= size;
  }
}

interface WaitingWrites {
  updates: Map<number, JournalRecord>;
  details: Map<number, MessageDetail>;
  dropDetails: Set<number>;
  epochs: Set<number>;
  open: Intent[];
  close: string[];
}

function isEmpty(writes: WaitingWrites): boolean {
  const { updates, details, dropDetails, epochs, open, close } = writes;
  return updates.size + details.size + dropDetails.size + epochs.size + open.length + close.length === 0;
}

function noCounts() {
  return { copied: 0, alreadyPresent: 0, skipped: 0, failed: 0, altered: 0, repaired: 0, deleted: 0 };
}

function noWrites(): WaitingWrites {
  return {
    updates: new Map(),
    details: new Map(),
    dropDetails: new Set(),
    epochs: new Set(),
    open: [],
    close: [],
  };
}
