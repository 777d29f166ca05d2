import { readdir, readFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { RedisServer } from '../support/redis.ts';
import { argumentsOf, endOf } from './read-redis.ts';

/** Redis 7 keeps its append-only file in parts; this is the one that grows. */
async function growingFile({ dir }: RedisServer): Promise<string> {
  const folder = join(dir, 'appendonlydir');
  const parts = (await readdir(folder)).filter((name) => name.endsWith('.incr.aof'));
  const number = (name: string) => Number(/\.(\d+)\.incr/.exec(name)?.[1]);
  const [last] = parts.sort((a, b) => number(b) - number(a));
  if (last === undefined) throw new Error('Redis keeps no append-only file');
  return join(folder, last);
}

/** How much it has written by now, bytes. */
export async function written(server: RedisServer): Promise<number> {
  return (await readFile(await growingFile(server))).length;
}

/**
 * Takes the last writes of a dead Redis away, as a power failure would that comes before fsync. What a script
 * wrote goes as a whole.
 * @param choose how many, given how many there are
 * @param floor what was written before this (bytes) stays
 */
export async function forgetLast(
  server: RedisServer,
  floor: number,
  choose: (writes: number) => number,
): Promise<void> {
  const file = await growingFile(server);
  const content = await readFile(file);
  const starts: number[] = [];
  let inScript = false;
  for (let at = 0; at < content.length; ) {
    const end = endOf(content, at) ?? content.length;
    const name = argumentsOf(content.subarray(at, end))[0]?.toString('latin1').toUpperCase();
    if (!inScript && at >= floor) starts.push(at);
    if (name === 'MULTI') inScript = true;
    if (name === 'EXEC') inScript = false;
    at = end;
  }
  const lost = choose(starts.length);
  if (lost > 0) await truncate(file, starts[starts.length - lost] ?? floor);
}
