import { randomUUID } from 'node:crypto';
import type { Attempt } from './attempt.ts';
import { CopyIndex } from './copies.ts';
import type { BridgeError } from './errors.ts';
import { type GroupLimits, Intake } from './intake.ts';
import { type Item, outgoing } from './item.ts';
import type { Intent } from './journal.ts';
import type { AppendOutcome, ImapUid, Upload } from './ports.ts';
import { asIs, type Repaired, repairsFor } from './repair.ts';

/** RFC 3502 sets no limit; a larger group would put more in doubt when its connection dies. */
export const GROUP: GroupLimits = { messages: 128, bytes: 8 * 1024 * 1024, patienceMs: 15 };
/** Without MULTIAPPEND one intent covers a series of single APPENDs, this part of a group. */
const SERIES_PART = 1 / 8;
/** How often a group is uploaded anew whose connection was lost before anything could be stored. */
const UPLOADS = 3;
/** How often a group that waits for a lane in its turn looks whether there are still as many. */
const ROOM_EVERY_MS = 1_000;

interface Sending {
  item: Item;
  form: Repaired;
}

/**
 * Brings messages into the destination. Groups are uploaded in parallel and released one at a time in the order
 * of the source (DESIGN 4), so UIDs follow it and at most one group can be in doubt. Where MULTIAPPEND is
 * missing, each lane appends a series of its own, one by one.
 */
export class Delivery {
  readonly #attempt: Attempt;
  readonly #intake: Intake<Item>;
  /** The last group in the queue for release; a rejection stops all behind it. */
  #turn: Promise<void> = Promise.resolve();
  /** Groups from upload to settlement, oldest first. */
  readonly #underWay: { upload: Upload; turn: Promise<void> }[] = [];
  #awaitingTurn = 0;
  #failure: { error: unknown } | null = null;
  #lookingUp: Promise<void> = Promise.resolve();

  constructor(attempt: Attempt) {
    this.#attempt = attempt;
    const { group } = attempt.context;
    this.#intake = new Intake(attempt.target.multiAppend ? group : seriesLimits(group));
  }

  /** Takes a message on; its bytes are released when it is settled and verified. */
  add(item: Item): void {
    if (this.#halted) item.release();
    else this.#intake.push(item);
  }

  /** No more will be added. */
  end(): void {
    this.#intake.end();
  }

  /**
   * Sends until the end was called and all is settled, or until the run is to stop: then the group in hand is
   * finished and the rest is left.
   * @throws BridgeError when the attempt cannot go on; intents of unknown outcome stay open
   */
  async run(): Promise<void> {
    const halt = AbortSignal.any([this.#attempt.halt.signal, this.#attempt.stop]);
    const drain = () => this.#drain();
    halt.addEventListener('abort', drain);
    const lanes = this.#attempt.target.lanes;
    const workers = this.#attempt.target.multiAppend ? [this.#groups()] : this.#series(lanes);
    await Promise.allSettled(workers);
    halt.removeEventListener('abort', drain);
    this.#drain();
    if (this.#failure !== null) throw this.#failure.error;
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#attempt.halt.abort();
  }

  #drain(): void {
    for (const item of this.#intake.drain()) item.release();
  }

  get #halted(): boolean {
    return this.#attempt.halt.signal.aborted || this.#attempt.stop.aborted;
  }

  // ------------------------------------------------------------ groups, released in order

  async #groups(): Promise<void> {
    while (!this.#halted) {
      if (this.#underWay.length >= this.#attempt.target.lanes) {
        // In order, so the first to start is the first to end.
        await this.#underWay[0]?.turn.catch(() => {});
        continue;
      }
      const group = await this.#intake.take(() => this.#underWay.length === 0);
      if (group === null) break;
      this.#start(group.map((item) => ({ item, form: asIs(item.bytes) })));
    }
    await this.#turn.catch(() => {});
  }

  #start(group: Sending[]): void {
    const upload = this.#upload(group);
    const turn = this.#inTurn(group, upload, this.#turn).finally(() => {
      this.#underWay.shift();
      this.#intake.nudge();
    });
    this.#turn = turn;
    this.#underWay.push({ upload, turn });
    turn.catch((error: unknown) => this.#fail(error));
  }

  async #inTurn(group: Sending[], upload: Upload, turn: Promise<void>): Promise<void> {
    try {
      const early = await upload.ready;
      this.#awaitingTurn += 1;
      await turn.finally(() => {
        this.#awaitingTurn -= 1;
      });
      if (this.#halted) leave(group, upload);
      else await this.#settle(group, upload, early);
    } catch (error) {
      leave(group, upload);
      throw error;
    }
  }

  async #settle(group: Sending[], upload: Upload, early: AppendOutcome | null): Promise<void> {
    const { bound } = this.#attempt.stock;
    let outcome = early ?? (await this.#release(group, upload));
    for (let uploads = 1; outcome.kind === 'unsent' && uploads < UPLOADS; uploads++)
      outcome = await this.#send(group);
    if (outcome.kind === 'appended') await this.#appended(group, outcome.uids, bound);
    else if (outcome.kind === 'refused') await this.#refused(group, outcome.error);
    else throw outcome.error;
    // Commit n and intent n + 1 go in one call where the next group is ready for its release.
    if (this.#awaitingTurn === 0) await this.#attempt.ledger.flush();
  }

  #upload(group: readonly Sending[]): Upload {
    const { target, signal } = this.#attempt;
    return target.upload(
      group.map(({ item, form }) => outgoing(item, form)),
      signal,
    );
  }

  async #send(group: Sending[]): Promise<AppendOutcome> {
    this.#makeRoom();
    const upload = this.#upload(group);
    // Lanes may become fewer while it waits for one.
    const looking = setInterval(() => this.#makeRoom(), ROOM_EVERY_MS);
    const early = await upload.ready.finally(() => clearInterval(looking));
    return early ?? this.#release(group, upload);
  }

  /**
   * The group whose turn it is must not wait for a lane that a later one keeps until its own turn: where lanes
   * became fewer than groups are under way, the last ones are thrown away and uploaded anew in their turn.
   */
  #makeRoom(): void {
    const kept = Math.max(this.#attempt.target.lanes, 1);
    for (const { upload } of this.#underWay.slice(kept)) upload.abandon();
  }

  /** Intent before effect: no last octet leaves before the intent's reply and a look at the lease. */
  async #release(group: Sending[], upload: Upload): Promise<AppendOutcome> {
    const { ledger, journal } = this.#attempt;
    const intent = this.#intent(group, true);
    ledger.openIntent(intent);
    await ledger.flush();
    journal.assertHeld();
    const outcome = await upload.release();
    if (outcome.kind !== 'unknown') ledger.closeIntent(intent.id);
    return outcome;
  }

  #intent(group: readonly Sending[], atomic: boolean): Intent {
    return {
      id: `${this.#attempt.journal.runId}/${randomUUID()}`,
      epoch: this.#attempt.epoch,
      bound: this.#attempt.stock.bound,
      atomic,
      members: group.map(({ item, form }) => ({
        uidlDigest: item.pending.uidlDigest,
        fingerprint: item.fingerprint,
        repair: form.repair,
      })),
    };
  }

  /**
   * @param uids null: RFC 4315 UIDPLUS is missing, or its answer was implausible; then they are looked up before the
   *   commit
   * @param bound UIDNEXT was at least this when the append began
   */
  #appended(group: readonly Sending[], uids: ImapUid[] | null, bound: ImapUid): Promise<void> {
    // One at a time: what a look-up finds is settled before the next one asks what is unknown.
    const settled = this.#lookingUp.then(async () => {
      this.#settleCopied(group, uids ?? (await this.#lookUp(group, bound)));
    });
    this.#lookingUp = settled.catch(() => {});
    return settled;
  }

  #settleCopied(group: readonly Sending[], found: readonly (ImapUid | null)[]): void {
    this.#attempt.stock.acknowledge(found);
    const copied = group.map(({ item, form }, at) => {
      const uid = found[at] ?? null;
      return { item, form, uid, record: this.#attempt.settleCopied(item, form, uid) };
    });
    this.#attempt.verifier.add(copied);
  }

  // From where the append began, not from the bound of now: another lane's later UID may have been told first.
  async #lookUp(group: readonly Sending[], bound: ImapUid): Promise<(ImapUid | null)[]> {
    const { target, signal } = this.#attempt;
    const copies = new CopyIndex((uid) => target.read(uid, signal));
    const found = await target.scan(bound, null, signal);
    copies.add(found.filter(({ uid }) => this.#attempt.isUnknown(uid)));
    const uids: (ImapUid | null)[] = [];
    for (const { form } of group) uids.push((await copies.claim(form.bytes, () => [form]))?.uid ?? null);
    return uids;
  }

  /** Only what blames content concerns a message; everything else stops the attempt. */
  async #refused(group: Sending[], error: BridgeError): Promise<void> {
    if (error.scope !== 'message') throw error;
    if (group.length === 1) return this.#repair(group[0] as Sending, error);
    const middle = Math.ceil(group.length / 2);
    for (const half of [group.slice(0, middle), group.slice(middle)]) {
      this.#attempt.assertGoesOn();
      const { bound } = this.#attempt.stock;
      const outcome = await this.#send(half);
      if (outcome.kind === 'appended') await this.#appended(half, outcome.uids, bound);
      else if (outcome.kind === 'refused') await this.#refused(half, outcome.error);
      else throw outcome.error;
    }
  }

  async #repair({ item }: Sending, refusal: BridgeError): Promise<void> {
    let error = refusal;
    const { options, target } = this.#attempt;
    const forms = refusal.code === 'message_too_large' ? [] : repairsFor(item.bytes, options.repair, target);
    for (const form of forms) {
      const group = [{ item, form }];
      const { bound } = this.#attempt.stock;
      const outcome = await this.#send(group);
      if (outcome.kind === 'appended') return this.#appended(group, outcome.uids, bound);
      if (outcome.kind !== 'refused' || outcome.error.scope !== 'message') throw outcome.error;
      error = outcome.error;
    }
    this.#attempt.settleFailed(item, error);
  }

  // ------------------------------------------------------------ series of single appends, one a lane

  #series(lanes: number): Promise<void>[] {
    return Array.from({ length: lanes }, async () => {
      try {
        for (let items = await this.#nextSeries(); items !== null; items = await this.#nextSeries())
          await this.#appendSeries(items.map((item) => ({ item, form: asIs(item.bytes) })));
      } catch (error) {
        this.#fail(error);
      }
    });
  }

  #taking: Promise<unknown> = Promise.resolve();

  // One lane at a time asks the intake, so that each gets what came first.
  #nextSeries(): Promise<Item[] | null> {
    const next = this.#taking.then(() => (this.#halted ? null : this.#intake.take(() => true)));
    this.#taking = next.catch(() => {});
    return next;
  }

  async #appendSeries(series: Sending[]): Promise<void> {
    const { ledger } = this.#attempt;
    const intent = this.#intent(series, false);
    ledger.openIntent(intent);
    await ledger.flush();
    let at = 0;
    try {
      for (; at < series.length && !this.#halted; at++) await this.#appendSingle(series[at] as Sending);
      ledger.closeIntent(intent.id);
      await ledger.flush();
    } finally {
      for (const { item } of series.slice(at)) item.release();
    }
  }

  async #appendSingle(sending: Sending): Promise<void> {
    const { bound } = this.#attempt.stock;
    const outcome = await this.#sendSingle(sending);
    if (outcome.kind === 'appended') return this.#appended([sending], outcome.uids, bound);
    if (outcome.kind !== 'refused' || outcome.error.scope !== 'message') throw outcome.error;
    await this.#repair(sending, outcome.error);
  }

  async #sendSingle(sending: Sending): Promise<AppendOutcome> {
    const upload = this.#upload([sending]);
    const early = await upload.ready;
    if (early !== null) return early;
    this.#attempt.journal.assertHeld();
    return upload.release();
  }
}

function seriesLimits({ messages, bytes, patienceMs }: GroupLimits): GroupLimits {
  return { messages: Math.ceil(messages * SERIES_PART), bytes: bytes * SERIES_PART, patienceMs };
}

function leave(group: Sending[], upload: Upload): void {
  upload.abandon();
  for (const { item } of group) item.release();
}
