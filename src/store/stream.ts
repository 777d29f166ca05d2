import type { FeedEvent } from '../domain/migrations.ts';
import { guarded } from './db.ts';
import type { RedisClient } from './redis.ts';

export type StreamRow = [id: string, fields: string[]];

/** A Redis stream id, `ms-seq`. */
export function isStreamId(id: string): boolean {
  return /^\d{1,15}-\d{1,15}$/.test(id);
}

export function compareIds(a: string, b: string): number {
  const [aMs = 0, aSeq = 0] = a.split('-').map(Number);
  const [bMs = 0, bSeq = 0] = b.split('-').map(Number);
  return aMs - bMs || aSeq - bSeq;
}

export interface StreamInfo {
  /** Ids; `0-0` for a stream that never had an entry. */
  first: string;
  last: string;
  /** Whether entries were ever dropped from its beginning. */
  trimmed: boolean;
}

export async function streamInfo(redis: RedisClient, key: string): Promise<StreamInfo> {
  const reply = await guarded(async () => {
    try {
      return await redis.xinfo('STREAM', key);
    } catch (error) {
      if (error instanceof Error && error.message.includes('no such key')) return [];
      throw error;
    }
  });
  const flat = Array.isArray(reply) ? reply : [];
  const value = (name: string): unknown => flat[flat.indexOf(name) + 1];
  if (flat.length === 0) return { first: '0-0', last: '0-0', trimmed: false };
  const first = value('first-entry');
  return {
    first: Array.isArray(first) ? String(first[0]) : '0-0',
    last: String(value('last-generated-id')),
    // Redis before 7 does not count what was added.
    trimmed: !flat.includes('entries-added') || value('entries-added') !== value('length'),
  };
}

export function fromStream([id, flat]: StreamRow): FeedEvent {
  const value = (name: string) => flat[flat.indexOf(name) + 1] ?? '';
  return { id, type: value('t') as FeedEvent['type'], migrationId: value('m'), data: JSON.parse(value('d')) };
}
