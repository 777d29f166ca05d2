import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Caller, KeyStore } from '../domain/migrations.ts';
import { guarded } from './db.ts';
import { apiKeyKey, requireTenant } from './keys.ts';
import type { RedisClient } from './redis.ts';

export type Scopes = Caller['scopes'];

const PREFIX = 'pbk_';
const ADMIN: Caller = { keyId: 'key_first', tenant: 'default', scopes: ['read', 'write', 'admin'] };

/**
 * API keys, of which only SHA-256 is kept: they are 256 random bits, or the operator's own first key, which is
 * kept nowhere.
 */
export class RedisKeyStore implements KeyStore {
  readonly #redis: RedisClient;
  readonly #admin: Buffer | null;

  /** @param adminKey the first key, of tenant `default` with all scopes; null: there is none here */
  constructor(redis: RedisClient, adminKey: string | null) {
    this.#redis = redis;
    this.#admin = adminKey === null ? null : sha256(adminKey);
  }

  async authenticate(bearer: string): Promise<Caller | null> {
    const digest = sha256(bearer);
    if (this.#admin !== null && timingSafeEqual(digest, this.#admin)) return ADMIN;
    if (!bearer.startsWith(PREFIX)) return null;
    // Found by its digest: what a search by it may tell of time says nothing about the key.
    const kept = await guarded(() => this.#redis.get(apiKeyKey(digest.toString('hex'))));
    return kept === null ? null : (JSON.parse(kept) as Caller);
  }

  /** A new key; it is shown this once. */
  async createKey(tenant: string, scopes: Scopes): Promise<{ keyId: string; key: string }> {
    requireTenant(tenant);
    const key = `${PREFIX}${randomBytes(32).toString('base64url')}`;
    const caller: Caller = { keyId: `key_${randomBytes(16).toString('hex')}`, tenant, scopes };
    await guarded(() => this.#redis.set(apiKeyKey(sha256(key).toString('hex')), JSON.stringify(caller)));
    return { keyId: caller.keyId, key };
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
