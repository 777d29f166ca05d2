import type { ErrorReport } from '../domain/errors.ts';
import type {
  Auth,
  AuthSummary,
  Destination,
  Endpoint,
  Migration,
  MigrationDraft,
  MigrationOptions,
  MigrationState,
  Progress,
  WaitReason,
} from '../domain/migration.ts';
import { NO_PROGRESS } from '../domain/migration.ts';
import type { JobRef } from '../domain/ports.ts';

/** A record as Redis holds it: text by field name. Times are ms since 1970, an empty text is none. */
export type RecordFields = ReadonlyMap<string, string>;

/** The fields that a new record begins with; create.lua adds state and times. */
export function initialFields(draft: MigrationDraft): Record<string, string> {
  return {
    label: draft.label.toWellFormed(),
    source: JSON.stringify({ ...draft.source, auth: undefined }),
    sourceAuth: JSON.stringify(draft.source.auth),
    destination: JSON.stringify({ ...draft.destination, auth: undefined }),
    destinationAuth: JSON.stringify(draft.destination.auth),
    options: JSON.stringify(draft.options),
    progress: JSON.stringify(NO_PROGRESS),
  };
}

export function toMigration(id: string, record: RecordFields): Migration {
  const value = (name: string) => record.get(name) ?? '';
  return {
    id,
    label: value('label'),
    batchId: null,
    state: value('state') as MigrationState,
    stateReason: (value('stateReason') || null) as WaitReason | null,
    nextRunAt: isoTime(value('nextRunAt')),
    createdAt: isoTime(value('createdAt')) ?? '',
    startedAt: isoTime(value('startedAt')),
    finishedAt: isoTime(value('finishedAt')),
    source: {
      ...parsed<Omit<Endpoint, 'auth'>>(value('source')),
      auth: parsed<AuthSummary>(value('sourceAuth')),
    },
    destination: {
      ...parsed<Omit<Destination, 'auth'>>(value('destination')),
      auth: parsed<AuthSummary>(value('destinationAuth')),
    },
    options: parsed<MigrationOptions>(value('options')),
    progress: parsed<Progress>(value('progress')),
    runs: Number(value('runs')),
    error: value('error') === '' ? null : parsed<ErrorReport>(value('error')),
  };
}

/** Counts every change of a record: feeds know old from new by it. */
export function revision(record: RecordFields): number {
  return Number(record.get('rev') ?? 0);
}

export function jobRef(tenant: string, migrationId: string, record: RecordFields): JobRef {
  return { version: 1, tenant, migrationId, job: Number(record.get('job')) };
}

/** What of sign-in data may stand in a record. */
export function authSummary(auth: Auth): AuthSummary {
  return auth.authorizationId === undefined
    ? { type: auth.type }
    : { type: auth.type, authorizationId: auth.authorizationId };
}

export function isoTime(ms: string): string | null {
  return ms === '' ? null : new Date(Number(ms)).toISOString();
}

// Text that this store wrote itself.
function parsed<T>(json: string): T {
  return JSON.parse(json) as T;
}
