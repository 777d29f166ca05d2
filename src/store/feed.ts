import { setTimeout as sleep } from 'node:timers/promises';
import type { Migration, MigrationState, Progress, WaitReason } from '../domain/migration.ts';
import { guarded, run } from './db.ts';
import { migrationKey, tenantKeys } from './keys.ts';
import { type RecordFields, revision, toMigration } from './record.ts';
import type { RedisClient } from './redis.ts';
import { ANNOUNCE_SCRIPT } from './scripts.ts';
import { summarize } from './summary.ts';

/** At most four events a second for each migration. */
const GAP_MS = 250;
const CLOSE_MS = 1_000;
const MAX_LENGTH = 10_000;
const MAX_AGE_MS = 24 * 3600 * 1000;

/** The data of a `migration` event. */
export interface MigrationEvent {
  id: string;
  state: MigrationState;
  stateReason: WaitReason | null;
  progress: Progress;
}

interface Pending {
  tenant: string;
  rev: number;
  event: MigrationEvent;
}

/** After an event went out: its pause, and what came up meanwhile. */
interface Slot {
  next: Pending | null;
  timer: NodeJS.Timeout;
}

/**
 * Writes what a tenant's migrations share, after the commit: summaries for lists, and events. It never fails what
 * it tells of: what is not fed here, the sweep feeds.
 */
export class Feed {
  readonly #redis: RedisClient;
  readonly #warn: (message: string) => void;
  readonly #slots = new Map<string, Slot>();
  readonly #underWay = new Set<Promise<void>>();
  #closed = false;

  constructor(redis: RedisClient, warn: (message: string) => void) {
    this.#redis = redis;
    this.#warn = warn;
  }

  /** The record changed. Resolves when lists show it; its event may wait for a moment. */
  async changed(tenant: string, id: string, record: RecordFields): Promise<void> {
    const migration = toMigration(id, record);
    const pending = { tenant, rev: revision(record), event: eventOf(migration) };
    await this.#tracked(async () => {
      const wait = await this.#announce(pending, JSON.stringify(summarize(migration)));
      if (wait > 0) this.#park(pending, wait);
    });
  }

  /** The run moved on. Returns at once. */
  progressed(tenant: string, rev: number, event: MigrationEvent): void {
    const pending = { tenant, rev, event };
    if (this.#slots.has(event.id)) this.#park(pending, GAP_MS);
    else void this.#tracked(() => this.#send(pending));
  }

  /** Details of exceptions, by index of the record. */
  detailed(tenant: string, id: string, details: readonly { index: string; json: string }[]): Promise<void> {
    return this.#tracked(async () => {
      const { events } = tenantKeys(tenant);
      await guarded(async () => {
        const pipeline = this.#redis.pipeline();
        for (const { json } of details)
          pipeline.xadd(events, 'MAXLEN', '~', MAX_LENGTH, '*', 't', 'message', 'm', id, 'd', json);
        for (const [error] of (await pipeline.exec()) ?? []) if (error !== null) throw error;
        await this.#redis.srem(migrationKey(tenant, id, 'unfed'), ...details.map(({ index }) => index));
      });
    });
  }

  /** Feeds details that a process which is gone did not. */
  async leftOver(tenant: string, id: string): Promise<void> {
    await this.#tracked(async () => {
      const rows = await guarded(async () => {
        const indexes = await this.#redis.srandmember(migrationKey(tenant, id, 'unfed'), 500);
        if (indexes.length === 0) return [];
        const found = await this.#redis.hmget(migrationKey(tenant, id, 'details'), ...indexes);
        return indexes.map((index, at) => ({ index, json: found[at] ?? null }));
      });
      const details = rows.flatMap(({ index, json }) => (json === null ? [] : [{ index, json }]));
      if (details.length > 0) await this.detailed(tenant, id, details);
    });
  }

  /** The migration is gone. */
  async forget(tenant: string, id: string): Promise<void> {
    const { summaries, fed } = tenantKeys(tenant);
    await this.#tracked(() =>
      guarded(async () => {
        await this.#redis.hdel(summaries, id);
        await this.#redis.hdel(fed, id);
      }),
    );
  }

  /** Sends what is held back and waits for what is under way, a second at most: the sweep feeds the rest. */
  async close(): Promise<void> {
    this.#closed = true;
    const late = new AbortController();
    const patience = sleep(CLOSE_MS, undefined, { signal: late.signal }).catch(() => {});
    await Promise.race([this.#flush(), patience]);
    late.abort();
  }

  async #flush(): Promise<void> {
    await Promise.all(this.#underWay);
    const held = [...this.#slots.values()];
    this.#slots.clear();
    for (const { timer } of held) clearTimeout(timer);
    const pending = held.flatMap(({ next }) => (next === null ? [] : [next]));
    if (pending.length === 0) return;
    await sleep(GAP_MS);
    await Promise.all(pending.map((one) => this.#tracked(async () => void (await this.#announce(one)))));
  }

  #announce(pending: Pending, summary?: string): Promise<number> {
    const { summaries, events, fed } = tenantKeys(pending.tenant);
    const { rev, event } = pending;
    const limits = { gap: GAP_MS, maxLength: MAX_LENGTH, maxAge: MAX_AGE_MS };
    const args = { id: event.id, rev, event: JSON.stringify(event), summary, ...limits };
    return run(this.#redis, ANNOUNCE_SCRIPT, [summaries, events, fed], args).then(([wait]) => Number(wait));
  }

  async #send(pending: Pending): Promise<void> {
    this.#open(pending.event.id, GAP_MS);
    const wait = await this.#announce(pending);
    if (wait > 0) this.#park(pending, wait);
  }

  #park(pending: Pending, wait: number): void {
    const slot = this.#slots.get(pending.event.id) ?? this.#open(pending.event.id, wait);
    if (slot.next === null || slot.next.rev < pending.rev) slot.next = pending;
  }

  #open(id: string, wait: number): Slot {
    const slot: Slot = { next: null, timer: setTimeout(() => this.#resume(id, slot), wait) };
    this.#slots.set(id, slot);
    return slot;
  }

  #resume(id: string, slot: Slot): void {
    this.#slots.delete(id);
    const { next } = slot;
    if (next !== null && !this.#closed) void this.#tracked(() => this.#send(next));
  }

  async #tracked(work: () => Promise<void>): Promise<void> {
    const done = work().catch((error: unknown) => {
      this.#warn(`an event was not fed: ${error instanceof Error ? error.message : String(error)}`);
    });
    this.#underWay.add(done);
    await done;
    this.#underWay.delete(done);
  }
}

function eventOf({ id, state, stateReason, progress }: Migration): MigrationEvent {
  return { id, state, stateReason, progress };
}
