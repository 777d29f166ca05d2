import { createHmac, randomBytes } from 'node:crypto';
import type { MigrationDraft } from '../domain/migration.ts';
import { guarded, type Reply, run, text } from './db.ts';
import { pairKey, pairLeaseKey, SHARED_KEYS } from './keys.ts';
import type { RedisClient } from './redis.ts';
import { PAIR_SCRIPT } from './scripts.ts';

/** How long a reservation waits for its record to be written: longer than any command may take. */
const PATIENCE_MS = 30_000;

export type Reservation = { kind: 'reserved' } | { kind: 'taken'; id: string };
export type PairClaim = { kind: 'acquired' } | { kind: 'held'; by: 'pair' | 'fence'; waitMs: number };

/**
 * Keeps two migrations of one mailbox apart: at the door (`reserve`, within a tenant), and at work (a lease, across
 * tenants, that outlives a deleted record). A registration is never withdrawn when a migration ends; whoever finds it asks the record.
 */
export class Pairs {
  readonly #redis: RedisClient;
  readonly #leaseMs: number;

  constructor(redis: RedisClient, leaseMs: number) {
    this.#redis = redis;
    this.#leaseMs = leaseMs;
  }

  /** HMAC of source account, destination account and folder, under a secret of this installation. */
  async digest(draft: MigrationDraft): Promise<string> {
    const { source, destination } = draft;
    const folder =
      'path' in destination.folder ? folderPath(destination.folder.path) : [destination.folder.specialUse];
    const account = ({ host, port, username }: { host: string; port: number; username: string }) => [
      host.toLowerCase().replace(/\.$/, ''),
      port,
      username,
    ];
    const names = [
      account(source),
      account(destination),
      'path' in destination.folder ? 'path' : 'use',
      folder,
    ];
    const secret = await this.#secret();
    return createHmac('sha256', secret).update(JSON.stringify(names)).digest('hex').slice(0, 40);
  }

  /**
   * Registers the migration as the active one of its pair. `isActive` is asked about the one that is registered.
   * A reservation that is not confirmed is given up after a while.
   */
  async reserve(
    tenant: string,
    pair: string,
    id: string,
    isActive: (id: string) => Promise<boolean>,
  ): Promise<Reservation> {
    let replace = '';
    for (;;) {
      const stamp = randomBytes(8).toString('hex');
      const args = { op: 'reserve', id, stamp, replace, patience: PATIENCE_MS };
      const [kind, other, otherStamp, fresh] = await this.#run(tenant, pair, args);
      if (text(kind) === 'reserved') return { kind: 'reserved' };
      const otherId = text(other);
      if (fresh === 1 || (await isActive(otherId))) return { kind: 'taken', id: otherId };
      replace = text(otherStamp);
    }
  }

  /** The record of the reservation is written. */
  async confirm(tenant: string, pair: string, id: string): Promise<void> {
    await this.#run(tenant, pair, { op: 'confirm', id });
  }

  /** The record is gone: another migration may take its place. */
  async free(tenant: string, pair: string, id: string): Promise<void> {
    await this.#run(tenant, pair, { op: 'free', id });
  }

  /** Takes the lease of the pair for a run. */
  async acquire(pair: string, runId: string): Promise<PairClaim> {
    const reply = await this.#onLease(pair, { op: 'acquire', runId, lease: this.#leaseMs });
    if (text(reply[0]) === 'acquired') return { kind: 'acquired' };
    return { kind: 'held', by: text(reply[1]) === 'fence' ? 'fence' : 'pair', waitMs: Number(reply[2]) };
  }

  /** Starts the fence, where one is due, while another one is waited for anyway. */
  async look(pair: string): Promise<void> {
    await this.#onLease(pair, { op: 'look', lease: this.#leaseMs });
  }

  /** False when the lease is not held any more. */
  async renew(pair: string, runId: string): Promise<boolean> {
    const [kind] = await this.#onLease(pair, { op: 'renew', runId, lease: this.#leaseMs });
    return text(kind) === 'ok';
  }

  async release(pair: string, runId: string): Promise<void> {
    await this.#onLease(pair, { op: 'release', runId, lease: this.#leaseMs });
  }

  async #secret(): Promise<Buffer> {
    const key = SHARED_KEYS.pairSecret;
    return await guarded(async () => {
      await this.#redis.set(key, randomBytes(32), 'NX');
      return (await this.#redis.getBuffer(key)) ?? Buffer.alloc(0);
    });
  }

  #onLease(pair: string, args: object): Promise<Reply> {
    return run(this.#redis, PAIR_SCRIPT, [pairLeaseKey(pair)], args);
  }

  #run(tenant: string, pair: string, args: object): Promise<Reply> {
    return run(this.#redis, PAIR_SCRIPT, [pairKey(tenant, pair)], args);
  }
}

// RFC 9051 section 5.1: INBOX is the one name that is the same in any case.
function folderPath(path: readonly string[]): string[] {
  return path.map((level, at) => (at === 0 && level.toUpperCase() === 'INBOX' ? 'INBOX' : level));
}
