import { Script } from './db.ts';

function overMigration(file: string): Script {
  return new Script('./time.lua', './lib.lua', file);
}

/** Every script over one migration; each says in its head what it takes and answers. */
export const MIGRATION_SCRIPTS = {
  create: overMigration('./create.lua'),
  claim: overMigration('./claim.lua'),
  renew: overMigration('./renew.lua'),
  commit: overMigration('./commit.lua'),
  end: overMigration('./end.lua'),
  act: overMigration('./act.lua'),
  credentials: overMigration('./credentials.lua'),
  patch: overMigration('./patch.lua'),
  erase: overMigration('./erase.lua'),
  inspect: overMigration('./inspect.lua'),
} as const;

export const PAIR_SCRIPT = new Script('./time.lua', './pair.lua');
export const DUE_SCRIPT = new Script('./time.lua', './due.lua');
export const ANNOUNCE_SCRIPT = new Script('./time.lua', './announce.lua');
export const IDEMPOTENCY_SCRIPT = new Script('./idempotency.lua');
