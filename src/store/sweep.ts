import type { JobRef } from '../domain/ports.ts';
import { fields, guarded, run, text } from './db.ts';
import type { Due, DueIndex, DueList } from './due.ts';
import type { Feed } from './feed.ts';
import { migrationKeys, SHARED_KEYS, tenantKeys } from './keys.ts';
import type { Pairs } from './pairs.ts';
import { jobRef, type RecordFields } from './record.ts';
import type { RedisClient } from './redis.ts';
import { MIGRATION_SCRIPTS } from './scripts.ts';
import { parseSummary } from './summary.ts';

/** Bounds of the pause between two looks at a job that nobody claims; it grows with its age. */
const LOOK_AFTER_MS = 5_000;
const LOOK_BEFORE_MS = 600_000;
const HEAL_COUNT = 100;

export interface SweepContext {
  redis: RedisClient;
  due: DueIndex;
  pairs: Pairs;
  feed: Feed;
  /** How long an ended migration is kept, ms. */
  retentionMs: number;
  credentialRetentionMs: number;
  warn: (message: string) => void;
}

type Job = { job: JobRef; notBefore: Date | null };

/**
 * Looks after what nobody else does: jobs whose worker died or which never reached the queue, stops that no worker
 * is left to finish, records to be erased, events that were not fed. Any number of workers may sweep at once. A
 * job that was handed out and not claimed is handed out again under its old number, which a queue that still
 * holds it ignores.
 */
export class Sweep {
  readonly #context: SweepContext;
  #tenants: string[] = [];
  #cursor = '0';

  constructor(context: SweepContext) {
    this.#context = context;
  }

  async run(limit: number): Promise<Job[]> {
    const taken = await this.#context.due.take(limit);
    const looked = await Promise.all(taken.map((due) => this.#look(due)));
    await this.#heal();
    return looked.filter((job) => job !== null);
  }

  /** One that cannot be looked at must not hide the others; it comes again. */
  async #look(due: Due): Promise<Job | null> {
    try {
      return await this.#inspect(due);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#context.warn(`sweep: ${due.id} could not be looked at: ${why}`);
      return null;
    }
  }

  async #inspect(due: Due): Promise<Job | null> {
    const { redis, retentionMs, credentialRetentionMs } = this.#context;
    const { tenant, id } = due;
    const reply = await run(redis, MIGRATION_SCRIPTS.inspect, migrationKeys(tenant, id), {
      retention: retentionMs,
      credentialRetention: credentialRetentionMs,
      after: LOOK_AFTER_MS,
      before: LOOK_BEFORE_MS,
    });
    const verdict = text(reply[0]);
    const record = fields(reply[2]);
    if (verdict === 'gone' || verdict === 'erased') await this.#forget(due, text(reply[4]));
    else await this.#feed(due, record, Number(reply[3]));
    await this.#context.due.settle(due, listOf(record), Number(reply[1]));
    return verdict === 'work' ? { job: jobRef(tenant, id, record), notBefore: null } : null;
  }

  async #forget({ tenant, id }: Due, pair: string): Promise<void> {
    if (pair !== '') await this.#context.pairs.free(tenant, pair, id);
    await this.#context.feed.forget(tenant, id);
  }

  async #feed({ tenant, id }: Due, record: RecordFields, unfed: number): Promise<void> {
    if (record.get('tomb') !== undefined) return;
    await this.#context.feed.changed(tenant, id, record);
    if (unfed > 0) await this.#context.feed.leftOver(tenant, id);
  }

  /** A slow walk over all that tenants have, a page each time, for what the index lost. */
  async #heal(): Promise<void> {
    const { redis, due } = this.#context;
    if (this.#tenants.length === 0) this.#tenants = await guarded(() => redis.smembers(SHARED_KEYS.tenants));
    const [tenant] = this.#tenants;
    if (tenant === undefined) return;
    const { summaries } = tenantKeys(tenant);
    const [next, page] = await guarded(() => redis.hscan(summaries, this.#cursor, 'COUNT', HEAL_COUNT));
    const kept = page.filter((_, at) => at % 2 === 1).map(parseSummary);
    await due.heal(
      tenant,
      kept.filter(({ state }) => state !== 'paused').map(({ id }) => id),
    );
    this.#cursor = next;
    if (next === '0') this.#tenants.shift();
  }
}

function listOf(record: RecordFields): DueList {
  const state = record.get('state') ?? '';
  const patient = ['queued', 'completed', 'completedWithFailures', 'failed', 'canceled'];
  return patient.includes(state) ? 'backlog' : 'work';
}
