import { run, text } from './db.ts';
import { member, SHARED_KEYS, splitMember } from './keys.ts';
import type { RedisClient } from './redis.ts';
import { DUE_SCRIPT } from './scripts.ts';

/** `work`: may have lost its worker, or waits for a time. `backlog`: waits in the queue, or has ended. */
export type DueList = 'work' | 'backlog';

export interface Due {
  tenant: string;
  id: string;
  /** Names this taking of the entry. */
  score: number;
}

/** How long a sweep has for what it took, before another one may take it. */
const HOLD_MS = 10_000;

/** When to look at which migration: shared by all tenants and workers, and healed if it forgets one. */
export class DueIndex {
  readonly #redis: RedisClient;

  constructor(redis: RedisClient) {
    this.#redis = redis;
  }

  /** Has the migration looked at in `delayMs`. */
  async schedule(tenant: string, id: string, list: DueList, delayMs: number): Promise<void> {
    await this.#run({ op: 'schedule', member: member(tenant, id), list, delay: Math.max(0, delayMs) });
  }

  /** What is due now, at most `limit`; nobody else gets it for a while. */
  async take(limit: number): Promise<Due[]> {
    const reply = await this.#run({ op: 'take', limit, hold: HOLD_MS });
    const due: Due[] = [];
    for (let at = 0; at + 1 < reply.length; at += 2)
      due.push({ ...splitMember(text(reply[at])), score: Number(text(reply[at + 1])) });
    return due;
  }

  /** Says when to look again (ms since 1970, 0: never), unless it was scheduled anew since it was taken. */
  async settle(due: Due, list: DueList, at: number): Promise<void> {
    await this.#run({ op: 'settle', member: member(due.tenant, due.id), score: due.score, list, at });
  }

  /** Adds those that nobody would look at. */
  async heal(tenant: string, ids: readonly string[]): Promise<void> {
    if (ids.length > 0) await this.#run({ op: 'heal', members: ids.map((id) => member(tenant, id)) });
  }

  #run(args: object) {
    return run(this.#redis, DUE_SCRIPT, SHARED_KEYS.due, args);
  }
}
