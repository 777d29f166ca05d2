import type { MigrationOptions } from '../../src/domain/migration.ts';

/** A step of a run that touches the outside: `wire:name`, as the readers name it. */
export interface Step {
  name: string;
  /** Which occurrence is meant: one with something before it and something behind. */
  nth: number;
  /** What a migration needs for the step to come. */
  options?: Partial<MigrationOptions>;
  /** Another step to be held until this one comes: it comes with time alone. */
  awaits?: { name: string; nth: number };
}

const DELETING = { verify: 'digest', sourceDeletion: { policy: 'delete', minAgeDays: 0 } } as const;
/** The lease is renewed by the clock: the run is made to last until then. */
const RENEWAL = { awaits: { name: 'pop3:retr-middle', nth: 6 } };

export const STEPS: readonly Step[] = [
  { name: 'pop3:connect', nth: 1 },
  { name: 'pop3:greeting', nth: 1 },
  { name: 'pop3:login', nth: 1 },
  { name: 'pop3:listing', nth: 1 },
  { name: 'pop3:list', nth: 1 },
  { name: 'pop3:retr-first', nth: 1 },
  { name: 'pop3:retr-middle', nth: 8 },
  { name: 'pop3:mid-body', nth: 6 },
  { name: 'pop3:quit', nth: 1 },
  { name: 'pop3:quit-ok', nth: 1 },
  { name: 'pop3:top', nth: 5, options: DELETING },
  { name: 'pop3:dele', nth: 5, options: DELETING },
  { name: 'imap:connect', nth: 1 },
  { name: 'imap:login', nth: 2 },
  { name: 'imap:select', nth: 1 },
  { name: 'imap:scan', nth: 1 },
  { name: 'imap:append-announced', nth: 2 },
  { name: 'imap:literal-middle', nth: 2 },
  { name: 'imap:sync-plus', nth: 3 },
  { name: 'imap:last-octets-before', nth: 2 },
  { name: 'imap:last-octets-after', nth: 2 },
  { name: 'imap:ok-before-client', nth: 2 },
  { name: 'imap:verify', nth: 2 },
  { name: 'imap:read', nth: 3, options: { verify: 'digest' } },
  { name: 'imap:logout', nth: 1 },
  { name: 'redis:claim-sent', nth: 1 },
  { name: 'redis:claim-applied', nth: 1 },
  { name: 'redis:intent-commit-sent', nth: 2 },
  { name: 'redis:intent-commit-applied', nth: 2 },
  { name: 'redis:commit-sent', nth: 2 },
  { name: 'redis:commit-applied', nth: 2 },
  { name: 'redis:renew-sent', nth: 1, ...RENEWAL },
  { name: 'redis:renew-applied', nth: 1, ...RENEWAL },
  { name: 'redis:end-sent', nth: 1 },
  { name: 'redis:end-applied', nth: 1 },
];

export function isDeleting({ options }: Step): boolean {
  return options?.sourceDeletion?.policy === 'delete';
}
