import { randomBytes } from 'node:crypto';
import { BridgeError } from '../domain/errors.ts';
import { type Commit, encodeRecord, type JournalSnapshot } from '../domain/journal.ts';
import type { MigrationState } from '../domain/migration.ts';
import type { RunEnd, RunJournal, Wanted } from '../domain/ports.ts';
import { TRANSITIONS } from '../domain/state.ts';
import { fields, type Reply, run, type Script, text } from './db.ts';
import { isException } from './details.ts';
import type { DueIndex } from './due.ts';
import type { Feed } from './feed.ts';
import { migrationKeys } from './keys.ts';
import { Lease, type LeaseClock, type Moment } from './lease.ts';
import type { Pairs } from './pairs.ts';
import type { RecordFields } from './record.ts';
import type { RedisClient } from './redis.ts';
import { MIGRATION_SCRIPTS } from './scripts.ts';

export interface JournalContext {
  redis: RedisClient;
  pairs: Pairs;
  due: DueIndex;
  feed: Feed;
  clock: LeaseClock;
  leaseMs: number;
  credentialRetentionMs: number;
}

export interface RunIdentity {
  tenant: string;
  id: string;
  pair: string;
  runId: string;
}

/** A process that dies right after `end` leaves what follows from it to the sweep, this much later. */
const SWEEP_AFTER_MS = 3_000;

/**
 * Writes of one run, one after the other. A write that fails, for whatever reason, loses the lease: its outcome
 * may be unknown, and whoever claims next reads what became of it.
 */
export class RedisRunJournal implements RunJournal {
  readonly runId: string;
  readonly snapshot: JournalSnapshot;
  readonly #context: JournalContext;
  readonly #run: RunIdentity;
  readonly #keys: readonly string[];
  readonly #lease: Lease;
  readonly #stop = new AbortController();
  #wanted: Wanted = 'run';
  #seq = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** @param since before the claim was sent */
  constructor(context: JournalContext, identity: RunIdentity, snapshot: JournalSnapshot, since: Moment) {
    this.#context = context;
    this.#run = identity;
    this.runId = identity.runId;
    this.snapshot = snapshot;
    this.#keys = migrationKeys(identity.tenant, identity.id);
    const { clock, leaseMs } = context;
    this.#lease = new Lease({ clock, leaseMs, since, renew: () => this.#renew() });
    this.#lease.start();
  }

  get lost(): AbortSignal {
    return this.#lease.lost;
  }

  get wanted(): Wanted {
    return this.#wanted;
  }

  get stopRequested(): AbortSignal {
    return this.#stop.signal;
  }

  assertHeld(): void {
    this.#lease.assertHeld();
  }

  commit(change: Commit): Promise<void> {
    return this.#inTurn(() => this.#commit(change));
  }

  end(end: RunEnd): Promise<void> {
    return this.#inTurn(() => this.#end(end));
  }

  async #commit(change: Commit): Promise<void> {
    const append = Buffer.concat((change.append ?? []).map(encodeRecord));
    const updated = Buffer.concat((change.update ?? []).map(({ record }) => encodeRecord(record)));
    const reply = await this.#write(MIGRATION_SCRIPTS.commit, commitArguments(change), append, updated);
    this.#hear(text(reply[1]) as Wanted);
    this.#feed(change, Number(reply[2]), text(reply[3]) as MigrationState);
  }

  /** After the commit, and without making it wait. */
  #feed(change: Commit, rev: number, state: MigrationState): void {
    const { feed } = this.#context;
    const { tenant, id } = this.#run;
    const { progress, details = [] } = change;
    if (progress !== undefined) feed.progressed(tenant, rev, { id, state, stateReason: null, progress });
    const told = details.filter(({ detail }) => isException(detail));
    if (told.length > 0) void feed.detailed(tenant, id, told.map(detailRow));
  }

  async #end(end: RunEnd): Promise<void> {
    const { due, pairs, feed, credentialRetentionMs } = this.#context;
    const { tenant, id, pair, runId } = this.#run;
    this.#lease.assertHeld();
    await due.schedule(tenant, id, 'work', SWEEP_AFTER_MS);
    const args = { ...endArguments(end), credentialRetention: credentialRetentionMs };
    const reply = await this.#write(MIGRATION_SCRIPTS.end, args);
    this.#lease.stop();
    await pairs.release(pair, runId).catch(() => {
      // It runs out by itself.
    });
    if (text(reply[0]) !== 'ended') return;
    const record = fields(reply[1]);
    await feed.changed(tenant, id, record);
    await this.#scheduleNext(record);
  }

  async #scheduleNext(record: RecordFields): Promise<void> {
    const { due, clock } = this.#context;
    const at = Number(record.get('nextRunAt') || 0);
    if (at === 0 && record.get('state') !== 'queued') return;
    const delay = at - clock.now().getTime();
    await due.schedule(this.#run.tenant, this.#run.id, 'work', delay).catch(() => {
      // The sweep looks soon anyway.
    });
  }

  /** @throws BridgeError lease_lost, store_unavailable; the lease is lost then */
  async #write(script: Script, args: object, ...binary: Buffer[]): Promise<Reply> {
    this.#lease.assertHeld();
    const nonce = randomBytes(12).toString('hex');
    const turn = { runId: this.runId, seq: this.#seq + 1, nonce };
    const reply = await run(this.#context.redis, script, this.#keys, { ...args, ...turn }, ...binary);
    if (text(reply[0]) === 'refused')
      throw new BridgeError('lease_lost', { side: 'service', detail: `write refused: ${text(reply[1])}` });
    this.#seq = turn.seq;
    return reply;
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(work).catch((error: unknown) => {
      const fault = BridgeError.from(error);
      if (!this.lost.aborted) this.#lease.lose(fault.message);
      throw fault;
    });
    this.#last = turn.catch(() => {
      // Whoever asked for the write was told.
    });
    return turn;
  }

  async #renew(): Promise<boolean> {
    const { redis, pairs, leaseMs } = this.#context;
    const { pair, runId } = this.#run;
    const [reply, pairHeld] = await Promise.all([
      run(redis, MIGRATION_SCRIPTS.renew, this.#keys, { runId, lease: leaseMs }),
      pairs.renew(pair, runId),
    ]);
    if (text(reply[0]) !== 'ok' || !pairHeld) return false;
    this.#hear(text(reply[1]) as Wanted);
    return true;
  }

  #hear(wanted: Wanted): void {
    this.#wanted = wanted;
    if (wanted !== 'run') this.#stop.abort(wanted);
  }
}

function commitArguments(change: Commit): object {
  return {
    recordsBefore: change.recordsBefore,
    updates: (change.update ?? []).map(({ index }) => index),
    close: change.closeIntents ?? [],
    open: (change.openIntents ?? []).map((intent) => [intent.id, JSON.stringify(intent)]),
    epochs: (change.epochs ?? []).map(({ index, epoch }) => [String(index), JSON.stringify(epoch)]),
    details: (change.details ?? []).map(({ index, detail }) => [
      index,
      JSON.stringify(detail),
      isException(detail),
    ]),
    drop: change.dropDetails ?? [],
    progress: change.progress === undefined ? undefined : JSON.stringify(change.progress),
  };
}

function detailRow({ index, detail }: NonNullable<Commit['details']>[number]): {
  index: string;
  json: string;
} {
  return { index: String(index), json: JSON.stringify(detail) };
}

function endArguments(end: RunEnd): object {
  return {
    become: endStates(end.state),
    reason: end.stateReason ?? '',
    nextRunAt: end.nextRunAt === null ? '' : String(end.nextRunAt.getTime()),
    error: end.error === null ? '' : JSON.stringify(end.error),
    progress: end.progress === null ? undefined : JSON.stringify(end.progress),
    passComplete: end.passComplete,
  };
}

/** What an ending run makes of the state that the API may have given the record meanwhile. */
function endStates(asked: MigrationState): Partial<Record<MigrationState, MigrationState>> {
  const pausing = TRANSITIONS.pausing.includes(asked) ? asked : 'paused';
  return { running: asked, pausing, canceling: 'canceled' };
}
