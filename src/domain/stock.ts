import { CopyIndex } from './copies.ts';
import type { KeyedDigests } from './fingerprint.ts';
import type { Epoch } from './journal.ts';
import type { Ledger } from './ledger.ts';
import type { FoundCopy, ImapUid, TargetSession } from './ports.ts';

export interface StockOptions {
  /** Compare with what the folder held before this migration, too. */
  includeEarlier: boolean;
  /** Something may still be under way: absence is believed only after two scans that agree. */
  unsettled: boolean;
  /** Waits out the time in which octets already sent may land. */
  settle: () => Promise<void>;
  signal: AbortSignal;
}

/**
 * What the destination folder holds beyond the journal: orphans of appends whose outcome nobody wrote down, and
 * (until the first complete pass) what was there before. And how far marks may rise.
 */
export class Stock {
  readonly copies: CopyIndex;
  /** From here on nothing is known to be settled. */
  readonly floor: ImapUid;
  /** UIDNEXT when stock was taken. */
  readonly uidNext: ImapUid;
  readonly #ledger: Ledger;
  readonly #epoch: number;
  #bound: ImapUid;

  private constructor(copies: CopyIndex, floor: ImapUid, ledger: Ledger, epoch: number, uidNext: ImapUid) {
    this.copies = copies;
    this.floor = floor;
    this.#ledger = ledger;
    this.#epoch = epoch;
    this.uidNext = uidNext;
    this.#bound = uidNext;
  }

  static async take(
    ledger: Ledger,
    target: TargetSession,
    index: number,
    options: StockOptions,
  ): Promise<Stock> {
    const epoch = ledger.epochs[index] as Epoch;
    const floor = floorOf(epoch, ledger, index);
    const copies = new CopyIndex((uid) => target.read(uid, options.signal));
    const unknown = (found: FoundCopy[]) =>
      found.filter(({ uid }) => ledger.holder(index, uid) === undefined);
    copies.add(unknown(await settledScan(target, floor, options)));
    // After the scan, so that all of it lies below.
    const { uidNext } = options.unsettled ? await target.refresh(options.signal) : target.folder;
    const earlierEnd = Math.min(floor, epoch.firstUidNext) as ImapUid;
    if (options.includeEarlier && earlierEnd > 1)
      copies.add(unknown(await target.scan(1 as ImapUid, earlierEnd, options.signal)));
    return new Stock(copies, floor, ledger, index, uidNext);
  }

  /** No later append of ours can get a UID below this. */
  get bound(): ImapUid {
    return this.#bound;
  }

  /**
   * UIDs that the server gave to our messages: raises the bound, and the mark as far as nothing of unknown
   * outcome may lie below it. An orphan that nobody claimed yet holds the mark down: were the mark to pass it, a
   * run that dies before its message comes up would leave its copy where no later run looks (ADR 0002).
   */
  acknowledge(uids: readonly (ImapUid | null)[]): void {
    for (const uid of uids) if (uid !== null && uid >= this.#bound) this.#bound = (uid + 1) as ImapUid;
    this.#raiseMark(this.copies.lowestUnclaimed(this.floor) ?? this.#bound);
  }

  /** The source was compared to its end, so orphans left over are not ours. */
  passEnded(uidNext: ImapUid): void {
    if (uidNext > this.#bound) this.#bound = uidNext;
    this.#raiseMark(this.#bound);
  }

  #raiseMark(limit: ImapUid): void {
    const epoch = this.#ledger.epochs[this.#epoch] as Epoch;
    const open = [...this.#ledger.intents.values()].filter((intent) => intent.epoch === this.#epoch);
    const mark = Math.min(limit, this.#bound, ...open.map((intent) => intent.bound));
    if (epoch.mark !== null && epoch.mark >= mark) return;
    epoch.mark = mark;
    this.#ledger.touchEpoch(this.#epoch);
  }
}

/** In a folder where others' mail comes and goes all the time two scans may never agree. */
const MOST_SCANS = 6;

// DESIGN 4: floor = min(open intents' bounds, mark), or 1 where there is no mark. It holds too when Redis lost
// its last writes, since those are a suffix.
function floorOf(epoch: Epoch, ledger: Ledger, index: number): ImapUid {
  const open = [...ledger.intents.values()].filter((intent) => intent.epoch === index);
  return Math.min(epoch.mark ?? 1, ...open.map((intent) => intent.bound)) as ImapUid;
}

async function settledScan(
  target: TargetSession,
  floor: ImapUid,
  options: StockOptions,
): Promise<FoundCopy[]> {
  let found = await target.scan(floor, null, options.signal);
  if (!options.unsettled) return found;
  for (let agreed = false, scans = 1; !agreed && scans < MOST_SCANS; scans++) {
    await options.settle();
    const again = await target.scan(floor, null, options.signal);
    agreed = again.length === found.length && again.every(({ uid }, at) => uid === found[at]?.uid);
    found = again;
  }
  return found;
}

/** The index of the folder's epoch in the ledger; a folder under a new UIDVALIDITY becomes a new epoch. */
export function epochOf(ledger: Ledger, target: TargetSession): number {
  const { path, uidValidity, uidNext } = target.folder;
  const known = ledger.epochs.findIndex((epoch) => epoch.path === path && epoch.uidValidity === uidValidity);
  if (known !== -1) return known;
  ledger.epochs.push({ path, uidValidity, firstUidNext: uidNext, mark: null });
  const index = ledger.epochs.length - 1;
  ledger.touchEpoch(index);
  return index;
}

/**
 * The folder came back under another UIDVALIDITY: its messages are assigned to settled records before any
 * pending message may claim one, or a pending twin would take the copy of a settled one.
 * @returns whether there was anything to assign
 */
export async function rebind(
  ledger: Ledger,
  target: TargetSession,
  epoch: number,
  digests: KeyedDigests,
  signal: AbortSignal,
): Promise<boolean> {
  if (epoch === 0) return false;
  const homeless = new Map<string, number[]>();
  for (let index = 0; index < ledger.length; index++) {
    const record = ledger.record(index);
    const hasCopy = record.outcome === 'copied' || record.outcome === 'alreadyPresent';
    if (hasCopy && record.epoch !== epoch)
      homeless.set(record.fingerprint, [...(homeless.get(record.fingerprint) ?? []), index]);
  }
  if (homeless.size === 0) return false;
  for (const { uid } of await target.scan(1 as ImapUid, null, signal)) {
    // An attempt that was cut in the middle of this has bound some already.
    if (ledger.holder(epoch, uid) !== undefined) continue;
    signal.throwIfAborted();
    const bytes = await target.read(uid, signal);
    const index = bytes === null ? undefined : homeless.get(digests.fingerprint(bytes))?.shift();
    if (index !== undefined) ledger.amend(index, { uid, epoch });
  }
  return true;
}
