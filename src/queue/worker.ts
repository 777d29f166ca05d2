import { setTimeout as sleep } from 'node:timers/promises';
import { type ConnectionOptions, DelayedError, type Job, UnrecoverableError, Worker } from 'bullmq';
import type { JobRef } from '../domain/ports.ts';
import { PAYLOAD_VERSION, parsePayload, QUEUE_NAME, QUEUE_PREFIX } from './payload.ts';

/** BullMQ's own lock. It only keeps the queue tidy: who may work on a migration is settled by our lease. */
const LOCK_MS = 30_000;
const STALLED_INTERVAL_MS = 5_000;
/** A job of a newer version is offered again after this long. */
const LEAVE_MS = 30_000;
const CLOSE_MS = 30_000;

export interface WorkerOptions {
  /** An ioredis client with `maxRetriesPerRequest: null`; stays the caller's to close. */
  connection: ConnectionOptions;
  /** How many jobs at once. */
  concurrency: number;
  /** The signal is aborted when the worker closes: finish what is in hand. */
  handler: (job: JobRef, closing: AbortSignal) => Promise<void>;
  /** Told of faults of the connection, of jobs that cannot be read, and of what a handler throws. */
  onError: (error: Error) => void;
  /** How long `close` waits for jobs, ms. Default 30,000. */
  closeMs?: number;
}

export interface MigrationWorker {
  /** Takes no more jobs, tells the running ones, and waits for them, at most `closeMs`. Idempotent. */
  close(): Promise<void>;
}

/** Takes jobs at once and until it is closed. */
export function createWorker(options: WorkerOptions): MigrationWorker {
  const { connection, concurrency, handler, onError, closeMs = CLOSE_MS } = options;
  const closing = new AbortController();
  const process = async (job: Job, token?: string): Promise<void> => {
    const payload = parsePayload(job.data);
    if (payload.kind === 'job') return handler(payload.job, closing.signal);
    if (payload.kind === 'invalid')
      throw new UnrecoverableError(`job ${job.id} is none of ours: it is dropped`);
    const left = leaveToNewer(job, payload.version);
    onError(left);
    await job.moveToDelayed(Date.now() + LEAVE_MS, token);
    throw left;
  };
  const worker = new Worker(QUEUE_NAME, process, {
    connection,
    concurrency,
    prefix: QUEUE_PREFIX,
    lockDuration: LOCK_MS,
    stalledInterval: STALLED_INTERVAL_MS,
    // A job whose worker died is given to another one however often that happens.
    maxStalledCount: Number.MAX_SAFE_INTEGER,
  });
  worker.on('error', onError);
  worker.on('failed', (_job, error) => onError(error));
  let closed: Promise<void> | undefined;
  return {
    close: () => {
      closing.abort();
      closed ??= bounded(worker, closeMs);
      return closed;
    },
  };
}

function leaveToNewer(job: Job, version: number): DelayedError {
  const known = `this worker knows ${PAYLOAD_VERSION}`;
  return new DelayedError(`job ${job.id} has version ${version}, ${known}: left to a newer one`);
}

/** Without Redis BullMQ's own end may not come. */
async function bounded(worker: Worker, closeMs: number): Promise<void> {
  const timeout = new AbortController();
  const late = sleep(closeMs, undefined, { signal: timeout.signal }).then(
    () => worker.disconnect(),
    () => {},
  );
  await Promise.race([worker.close(), late]);
  timeout.abort();
}
