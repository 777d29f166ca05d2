import type { JobRef } from '../domain/ports.ts';

/** The queue's name and prefix; the braces keep all its keys in one slot of a Redis Cluster. */
export const QUEUE_NAME = 'migrations';
export const QUEUE_PREFIX = '{popbridge}';
export const JOB_NAME = 'migrate';

export const PAYLOAD_VERSION = 1;

export type Payload =
  | { kind: 'job'; job: JobRef }
  /** Written by a newer popbridge: for its own workers. */
  | { kind: 'newer'; version: number }
  | { kind: 'invalid' };

/** What stands in a job is checked: another version may have written it. */
export function parsePayload(data: unknown): Payload {
  if (typeof data !== 'object' || data === null) return { kind: 'invalid' };
  const { version, tenant, migrationId, job } = data as Record<string, unknown>;
  if (typeof version === 'number' && version > PAYLOAD_VERSION) return { kind: 'newer', version };
  if (version !== PAYLOAD_VERSION || typeof tenant !== 'string' || typeof migrationId !== 'string')
    return { kind: 'invalid' };
  if (typeof job !== 'number' || !Number.isSafeInteger(job) || job < 1) return { kind: 'invalid' };
  return { kind: 'job', job: { version: PAYLOAD_VERSION, tenant, migrationId, job } };
}
