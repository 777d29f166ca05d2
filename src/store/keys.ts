import { createHash, randomBytes } from 'node:crypto';

const TENANT = /^[A-Za-z0-9_-]{1,64}$/;
const MIGRATION_ID = /^mig_[0-9a-f]{32}$/;

/** All keys of one migration, in the order in which every script gets them (lib.lua). */
export type MigrationKeys = readonly string[];
const PARTS = [
  'record',
  'run',
  'journal',
  'intents',
  'epochs',
  'details',
  'unfed',
  'runs',
  'secrets',
] as const;
export type KeyPart = (typeof PARTS)[number];

let lastMs = 0;
let sequence = 0;

/** `mig_` and 32 hex digits: ms since 1970, a count within it, random; so they sort by their creation. */
export function newMigrationId(): string {
  const ms = Math.max(Date.now(), lastMs);
  sequence = ms === lastMs ? sequence + 1 : 0;
  lastMs = ms;
  const time = ms.toString(16).padStart(12, '0') + (sequence & 0xffff).toString(16).padStart(4, '0');
  return `mig_${time}${randomBytes(8).toString('hex')}`;
}

/** Whether a migration could have this id: ids come from callers, and become part of key names. */
export function isMigrationId(id: string): boolean {
  return MIGRATION_ID.test(id);
}

/** @throws RangeError for a tenant that cannot stand in a key name */
export function requireTenant(tenant: string): void {
  if (!TENANT.test(tenant)) throw new RangeError('a tenant is 1 to 64 letters, digits, "-" or "_"');
}

/** @throws RangeError */
export function migrationKey(tenant: string, id: string, part: KeyPart): string {
  requireTenant(tenant);
  if (!isMigrationId(id)) throw new RangeError('not a migration id');
  return `popbridge:${tenant}:{${id}}:${part}`;
}

export function migrationKeys(tenant: string, id: string): MigrationKeys {
  return PARTS.map((part) => migrationKey(tenant, id, part));
}

export function pairKey(tenant: string, pair: string): string {
  requireTenant(tenant);
  return `popbridge:${tenant}:{pair:${pair}}:pair`;
}

/** The lease of the pair: one for all tenants, as the mailboxes are the same whoever moves them. */
export function pairLeaseKey(pair: string): string {
  return `popbridge:{pair:${pair}}:lease`;
}

/** Summaries for lists, the stream of events, and what was fed to it; one hash tag, as one script writes them. */
export function tenantKeys(tenant: string): { summaries: string; events: string; fed: string } {
  requireTenant(tenant);
  const head = `popbridge:${tenant}:{tenant:${tenant}}`;
  return { summaries: `${head}:summaries`, events: `${head}:events`, fed: `${head}:fed` };
}

export function idempotencyKey(tenant: string, key: string): string {
  requireTenant(tenant);
  const digest = createHash('sha256').update(key).digest('hex');
  return `popbridge:${tenant}:{idempotency:${digest}}:answer`;
}

export const SHARED_KEYS = {
  tenants: 'popbridge:{tenants}:all',
  pairSecret: 'popbridge:{pairs}:secret',
  due: ['popbridge:{due}:work', 'popbridge:{due}:backlog'] as const,
} as const;

/** By the SHA-256 of the API key: the tenant is not known before it is found. */
export function apiKeyKey(digest: string): string {
  return `popbridge:{apiKey:${digest}}:key`;
}

/** A member of an index that all tenants share. */
export function member(tenant: string, id: string): string {
  return `${tenant}/${id}`;
}

export function splitMember(name: string): { tenant: string; id: string } {
  const at = name.indexOf('/');
  return { tenant: name.slice(0, at), id: name.slice(at + 1) };
}
