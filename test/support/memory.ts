import { setImmediate } from 'node:timers/promises';
import type { TransferContext } from '../../src/domain/attempt.ts';
import { SharedBudget } from '../../src/domain/budget.ts';
import type { Clock } from '../../src/domain/clock.ts';
import { GROUP } from '../../src/domain/delivery.ts';
import { BridgeError } from '../../src/domain/errors.ts';
import { headerBlock } from '../../src/domain/header.ts';
import {
  type Commit,
  decodeRecord,
  type Epoch,
  encodeRecord,
  type Intent,
  type JournalRecord,
  type JournalSnapshot,
  RECORD_BYTES,
} from '../../src/domain/journal.ts';
import { DEFAULT_OPTIONS, type MessageDetail, type Progress } from '../../src/domain/migration.ts';
import type {
  AppendOutcome,
  ImapUid,
  MailSource,
  MailTarget,
  MessageNumber,
  Outgoing,
  RunEnd,
  RunJournal,
  SourceEntry,
  TargetSession,
  Uidl,
  Upload,
  Wanted,
} from '../../src/domain/ports.ts';
import { type TransferResult, transfer } from '../../src/domain/transfer.ts';
import { endOfTransfer } from '../../src/domain/verdict.ts';

/** A named point at which a test may do anything, a fault above all. */
export type Step = (name: string) => void | Promise<void>;

export function lost(side: 'source' | 'destination'): BridgeError {
  return new BridgeError('connection_lost', { side });
}

/** A POP3 mailbox in memory, for what no real server does on command. */
export class MemorySource implements MailSource {
  messages: { uidl: string; bytes: Buffer; size?: number }[] = [];
  refuse = new Set<string>();
  step: Step = () => {};
  sessions = 0;

  fill(messages: readonly Buffer[]): this {
    this.messages = messages.map((bytes, at) => ({ uidl: `uidl-${at}`, bytes }));
    return this;
  }

  async open() {
    await this.step('source.open');
    this.sessions += 1;
    const self = this;
    // Numbers keep their meaning for as long as a session lasts, whatever another one removes.
    let listed = self.messages;
    const marked = new Set<(typeof listed)[number]>();
    const find = ({ number }: SourceEntry) => listed[number - 1] as (typeof listed)[number];
    const refusal = () =>
      new BridgeError('message_unavailable', { side: 'source', detail: 'no such message' });
    return {
      capabilities: new Map(),
      async list() {
        await self.step('source.list');
        listed = self.messages;
        return listed.map(({ uidl, bytes, size }, at) => ({
          number: (at + 1) as MessageNumber,
          uidl: uidl as Uidl,
          size: size ?? bytes.length,
        }));
      },
      async *retrieve(
        entries: Iterable<{ number: MessageNumber; uidl: Uidl; size: number }>,
        budget: { reserve(bytes: number, signal: AbortSignal): Promise<{ release(): void }> },
        signal: AbortSignal,
      ) {
        for (const entry of entries) {
          const reservation = await budget.reserve(entry.size, signal);
          await self.step('source.retr');
          const { uidl, bytes } = find(entry);
          if (self.refuse.has(uidl)) {
            reservation.release();
            yield { kind: 'refused' as const, entry, error: refusal() };
          } else yield { kind: 'message' as const, entry, bytes, release: () => reservation.release() };
        }
      },
      async *headers(entries: Iterable<SourceEntry>) {
        for (const entry of entries) {
          await self.step('source.top');
          const { uidl, bytes } = find(entry);
          if (self.refuse.has(uidl)) yield { kind: 'refused' as const, entry, error: refusal() };
          else yield { kind: 'header' as const, entry, header: Buffer.from(headerBlock(bytes)) };
        }
      },
      async delete(entries: readonly SourceEntry[]) {
        for (const entry of entries) {
          await self.step('source.dele');
          marked.add(find(entry));
        }
        return new Map<MessageNumber, BridgeError>();
      },
      async quit() {
        try {
          await self.step('source.quit');
          if (marked.size > 0) self.messages = self.messages.filter((message) => !marked.has(message));
          // Removed, and the answer is lost.
          await self.step('source.bye');
          return true;
        } catch (error) {
          // What a test throws to kill the whole process is no lost connection.
          if (error instanceof BridgeError) return false;
          throw error;
        } finally {
          marked.clear();
        }
      },
      destroy: () => marked.clear(),
    };
  }
}

interface Stored {
  uid: number;
  bytes: Buffer;
  flags: readonly string[];
  internalDate: Date;
}

/** An IMAP folder in memory. */
export class MemoryTarget implements MailTarget {
  stored: Stored[] = [];
  uidNext = 1;
  uidValidity = 7;
  multiAppend = true;
  uidPlus = true;
  lanes = 3;
  appendLimit: number | null = null;
  /** Says NO to a group that holds a message for which this gives a reason. */
  refuse: (message: Outgoing) => string | null = () => null;
  alter: (bytes: Buffer) => Buffer = (bytes) => bytes;
  step: Step = () => {};
  /** The answer of the next release is lost: it was stored, or was not, or will be when `landLate` is called. */
  loseNextAnswer: 'stored' | 'notStored' | 'late' | null = null;
  #late: Outgoing[] = [];

  /** Octets that lay in a kernel's queue arrive. */
  landLate(): void {
    for (const message of this.#late.splice(0)) this.#store(message);
  }

  put(bytes: Buffer): ImapUid {
    return this.#store({ bytes, flags: [], internalDate: new Date(0), literal8: false });
  }

  #store(message: Outgoing): ImapUid {
    const uid = this.uidNext++;
    const { flags, internalDate } = message;
    this.stored.push({ uid, bytes: this.alter(message.bytes), flags, internalDate });
    return uid as ImapUid;
  }

  async open(): Promise<TargetSession> {
    await this.step('target.open');
    const folder = () => ({
      path: 'INBOX',
      uidValidity: this.uidValidity,
      uidNext: this.uidNext as ImapUid,
      exists: this.stored.length,
    });
    const find = (uid: ImapUid) => this.stored.find((each) => each.uid === uid);
    return {
      folder: folder(),
      multiAppend: this.multiAppend,
      literal8: true,
      appendLimit: this.appendLimit,
      lanes: this.lanes,
      upload: (group) => this.#upload(group),
      scan: async (from, below) => {
        await this.step('target.scan');
        return this.stored
          .filter(({ uid }) => uid >= from && (below === null || uid < below))
          .map(({ uid, bytes }) => ({ uid: uid as ImapUid, size: bytes.length, header: bytes }));
      },
      sizes: async (uids) => {
        await this.step('target.sizes');
        return new Map(uids.flatMap((uid) => (find(uid) ? [[uid, find(uid)?.bytes.length ?? 0]] : [])));
      },
      internalDates: async (uids) => {
        await this.step('target.dates');
        const held = uids.map((uid) => [uid, find(uid)?.internalDate] as const);
        return new Map(held.filter((pair): pair is [ImapUid, Date] => pair[1] !== undefined));
      },
      read: async (uid) => {
        await this.step('target.read');
        return find(uid)?.bytes ?? null;
      },
      refresh: async () => folder(),
      close: async () => {
        await this.step('target.close');
      },
      destroy: () => {},
    };
  }

  #upload(group: readonly Outgoing[]): Upload {
    const refusal = group.map((message) => this.refuse(message)).find((reason) => reason !== null);
    const ready = (async (): Promise<AppendOutcome | null> => {
      await setImmediate();
      try {
        await this.step('target.upload');
      } catch (error) {
        return { kind: 'unsent', error: BridgeError.from(error) };
      }
      if (refusal === undefined) return null;
      const error = new BridgeError('message_refused', { side: 'destination', detail: refusal ?? '' });
      return { kind: 'refused', error };
    })();
    return { ready, release: () => this.#release(group), abandon: () => {} };
  }

  async #release(group: readonly Outgoing[]): Promise<AppendOutcome> {
    await setImmediate();
    const lose = this.loseNextAnswer;
    this.loseNextAnswer = null;
    if (lose === 'late') this.#late.push(...group);
    if (lose === 'notStored' || lose === 'late') return { kind: 'unknown', error: lost('destination') };
    const uids = group.map((message) => this.#store(message));
    if (lose === 'stored') return { kind: 'unknown', error: lost('destination') };
    try {
      await this.step('target.ok');
    } catch (error) {
      return { kind: 'unknown', error: BridgeError.from(error) };
    }
    return { kind: 'appended', uids: this.uidPlus ? uids : null };
  }
}

/** The journal of one migration in memory: what Redis would hold, and what it would hold had it lost a suffix. */
export class MemoryJournal {
  records: Buffer = Buffer.alloc(0);
  epochs: Epoch[] = [];
  intents: Intent[] = [];
  details = new Map<number, MessageDetail>();
  progress: Progress | null = null;
  cleanEnd = true;
  passComplete = false;
  retryFailed = false;
  commits = 0;
  step: Step = () => {};
  readonly digestKey = Buffer.alloc(32, 1);
  readonly #past: (() => void)[] = [];

  /** As if Redis had been killed before its last `count` writes reached the disk. */
  forget(count: number): void {
    this.#past.at(-count)?.();
    this.#past.length = Math.max(0, this.#past.length - count);
    this.cleanEnd = false;
  }

  get settled(): JournalRecord[] {
    return Array.from({ length: this.records.length / RECORD_BYTES }, (_, at) =>
      decodeRecord(this.records, at),
    );
  }

  claim(): RunJournal & { stop: AbortController; loseLease: () => void } {
    const stop = new AbortController();
    const lostLease = new AbortController();
    const { records, epochs, intents, cleanEnd, passComplete, retryFailed, digestKey } = this;
    const snapshot: JournalSnapshot = {
      records: Buffer.from(records),
      epochs: structuredClone(epochs),
      intents: structuredClone(intents),
      cleanEnd: cleanEnd && intents.length === 0,
      passComplete,
      retryFailed,
      digestKey,
    };
    this.cleanEnd = false;
    return {
      runId: `run-${this.commits}`,
      snapshot,
      lost: lostLease.signal,
      stopRequested: stop.signal,
      get wanted(): Wanted {
        return stop.signal.aborted ? 'pause' : 'run';
      },
      assertHeld: () => lostLease.signal.throwIfAborted(),
      commit: async (change) => {
        await this.step('commit');
        lostLease.signal.throwIfAborted();
        this.#apply(change);
        await this.step('committed');
      },
      end: async (end: RunEnd) => {
        this.cleanEnd = true;
        this.passComplete ||= end.passComplete;
      },
      stop,
      loseLease: () => lostLease.abort(new BridgeError('lease_lost', { side: 'service' })),
    };
  }

  #apply(change: Commit): void {
    const { records, epochs, intents, details, passComplete } = structuredClone({ ...this, step: null });
    const before = { records: Buffer.from(records), epochs, intents, details, passComplete };
    this.#past.push(() => Object.assign(this, before));
    this.commits += 1;
    if (change.recordsBefore !== undefined && change.recordsBefore * RECORD_BYTES !== this.records.length)
      throw new BridgeError('lease_lost', { side: 'service', detail: 'another length' });
    this.records = Buffer.concat([this.records, ...(change.append ?? []).map(encodeRecord)]);
    for (const { index, record } of change.update ?? [])
      encodeRecord(record).copy(this.records, index * RECORD_BYTES);
    const closed = change.closeIntents ?? [];
    this.intents = [...this.intents, ...(change.openIntents ?? [])].filter(({ id }) => !closed.includes(id));
    for (const { index, epoch } of change.epochs ?? []) this.epochs[index] = epoch;
    for (const { index, detail } of change.details ?? []) this.details.set(index, detail);
    for (const index of change.dropDetails ?? []) this.details.delete(index);
    this.progress = change.progress ?? this.progress;
  }
}

/** Time that passes only when somebody waits for it. */
export function memoryClock(): Clock & { slept: number[] } {
  let ms = Date.UTC(2026, 0, 1);
  const slept: number[] = [];
  return {
    slept,
    now: () => new Date(ms),
    monotonic: () => ms,
    sleep: async (wait, signal) => {
      await setImmediate();
      signal.throwIfAborted();
      slept.push(wait);
      ms += wait;
    },
  };
}

export interface World {
  source: MemorySource;
  target: MemoryTarget;
  journal: MemoryJournal;
}

export function world(messages: readonly Buffer[]): World {
  return {
    source: new MemorySource().fill(messages),
    target: new MemoryTarget(),
    journal: new MemoryJournal(),
  };
}

export function contextOf(world: World, overrides: Partial<TransferContext> = {}): TransferContext {
  return {
    source: world.source,
    target: world.target,
    journal: world.journal.claim(),
    folder: { path: ['INBOX'] },
    options: DEFAULT_OPTIONS,
    budget: new SharedBudget(1 << 20),
    group: GROUP,
    clock: memoryClock(),
    log: { info: () => {}, warn: () => {} },
    settleMs: 10_000,
    recordHeaders: true,
    shutdown: new AbortController().signal,
    ...overrides,
  };
}

/** One run to its end, and that end written down. */
export async function runTransfer(
  place: World,
  overrides: Partial<TransferContext> = {},
): Promise<TransferResult> {
  const context = contextOf(place, overrides);
  const result = await transfer(context);
  await context.journal.end(endOfTransfer(result, context.journal.wanted));
  return result;
}
