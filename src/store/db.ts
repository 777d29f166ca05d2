import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { BridgeError } from '../domain/errors.ts';
import type { RedisClient } from './redis.ts';

/** Replies of Redis that say "not now" rather than "that is wrong". */
const UNAVAILABLE =
  /^(LOADING|OOM|READONLY|MISCONF|CLUSTERDOWN|MASTERDOWN|NOREPLICAS|TRYAGAIN|BUSY|NOAUTH|WRONGPASS|NOPERM|ERR max)/;

/** A Lua script of this folder, behind the heads that it needs. */
export class Script {
  readonly lua: string;
  readonly sha: string;

  constructor(...files: string[]) {
    this.lua = files.map((file) => readFileSync(new URL(file, import.meta.url), 'utf8')).join('\n');
    this.sha = createHash('sha1').update(this.lua).digest('hex');
  }
}

/** One answer of a script: a list that begins with its kind. */
export type Reply = readonly unknown[];

/**
 * Runs a script. `args` becomes its JSON argument (must hold no null), `binary` follows it untouched. Strings in
 * the reply are Buffers.
 * @throws BridgeError store_unavailable, internal_error
 */
export async function run(
  redis: RedisClient,
  script: Script,
  keys: readonly string[],
  args: object,
  ...binary: Buffer[]
): Promise<Reply> {
  const rest = [keys.length, ...keys, JSON.stringify(args), ...binary];
  const reply = await guarded(async () => {
    try {
      return await redis.callBuffer('evalsha', script.sha, ...rest);
    } catch (error) {
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error;
      return await redis.callBuffer('eval', script.lua, ...rest);
    }
  });
  return Array.isArray(reply) ? reply : [reply];
}

/**
 * The one place where what Redis throws is translated. The original is no cause: it holds the command with all
 * its arguments.
 * @throws BridgeError store_unavailable, internal_error
 */
export async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof BridgeError) throw error;
    const { name, message } = error instanceof Error ? error : new Error(String(error));
    const wrong = name === 'ReplyError' && !UNAVAILABLE.test(message);
    throw new BridgeError(wrong ? 'internal_error' : 'store_unavailable', {
      side: 'service',
      detail: message,
    });
  }
}

export function text(value: unknown): string {
  return Buffer.isBuffer(value) ? value.toString('utf8') : String(value ?? '');
}

/** A reply that holds bytes, as they are. */
export function bytes(value: unknown): Buffer {
  return Buffer.isBuffer(value) ? value : Buffer.alloc(0);
}

/** A flat list of names and values, as HGETALL gives it inside a script. */
export function fields(value: unknown): Map<string, string> {
  const flat = Array.isArray(value) ? value : [];
  const map = new Map<string, string>();
  for (let at = 0; at + 1 < flat.length; at += 2) map.set(text(flat[at]), text(flat[at + 1]));
  return map;
}
