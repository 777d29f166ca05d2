import { randomBytes } from 'node:crypto';
import { BridgeError } from '../domain/errors.ts';
import { type Epoch, type Intent, JOURNAL_VERSION, type JournalSnapshot } from '../domain/journal.ts';
import type { Auth, Credentials } from '../domain/migration.ts';
import type { Claim, JobRef, RunStore } from '../domain/ports.ts';
import { bytes, fields, guarded, type Reply, run, text } from './db.ts';
import { type JournalContext, RedisRunJournal } from './journal.ts';
import { isMigrationId, migrationKey, migrationKeys } from './keys.ts';
import { moment } from './lease.ts';
import { type RecordFields, toMigration } from './record.ts';
import { MIGRATION_SCRIPTS } from './scripts.ts';
import { SealError, type Sealer } from './seal.ts';
import type { Sweep } from './sweep.ts';

/** A worker that dies right after its claim is looked for from then on. */
const SWEEP_AFTER_MS = 3_000;
/** Nobody tells when another lease ends early; look a little after it can have ended. */
const AFTER_HELD_MS = 250;

export interface RunStoreContext extends JournalContext {
  sealer: Sealer;
  sweep: Sweep;
  warn: (message: string) => void;
}

export class RedisRunStore implements RunStore {
  readonly #context: RunStoreContext;

  constructor(context: RunStoreContext) {
    this.#context = context;
  }

  sweep(limit: number): Promise<{ job: JobRef; notBefore: Date | null }[]> {
    return this.#context.sweep.run(limit);
  }

  async claim(job: JobRef, worker: string, signal: AbortSignal): Promise<Claim> {
    signal.throwIfAborted();
    const { tenant, migrationId: id } = job;
    if (!isMigrationId(id)) return { kind: 'superseded' };
    const { redis, pairs, due } = this.#context;
    const runId = randomBytes(16).toString('hex');
    const pair = await guarded(() => redis.hget(migrationKey(tenant, id, 'record'), 'pair'));
    if (pair === null) return { kind: 'superseded' };

    // Asked without the pair first: its lease is not taken for a job that has nothing to do.
    const first = await this.#ask(job, worker, runId, {});
    if (text(first[0]) !== 'ready') {
      if (text(first[1]) === 'fence') await pairs.look(pair);
      return this.#refused(job, first);
    }
    signal.throwIfAborted();
    await due.schedule(tenant, id, 'work', SWEEP_AFTER_MS);
    const since = moment(this.#context.clock);
    const held = await pairs.acquire(pair, runId);
    if (held.kind === 'held' && held.by === 'fence') return this.#held(job, 'fence', held.waitMs);
    if (held.kind === 'held')
      return this.#refused(job, await this.#ask(job, worker, runId, { busy: held.waitMs }));
    const reply = await this.#ask(job, worker, runId, { pair: true });
    if (text(reply[0]) !== 'claimed') {
      await pairs.release(pair, runId);
      return this.#refused(job, reply);
    }
    const record = fields(reply[1]);
    const credentials = this.#credentials(tenant, id, fields(reply[5]));
    const journal = new RedisRunJournal(
      this.#context,
      { tenant, id, pair, runId },
      snapshot(record, reply),
      since,
    );
    await this.#context.feed.changed(tenant, id, record);
    return {
      kind: 'claimed',
      migration: toMigration(id, record),
      journal,
      credentials,
      waits: Number(record.get('waits') ?? 0),
    };
  }

  #ask(job: JobRef, worker: string, runId: string, pair: { pair?: true; busy?: number }): Promise<Reply> {
    const { redis, leaseMs, credentialRetentionMs } = this.#context;
    return run(redis, MIGRATION_SCRIPTS.claim, migrationKeys(job.tenant, job.migrationId), {
      runId,
      job: job.job,
      worker: worker.toWellFormed(),
      lease: leaseMs,
      journalVersion: JOURNAL_VERSION,
      pair: false,
      ...pair,
      busyError: JSON.stringify(new BridgeError('destination_busy', { side: 'service' }).report()),
      credentialRetention: credentialRetentionMs,
    });
  }

  async #refused(job: JobRef, reply: Reply): Promise<Claim> {
    const kind = text(reply[0]);
    if (kind === 'held') {
      if (reply[3] !== undefined)
        await this.#context.feed.changed(job.tenant, job.migrationId, fields(reply[3]));
      return this.#held(job, text(reply[1]) as 'lease' | 'fence' | 'pair', Number(reply[2]));
    }
    if (kind === 'version')
      throw new BridgeError('internal_error', {
        side: 'service',
        detail: `the journal has version ${Number(reply[1])}, this worker knows ${JOURNAL_VERSION}`,
        hint: 'Run a worker of the version that wrote it; this one leaves it alone.',
      });
    if (reply[1] !== undefined)
      await this.#context.feed.changed(job.tenant, job.migrationId, fields(reply[1]));
    return { kind: 'superseded' };
  }

  async #held(job: JobRef, by: 'lease' | 'fence' | 'pair', waitMs: number): Promise<Claim> {
    await this.#context.due.schedule(job.tenant, job.migrationId, 'work', waitMs + AFTER_HELD_MS);
    return { kind: 'held', by, waitMs };
  }

  /** Null when they are gone, or sealed with a key that this process does not have. */
  #credentials(tenant: string, id: string, sealed: RecordFields): Credentials | null {
    const open = (purpose: 'source' | 'destination'): Auth | null => {
      const text = sealed.get(purpose);
      if (text === undefined) return null;
      return JSON.parse(this.#context.sealer.open(text, { tenant, migrationId: id, purpose })) as Auth;
    };
    try {
      const [source, destination] = [open('source'), open('destination')];
      return source === null || destination === null ? null : { source, destination };
    } catch (error) {
      if (!(error instanceof SealError)) throw error;
      this.#context.warn(`credentials of ${id} cannot be opened: ${error.message}`);
      return null;
    }
  }
}

function snapshot(record: RecordFields, reply: Reply): JournalSnapshot {
  const intents = [...fields(reply[3]).values()].map((json) => JSON.parse(json) as Intent);
  const epochs: Epoch[] = [];
  for (const [index, json] of fields(reply[4])) epochs[Number(index)] = JSON.parse(json) as Epoch;
  return {
    records: bytes(reply[2]),
    epochs,
    intents,
    cleanEnd: text(reply[6]) === '1',
    passComplete: record.get('passComplete') === '1',
    retryFailed: record.get('retryFailed') === '1',
    digestKey: Buffer.from(record.get('digestKey') ?? '', 'hex'),
  };
}
