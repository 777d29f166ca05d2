import type { MessageDetail } from '../domain/migration.ts';
import type { MessageQuery, Page } from '../domain/migrations.ts';
import { parseCursor, toCursor } from './cursor.ts';
import { guarded } from './db.ts';
import { migrationKey } from './keys.ts';
import type { RedisClient } from './redis.ts';

const SORT = 'message';
const SCAN_COUNT = 1_000;

/** What makes a message worth an event, and a row even where no manifest is kept. */
export function isException(detail: MessageDetail): boolean {
  const { outcome, altered, repair, reason } = detail;
  return outcome === 'failed' || outcome === 'skipped' || altered || repair !== null || reason !== null;
}

/**
 * A page of details in the order of the journal.
 * @throws RangeError for a cursor that it did not give out; BridgeError store_unavailable
 */
export async function pageOfDetails(
  redis: RedisClient,
  tenant: string,
  id: string,
  query: MessageQuery,
): Promise<Page<MessageDetail>> {
  const after = query.cursor === undefined ? -1 : Number(parseCursor(query.cursor, SORT).key);
  const key = migrationKey(tenant, id, 'details');
  const indexes = await matching(redis, key, query);
  const rest = indexes.filter((index) => index > after);
  const page = rest.slice(0, query.limit);
  const last = page.at(-1);
  const kept = page.length === 0 ? [] : await guarded(() => redis.hmget(key, ...page.map(String)));
  return {
    items: kept.flatMap((json) => (json === null ? [] : [parseDetail(json)])),
    nextCursor:
      last === undefined || rest.length <= query.limit
        ? null
        : toCursor(SORT, { id: String(last), key: last }),
    total: indexes.length,
  };
}

/** Indexes of the rows asked for, ascending. Holds no row longer than it looks at it. */
async function matching(redis: RedisClient, key: string, query: MessageQuery): Promise<number[]> {
  if (query.outcome === undefined && query.flag === undefined)
    return (await guarded(() => redis.hkeys(key))).map(Number).sort((a, b) => a - b);
  const found = new Set<number>();
  let cursor = '0';
  do {
    const [next, rows] = await guarded(() => redis.hscan(key, cursor, 'COUNT', SCAN_COUNT));
    for (let at = 0; at + 1 < rows.length; at += 2)
      if (matches(parseDetail(rows[at + 1] ?? ''), query)) found.add(Number(rows[at]));
    cursor = next;
  } while (cursor !== '0');
  return [...found].sort((a, b) => a - b);
}

function matches(detail: MessageDetail, { outcome, flag }: MessageQuery): boolean {
  if (outcome !== undefined && detail.outcome !== outcome) return false;
  if (flag === 'altered') return detail.altered;
  return flag === undefined || detail.repair !== null;
}

function parseDetail(json: string): MessageDetail {
  return JSON.parse(json) as MessageDetail;
}
