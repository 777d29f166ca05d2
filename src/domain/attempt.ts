import type { Clock } from './clock.ts';
import { BridgeError } from './errors.ts';
import { type KeyedDigests, keyedDigests } from './fingerprint.ts';
import type { GroupLimits } from './intake.ts';
import { detailOf, type Item, isException, recordOf, type Settlement } from './item.ts';
import type { Ledger, Pending } from './ledger.ts';
import type { FolderChoice, MigrationOptions } from './migration.ts';
import type {
  ByteBudget,
  ImapUid,
  MailSource,
  MailTarget,
  RunJournal,
  SourceSession,
  TargetSession,
} from './ports.ts';
import { formSent, type Repaired } from './repair.ts';
import type { Stock } from './stock.ts';
import { type Copied, compareCopy, Verifier, type VerifyResult } from './verifier.ts';

export interface Log {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
}

/** All that a transfer needs; everything outside comes through ports. */
export interface TransferContext {
  source: MailSource;
  target: MailTarget;
  journal: RunJournal;
  folder: FolderChoice;
  options: MigrationOptions;
  budget: ByteBudget;
  /** How large an append group may become. */
  group: GroupLimits;
  clock: Clock;
  log: Log;
  /** How long octets of a connection that is gone may still take to land (DESIGN 4). */
  settleMs: number;
  /** Whether details of exceptions hold subject, sender and date. */
  recordHeaders: boolean;
  /** The worker shuts down: finish the group in hand and hand the job back. */
  shutdown: AbortSignal;
}

/** One try at a transfer, over one pair of sessions. Knows how a message is settled. */
export class Attempt {
  readonly context: TransferContext;
  readonly ledger: Ledger;
  readonly source: SourceSession;
  readonly target: TargetSession;
  readonly epoch: number;
  readonly stock: Stock;
  readonly digests: KeyedDigests;
  readonly verifier: Verifier;
  /** Aborted with the lease: everything ends at once. */
  readonly signal: AbortSignal;
  /** Pause, cancel, deletion or shutdown: the group in hand is finished, the rest is left. */
  readonly stop: AbortSignal;
  /** Records whose copy was read in this run and found equal. */
  readonly proven: Set<number>;
  /** One part failed: the others leave off, too. */
  readonly halt = new AbortController();

  constructor(parts: {
    context: TransferContext;
    ledger: Ledger;
    source: SourceSession;
    target: TargetSession;
    epoch: number;
    stock: Stock;
    proven: Set<number>;
  }) {
    this.context = parts.context;
    this.ledger = parts.ledger;
    this.source = parts.source;
    this.target = parts.target;
    this.epoch = parts.epoch;
    this.stock = parts.stock;
    this.proven = parts.proven;
    this.digests = keyedDigests(this.journal.snapshot.digestKey);
    this.signal = this.journal.lost;
    this.stop = AbortSignal.any([this.journal.stopRequested, parts.context.shutdown, this.journal.lost]);
    this.verifier = new Verifier({
      target: this.target,
      verify: this.options.verify,
      signal: this.signal,
      stop: this.stop,
      halt: () => this.halt.abort(),
      seen: (copied, result) => this.#verified(copied, result),
    });
  }

  get journal(): RunJournal {
    return this.context.journal;
  }

  get options(): MigrationOptions {
    return this.context.options;
  }

  /** Whether a message of the destination is none that the journal holds. */
  isUnknown(uid: ImapUid): boolean {
    return this.ledger.holder(this.epoch, uid) === undefined;
  }

  /** A tagged OK is final, whatever UID it names. @returns the index of the record */
  settleCopied(item: Item, form: Repaired, uid: ImapUid | null): number {
    const settlement: Settlement = { outcome: 'copied', uid, repair: form.repair };
    // Gmail drops an older similar message and answers with the UID that it has (DESIGN 4).
    if (uid !== null && !this.isUnknown(uid))
      settlement.reason = {
        code: 'mergedByDestination',
        detail: `The destination answered with UID ${uid}, which another message has already.`,
      };
    return this.settle(item.pending, item.fingerprint, item.bytes, settlement);
  }

  /** The message stays at the source, with the server's words for the report. */
  settleFailed(item: Item, error: BridgeError): void {
    this.failed(item.pending, item.fingerprint, item.bytes, error);
    item.release();
  }

  failed(pending: Pending, fingerprint: string, bytes: Buffer | null, error: BridgeError): void {
    const reason = { code: error.code, detail: error.detail === '' ? error.hint : error.detail };
    this.settle(pending, fingerprint, bytes, { outcome: 'failed', reason });
  }

  /** @returns the index of the record, which is written with the next flush */
  settle(pending: Pending, fingerprint: string, bytes: Buffer | null, settlement: Settlement): number {
    const detail =
      this.options.manifest || isException(settlement)
        ? detailOf(pending, bytes, settlement, {
            folder: this.target.folder.path,
            recordHeaders: this.context.recordHeaders,
          })
        : null;
    return this.ledger.settle(pending, recordOf(pending, fingerprint, this.epoch, settlement), detail);
  }

  /** Looks again at a copy whose run died before it was verified. */
  async verifyAgain(item: Item, index: number): Promise<void> {
    const { uid, repair } = this.ledger.record(index);
    const bytes = uid === null ? null : await this.target.read(uid, this.signal);
    const form = formSent(item.bytes, repair);
    this.#verified({ item, form, uid, record: index }, compareCopy(form, bytes));
    item.release();
  }

  #verified(copied: Copied, result: VerifyResult): void {
    const { record, item, uid } = copied;
    if (result.kind === 'equal') {
      this.ledger.amend(record, { verified: true });
      if (result.read) this.proven.add(record);
    }
    // Somebody moved or expunged it since; there is nothing left to look at.
    else if (result.kind === 'gone') this.ledger.amend(record, { uid: null, epoch: null });
    else {
      const settlement = { ...result.settlement, uid };
      const detail = detailOf(item.pending, item.bytes, settlement, {
        folder: this.target.folder.path,
        recordHeaders: this.context.recordHeaders,
      });
      this.ledger.amend(record, { verified: true, altered: true }, detail);
    }
  }

  /** @throws Stopped when the run is to stop */
  assertGoesOn(): void {
    if (this.stop.aborted) throw new Stopped();
  }
}

/** Thrown where the run leaves off because somebody asked it to. */
export class Stopped extends Error {}

/** A stop is no fault; everything else thrown is one. */
export function faultOf(thrown: unknown): BridgeError | null {
  return thrown instanceof Stopped ? null : BridgeError.from(thrown);
}
