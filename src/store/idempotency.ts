import { randomBytes } from 'node:crypto';
import type { IdempotencyState, IdempotencyStore, KeptAnswer } from '../domain/migrations.ts';
import { guarded, run, text } from './db.ts';
import { idempotencyKey } from './keys.ts';
import type { RedisClient } from './redis.ts';
import { IDEMPOTENCY_SCRIPT } from './scripts.ts';

const KEPT_MS = 24 * 3600 * 1000;
/** A process that dies in the middle blocks its key for this long. */
const PENDING_MS = 60_000;

export class RedisIdempotencyStore implements IdempotencyStore {
  readonly #redis: RedisClient;

  constructor(redis: RedisClient) {
    this.#redis = redis;
  }

  async begin(tenant: string, key: string, bodyDigest: string): Promise<IdempotencyState> {
    const nonce = randomBytes(12).toString('hex');
    const args = { op: 'begin', digest: bodyDigest, nonce, pending: PENDING_MS };
    const [kind, digest, answer] = await run(
      this.#redis,
      IDEMPOTENCY_SCRIPT,
      [idempotencyKey(tenant, key)],
      args,
    );
    if (text(kind) === 'fresh') return { kind: 'fresh' };
    if (text(digest) !== bodyDigest) return { kind: 'mismatch' };
    if (text(answer) === '') return { kind: 'pending' };
    return { kind: 'replay', answer: JSON.parse(text(answer)) as KeptAnswer };
  }

  async keep(tenant: string, key: string, answer: KeptAnswer): Promise<void> {
    const args = { op: 'keep', answer: JSON.stringify(answer), kept: KEPT_MS };
    await run(this.#redis, IDEMPOTENCY_SCRIPT, [idempotencyKey(tenant, key)], args);
  }

  async forget(tenant: string, key: string): Promise<void> {
    await guarded(() => this.#redis.del(idempotencyKey(tenant, key)));
  }
}
