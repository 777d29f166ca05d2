import type { Migration } from '../domain/migration.ts';
import type { Change } from '../domain/migrations.ts';
import { ProblemError } from './problems.ts';

export function unknownMigration(id: string): ProblemError {
  return new ProblemError('not_found', `There is no migration ${JSON.stringify(id)}.`);
}

/** The answer where `migrationId` is active already. */
export function duplicateMigration(migrationId: string): ProblemError {
  const detail = `${migrationId} moves the same source account into the same destination account and folder.`;
  return new ProblemError('duplicate_migration', detail, { members: { migrationId } });
}

/** The migration as changed. @throws ProblemError 404, 409 */
export function changed(change: Change, id: string, asked: string): Migration {
  switch (change.kind) {
    case 'changed':
      return change.migration;
    case 'duplicate':
      throw duplicateMigration(change.id);
    case 'unknown':
      throw unknownMigration(id);
    case 'illegal': {
      const { state } = change;
      throw new ProblemError('illegal_transition', `A migration that is ${state} takes no ${asked}.`, {
        members: { state },
      });
    }
    case 'credentialsRequired':
      throw new ProblemError(
        'credentials_required',
        'PUT the credentials of this migration first, then try again.',
      );
  }
}
