import type { Migration, MigrationState } from '../domain/migration.ts';

/** What lists filter and sort by: kept beside each other, one per migration of a tenant. */
export interface Summary {
  id: string;
  /** ms since 1970 */
  createdAt: number;
  label: string;
  state: MigrationState;
  batchId: string | null;
  errorCode: string | null;
  hosts: string[];
  users: string[];
}

export function summarize(migration: Migration): Summary {
  const { source, destination } = migration;
  return {
    id: migration.id,
    createdAt: Date.parse(migration.createdAt),
    label: migration.label,
    state: migration.state,
    batchId: migration.batchId,
    errorCode: migration.error?.code ?? null,
    hosts: [source.host.toLowerCase(), destination.host.toLowerCase()],
    users: [source.username.toLowerCase(), destination.username.toLowerCase()],
  };
}

/** As announce.lua keeps it: the record's revision, a bar, JSON. */
export function parseSummary(kept: string): Summary {
  return JSON.parse(kept.slice(kept.indexOf('|') + 1)) as Summary;
}
