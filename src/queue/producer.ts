import { type ConnectionOptions, Queue } from 'bullmq';
import { BridgeError } from '../domain/errors.ts';
import type { JobRef, WorkQueue } from '../domain/ports.ts';
import { JOB_NAME, QUEUE_NAME, QUEUE_PREFIX } from './payload.ts';

export interface QueueOptions {
  /** An ioredis client whose commands fail in bounded time; stays the caller's to close. */
  connection: ConnectionOptions;
  onError: (error: Error) => void;
}

export interface QueueDepth {
  waiting: number;
  active: number;
  delayed: number;
}

export interface MigrationQueue extends WorkQueue {
  /** Jobs by what they do now. @throws BridgeError store_unavailable */
  depth(): Promise<QueueDepth>;
  /** Idempotent. */
  close(): Promise<void>;
}

/**
 * The queue carries work, not truth: a job lives no longer than its run, and is never tried again by the queue
 * itself.
 */
export function createQueue({ connection, onError }: QueueOptions): MigrationQueue {
  const queue = new Queue<JobRef>(QUEUE_NAME, {
    connection,
    prefix: QUEUE_PREFIX,
    skipWaitingForReady: true,
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true, attempts: 1 },
  });
  queue.on('error', onError);
  return {
    enqueue: async (job, notBefore) => {
      const delay = notBefore === null ? 0 : Math.max(0, notBefore.getTime() - Date.now());
      // A known id changes nothing; ":" is not allowed in one.
      await answered(queue.add(JOB_NAME, job, { jobId: `${job.migrationId}-${job.job}`, delay }));
    },
    depth: async () => {
      const counts = await answered(queue.getJobCounts('waiting', 'active', 'delayed'));
      return { waiting: counts.waiting ?? 0, active: counts.active ?? 0, delayed: counts.delayed ?? 0 };
    },
    close: () => queue.close(),
  };
}

async function answered<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    throw new BridgeError('store_unavailable', { side: 'service', detail });
  }
}
