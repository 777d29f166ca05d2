import type { ErrorReport } from '../domain/errors.ts';
import type { Progress, RunCounts, RunSummary } from '../domain/migration.ts';
import { guarded } from './db.ts';
import { migrationKey } from './keys.ts';
import { isoTime } from './record.ts';
import type { RedisClient } from './redis.ts';

/** The rows of `/runs`, the first one first. */
export async function runHistory(
  redis: RedisClient,
  tenant: string,
  id: string,
  progress: Progress,
): Promise<RunSummary[]> {
  const key = (part: 'runs' | 'run') => migrationKey(tenant, id, part);
  const [kept, leaseUntil, [seconds]] = await guarded(() =>
    Promise.all([redis.hgetall(key('runs')), redis.hget(key('run'), 'leaseUntil'), redis.time()]),
  );
  const runs = Object.keys(kept).flatMap((name) =>
    name.endsWith('.startedAt') ? [Number.parseInt(name, 10)] : [],
  );
  const lease = { until: leaseUntil ?? '0', live: Number(leaseUntil) > Number(seconds) * 1000 };
  return runs.sort((a, b) => a - b).map((run) => summary(run, kept, progress, lease));
}

/** A run without an end is at work while the lease lives, and was lost when it ran out. */
function summary(
  run: number,
  kept: Record<string, string>,
  progress: Progress,
  lease: { until: string; live: boolean },
): RunSummary {
  const value = (name: string) => kept[`${run}.${name}`] ?? '';
  const ended = value('endedAt') !== '';
  const error = value('error');
  return {
    run,
    startedAt: isoTime(value('startedAt')) ?? '',
    endedAt: isoTime(ended ? value('endedAt') : lease.live ? '' : lease.until),
    worker: value('worker'),
    outcome: ended ? (value('outcome') as RunSummary['outcome']) : lease.live ? null : 'lost',
    counts: difference(parseProgress(value('base')), ended ? parseProgress(value('final')) : progress),
    error: error === '' ? null : (JSON.parse(error) as ErrorReport),
  };
}

function difference(before: Progress, after: Progress): RunCounts {
  const moved = (name: 'copied' | 'alreadyPresent' | 'skipped' | 'failed') =>
    (after.messages[name] ?? 0) - (before.messages[name] ?? 0);
  return {
    copied: moved('copied'),
    alreadyPresent: moved('alreadyPresent'),
    skipped: moved('skipped'),
    failed: moved('failed'),
    bytes: (after.bytes.settled ?? 0) - (before.bytes.settled ?? 0),
  };
}

function parseProgress(json: string): Progress {
  return JSON.parse(json) as Progress;
}
