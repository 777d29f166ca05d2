import type { ErrorReport } from './errors.ts';

export type Security = 'tls' | 'starttls' | 'none';
export type TlsMinVersion = 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3';

/** Sign-in data. Travels sealed, never in a record, job, log, event or answer. */
export interface PasswordAuth {
  type: 'password';
  password: string;
  /** SASL PLAIN authorization identity: whose mailbox, where `username` is a master user (RFC 4616). */
  authorizationId?: string;
}
export type Auth = PasswordAuth;

/** What of an {@link Auth} is no secret. */
export interface AuthSummary {
  type: Auth['type'];
  authorizationId?: string;
}

export interface TlsOptions {
  serverName?: string;
  pinSha256?: string;
  minVersion?: TlsMinVersion;
}

/** One account on one server. */
export interface Endpoint {
  host: string;
  port: number;
  security: Security;
  username: string;
  auth: AuthSummary;
  tls?: TlsOptions;
}

/** One element a level, so that a delimiter in a name is just a character; or by RFC 6154 use. */
export type FolderChoice = { path: string[] } | { specialUse: SpecialUse };
export type SpecialUse = 'all' | 'archive' | 'drafts' | 'flagged' | 'junk' | 'sent' | 'trash';

export interface Destination extends Endpoint {
  folder: FolderChoice;
}

export type RepairRung = 'literal8' | 'lineEndings';
export type SeenPolicy = { policy: 'none' } | { policy: 'all' } | { policy: 'olderThanDays'; days: number };

/** `minAgeDays`: by internal date. */
export type SourceDeletion = { policy: 'keep' } | { policy: 'delete'; minAgeDays: number };

export interface MigrationOptions {
  seen: SeenPolicy;
  internalDate: 'received' | 'date' | 'now';
  deduplicate: 'destination' | 'journal';
  verify: 'size' | 'digest';
  repair: RepairRung[];
  filter: { since: string | null; before: string | null; maxBytes: number | null };
  sourceDeletion: SourceDeletion;
  manifest: boolean;
  schedule: null;
}

export const DEFAULT_OPTIONS: MigrationOptions = {
  seen: { policy: 'none' },
  internalDate: 'received',
  deduplicate: 'destination',
  verify: 'size',
  repair: ['literal8', 'lineEndings'],
  filter: { since: null, before: null, maxBytes: null },
  sourceDeletion: { policy: 'keep' },
  manifest: false,
  schedule: null,
};

/** `total = copied + alreadyPresent + skipped + failed + remaining`; all null before the first listing. */
export interface Progress {
  messages: {
    total: number | null;
    copied: number | null;
    alreadyPresent: number | null;
    skipped: number | null;
    failed: number | null;
    remaining: number | null;
    altered: number | null;
    repaired: number | null;
    deletedFromSource: number | null;
  };
  /** `settled`: the bytes of all that is not `remaining`. */
  bytes: { total: number | null; settled: number | null };
  messagesPerSecond: number | null;
  bytesPerSecond: number | null;
  etaSeconds: number | null;
}

export const NO_PROGRESS: Progress = {
  messages: {
    total: null,
    copied: null,
    alreadyPresent: null,
    skipped: null,
    failed: null,
    remaining: null,
    altered: null,
    repaired: null,
    deletedFromSource: null,
  },
  bytes: { total: null, settled: null },
  messagesPerSecond: null,
  bytesPerSecond: null,
  etaSeconds: null,
};

export const STATES = [
  'queued',
  'running',
  'waiting',
  'scheduled',
  'pausing',
  'canceling',
  'paused',
  'completed',
  'completedWithFailures',
  'failed',
  'canceled',
] as const;
export type MigrationState = (typeof STATES)[number];

/** Why a migration is `waiting`. */
export const WAIT_REASONS = [
  'mailbox_locked',
  'login_delay',
  'over_quota',
  'throttled',
  'unreachable',
  'destination_busy',
  'no_permit',
  'credentials_required',
] as const;
export type WaitReason = (typeof WAIT_REASONS)[number];

/** The migration as stored and as every call returns it (the tenant is the caller's own and not shown). */
export interface Migration {
  id: string;
  label: string;
  batchId: string | null;
  state: MigrationState;
  stateReason: WaitReason | null;
  /** ISO 8601 UTC. */
  nextRunAt: string | null;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
  source: Endpoint;
  destination: Destination;
  options: MigrationOptions;
  progress: Progress;
  runs: number;
  error: ErrorReport | null;
}

export interface Credentials {
  source: Auth;
  destination: Auth;
}

/** What `POST /v1/migrations` has checked and filled with defaults. */
export interface MigrationDraft {
  label: string;
  source: Endpoint;
  destination: Destination;
  options: MigrationOptions;
}

export type Outcome = 'copied' | 'alreadyPresent' | 'skipped' | 'failed';
export type Repair = RepairRung | null;

/** One row of `/messages`: kept for exceptions, and for all where `options.manifest` asks. */
export interface MessageDetail {
  uidl: string;
  size: number;
  outcome: Outcome;
  altered: boolean;
  reason: { code: string; detail: string } | null;
  repair: Repair;
  folder: string | null;
  uid: number | null;
  /** Hex SHA-256 of the octets that POP3 delivered. */
  sha256: string | null;
  subject: string | null;
  from: string | null;
  date: string | null;
  messageId: string | null;
}

export interface RunCounts {
  copied: number;
  alreadyPresent: number;
  skipped: number;
  failed: number;
  bytes: number;
}

/** One row of `/runs`. `outcome` is null while it runs; `lost` when its worker vanished. */
export interface RunSummary {
  run: number;
  startedAt: string;
  endedAt: string | null;
  worker: string;
  outcome: MigrationState | 'lost' | 'released' | null;
  counts: RunCounts;
  error: ErrorReport | null;
}
