import type { Migration } from '../domain/migration.ts';
import type { ListQuery, Page } from '../domain/migrations.ts';
import { parseCursor, toCursor } from './cursor.ts';
import { guarded } from './db.ts';
import { tenantKeys } from './keys.ts';
import type { RedisClient } from './redis.ts';
import { parseSummary, type Summary } from './summary.ts';

/**
 * A page of a tenant's migrations, by reading all their summaries: good for some ten thousand.
 * @param get reads a record; null: it is gone, and only its summary is left
 * @throws RangeError for a cursor that it did not give out; BridgeError store_unavailable
 */
export async function listMigrations(
  redis: RedisClient,
  tenant: string,
  query: ListQuery,
  get: (id: string) => Promise<Migration | null>,
): Promise<Page<Migration>> {
  const after = query.cursor === undefined ? null : parseCursor(query.cursor, query.sort);
  const kept = await guarded(() => redis.hvals(tenantKeys(tenant).summaries));
  const found = kept.map(parseSummary).filter((summary) => matches(summary, query));
  const rows = found.map((summary) => ({ id: summary.id, key: sortKey(summary, query.sort) }));
  const forward = query.sort === '-createdAt' ? -1 : 1;
  rows.sort((a, b) => forward * compare(a, b));
  const rest = after === null ? rows : rows.filter((row) => forward * compare(row, after) > 0);
  const page = rest.slice(0, query.limit);
  const last = page.at(-1);
  const items = await Promise.all(page.map(({ id }) => get(id)));
  return {
    items: items.filter((item) => item !== null),
    nextCursor: last === undefined || rest.length <= query.limit ? null : toCursor(query.sort, last),
    total: rows.length,
  };
}

interface Row {
  id: string;
  key: string | number;
}

function sortKey(summary: Summary, sort: ListQuery['sort']): string | number {
  if (sort === 'label') return summary.label.toLowerCase();
  return sort === 'state' ? summary.state : summary.createdAt;
}

/** By the key, and by the id among equal ones: a total order, so that a page can begin behind any row. */
function compare(a: Row, b: Row): number {
  if (a.key !== b.key) return a.key < b.key ? -1 : 1;
  return a.id === b.id ? 0 : a.id < b.id ? -1 : 1;
}

function matches(summary: Summary, query: ListQuery): boolean {
  const { state, batchId, errorCode, host, createdAfter, createdBefore, q } = query;
  if (state !== undefined && state.length > 0 && !state.includes(summary.state)) return false;
  if (batchId !== undefined && summary.batchId !== batchId) return false;
  if (errorCode !== undefined && summary.errorCode !== errorCode) return false;
  if (host !== undefined && !summary.hosts.includes(host.toLowerCase())) return false;
  if (createdAfter !== undefined && summary.createdAt < createdAfter.getTime()) return false;
  if (createdBefore !== undefined && summary.createdAt >= createdBefore.getTime()) return false;
  const prefix = q?.toLowerCase() ?? '';
  return [summary.label.toLowerCase(), ...summary.users].some((name) => name.startsWith(prefix));
}
