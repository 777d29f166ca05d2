import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { BridgeError, ErrorReport } from './errors.ts';
import type { Commit, JournalSnapshot } from './journal.ts';
import type {
  Credentials,
  Endpoint,
  FolderChoice,
  Migration,
  MigrationState,
  Progress,
  WaitReason,
} from './migration.ts';

/** A POP3 message number: valid in one session only, never an identity. */
export type MessageNumber = number & { readonly __brand: 'MessageNumber' };
/** A POP3 unique id (RFC 1939 section 7), as the server sent it (latin1). */
export type Uidl = string & { readonly __brand: 'Uidl' };
/** An IMAP UID (RFC 9051 section 2.3.1.1), 1..2^32-1. */
export type ImapUid = number & { readonly __brand: 'ImapUid' };

// ---------------------------------------------------------------- connections

/** Opens vetted connections: the egress guard and TLS stand behind it. Implemented by `src/net`. */
export interface Dialer {
  /**
   * Resolves the host, refuses addresses that are not allowed, and connects to the very address that was
   * checked; with `security: tls` the TLS handshake is done too.
   * @throws BridgeError host_not_found, unreachable, timeout, address_not_allowed, plaintext_not_allowed, tls_*
   */
  connect(endpoint: Endpoint, side: 'source' | 'destination', signal: AbortSignal): Promise<Socket>;
  /** STLS/STARTTLS: the handshake over a connected plain socket. @throws BridgeError tls_* */
  secure(
    socket: Duplex,
    endpoint: Endpoint,
    side: 'source' | 'destination',
    signal: AbortSignal,
  ): Promise<Socket>;
}

/** A dialer for callers whose library starts TLS synchronously (imapflow's `transport.upgrade`). */
export interface UpgradingDialer extends Dialer {
  /**
   * Begins STLS/STARTTLS under the policy of `secure`, without waiting: the socket emits `secureConnect` once the
   * peer is verified, or `error` with what `explain` translates. The caller bounds the wait.
   */
  startTls(socket: Duplex, endpoint: Endpoint, side: 'source' | 'destination'): TLSSocket;
  /** Any error of a socket of this endpoint, as a BridgeError; total. */
  explain(error: unknown, endpoint: Endpoint, side: 'source' | 'destination'): BridgeError;
}

// ---------------------------------------------------------------- source

/** One line of the listing. `number` belongs to this session only. */
export interface SourceEntry {
  number: MessageNumber;
  uidl: Uidl;
  /** What LIST says, bytes; may differ from what RETR delivers (PROTOCOL-FACTS 18). */
  size: number;
}

export type Retrieved =
  /** The exact octets, dot-unstuffed. The caller calls `release` when it holds them no longer. */
  | { kind: 'message'; entry: SourceEntry; bytes: Buffer; release: () => void }
  /** `-ERR` for this one RETR: the session goes on. */
  | { kind: 'refused'; entry: SourceEntry; error: BridgeError };

export type HeaderReply =
  | { kind: 'header'; entry: SourceEntry; header: Buffer }
  /** `-ERR` for this one: the session goes on. */
  | { kind: 'refused'; entry: SourceEntry; error: BridgeError };

export interface MailSource {
  /** Connects and signs in. @throws BridgeError */
  open(signal: AbortSignal): Promise<SourceSession>;
}

export interface SourceSession {
  /** Upper-case CAPA keywords, each with its arguments. */
  readonly capabilities: ReadonlyMap<string, readonly string[]>;
  /** UIDL joined with LIST, in the order of the source. @throws BridgeError `uidl_missing` */
  list(signal: AbortSignal): Promise<SourceEntry[]>;
  /**
   * RETR of each entry, in the order given, pipelined within `budget` where CAPA says PIPELINING. Stopping the
   * iteration early destroys the session when answers are still owed.
   * @throws BridgeError when the session ends
   */
  retrieve(
    entries: Iterable<SourceEntry>,
    budget: ByteBudget,
    signal: AbortSignal,
  ): AsyncGenerator<Retrieved, void>;
  /**
   * The raw header block of each entry, in the order given: TOP n 0, pipelined like RETR; by RETR where CAPA has no
   * TOP. What it gives equals headerBlock() of src/domain/header.ts of the message that RETR delivers.
   * @throws BridgeError when the session ends
   */
  headers(
    entries: Iterable<SourceEntry>,
    budget: ByteBudget,
    signal: AbortSignal,
  ): AsyncGenerator<HeaderReply, void>;
  /**
   * DELE of each entry, pipelined. Takes effect only with `quit()` (RFC 1939 section 6). Answers those that the
   * server refused.
   * @throws BridgeError when the session ends
   */
  delete(entries: readonly SourceEntry[], signal: AbortSignal): Promise<Map<MessageNumber, BridgeError>>;
  /** QUIT, bounded in time; never throws. True when the server said +OK: only then deletions took effect. */
  quit(): Promise<boolean>;
  /** Drops the connection now. Idempotent. */
  destroy(): void;
}

// ---------------------------------------------------------------- budget

/** Bytes of message held in memory, shared by all mailboxes of a worker process. Implemented in domain/budget. */
export interface ByteBudget {
  /**
   * Waits until `bytes` are free (first come, first served) and takes them. More than the whole budget is given
   * alone, when nothing else is out.
   */
  reserve(bytes: number, signal: AbortSignal): Promise<Reservation>;
  /** Like `reserve`, but answers null at once where it would have to wait. */
  tryReserve(bytes: number): Reservation | null;
}

export interface Reservation {
  /** The message turned out larger or smaller: holds `bytes` from now on (may overdraw). */
  adjust(bytes: number): void;
  /** Idempotent. */
  release(): void;
}

// ---------------------------------------------------------------- target

export interface TargetFolder {
  /** As the server names it (unicode), for people. */
  path: string;
  uidValidity: number;
  uidNext: ImapUid;
  exists: number;
}

/** One message on its way in. */
export interface Outgoing {
  bytes: Buffer;
  /** Sent as literal8 (RFC 3516); only where `TargetSession.literal8` is true. */
  literal8: boolean;
  flags: readonly string[];
  internalDate: Date;
}

export type AppendOutcome =
  /** Tagged OK. `uids` in order of the group; null without a plausible APPENDUID: to be looked up. */
  | { kind: 'appended'; uids: ImapUid[] | null }
  /** Tagged NO or BAD: none of the group is stored (MULTIAPPEND is atomic, RFC 3502). */
  | { kind: 'refused'; error: BridgeError }
  /** The connection ended before anything could have been stored. */
  | { kind: 'unsent'; error: BridgeError }
  /** The connection ended after release without a tagged answer: stored or not, or about to be. */
  | { kind: 'unknown'; error: BridgeError };

/** An append group on its way: uploaded up to the announcement of its last literal, then released. */
export interface Upload {
  /** `null`: all but the last literal's octets has arrived; otherwise it ended already (`refused`, `unsent`). */
  readonly ready: Promise<AppendOutcome | null>;
  /** Sends the last octets and waits for the tagged answer. To be called once, after `ready` gave null. */
  release(): Promise<AppendOutcome>;
  /** Throws the upload away by closing its connection; after `release` the outcome is `unknown`. Idempotent. */
  abandon(): void;
}

/** What a scan tells of one message in the destination folder. */
export interface FoundCopy {
  uid: ImapUid;
  /** RFC822.SIZE. */
  size: number;
  /** The header fields Message-ID, Date, From and Subject as the server gives them. */
  header: Buffer;
}

export interface MailTarget {
  /** Connects, signs in, finds or makes the folder, subscribes it and selects it. @throws BridgeError */
  open(folder: FolderChoice, signal: AbortSignal): Promise<TargetSession>;
}

export interface TargetSession {
  readonly folder: TargetFolder;
  /** MULTIAPPEND: a group is one command, stored wholly or not at all, in order. */
  readonly multiAppend: boolean;
  /** BINARY: `Outgoing.literal8` may be true. */
  readonly literal8: boolean;
  /** APPENDLIMIT in bytes, where the server says one (RFC 7889). */
  readonly appendLimit: number | null;
  /** How many uploads may be under way at once, each on a connection of its own. */
  readonly lanes: number;
  /**
   * Starts an append on a free connection (waits for one; opens one where allowed). Without MULTIAPPEND the
   * group must hold one message. Never throws: what goes wrong is in the upload's outcomes.
   */
  upload(group: readonly Outgoing[], signal: AbortSignal): Upload;
  /** All messages with `from <= UID < below`, ascending. `below` null: to the end. @throws BridgeError */
  scan(from: ImapUid, below: ImapUid | null, signal: AbortSignal): Promise<FoundCopy[]>;
  /** RFC822.SIZE of those UIDs that still exist. @throws BridgeError */
  sizes(uids: readonly ImapUid[], signal: AbortSignal): Promise<Map<ImapUid, number>>;
  /** INTERNALDATE of those UIDs that still exist. @throws BridgeError */
  internalDates(uids: readonly ImapUid[], signal: AbortSignal): Promise<Map<ImapUid, Date>>;
  /** The whole message, peeked; null when it is gone. @throws BridgeError */
  read(uid: ImapUid, signal: AbortSignal): Promise<Buffer | null>;
  /** The folder's UIDVALIDITY and UIDNEXT as of now. @throws BridgeError */
  refresh(signal: AbortSignal): Promise<TargetFolder>;
  /** LOGOUT on every connection, bounded in time; never throws. */
  close(): Promise<void>;
  /** Drops every connection now. Idempotent. */
  destroy(): void;
}

// ---------------------------------------------------------------- journal and run

/** What the API wants of a run, told with every renewal and commit. `gone`: the record was deleted. */
export type Wanted = 'run' | 'pause' | 'cancel' | 'gone';

/** How a run ended, written together with the release of its lease. */
export interface RunEnd {
  state: MigrationState;
  stateReason: WaitReason | null;
  nextRunAt: Date | null;
  error: ErrorReport | null;
  progress: Progress | null;
  /** True when the source was gone through to its end: from then on nothing held before is a candidate. */
  passComplete: boolean;
}

/**
 * The journal of one migration in the hands of one run. Every write names `(runId, seq)`; a refusal ends the
 * run.
 * @throws BridgeError lease_lost (another run took over, the record is gone, the local deadline passed),
 *   store_unavailable
 */
export interface RunJournal {
  readonly runId: string;
  readonly snapshot: JournalSnapshot;
  /** Aborted when the lease is lost or its local deadline passed: destroy sockets first, ask later. */
  readonly lost: AbortSignal;
  /** What the API wanted at the last renewal or commit. */
  readonly wanted: Wanted;
  /** Resolves as soon as `wanted` is no longer `run`. */
  readonly stopRequested: AbortSignal;
  /** Throws unless the lease is held now by the later of monotonic and wall clock. Synchronous and cheap. */
  assertHeld(): void;
  commit(change: Commit): Promise<void>;
  end(end: RunEnd): Promise<void>;
}

/** A job of the queue: a reference, never a copy of the record. `job` counts the migration's jobs. */
export interface JobRef {
  version: 1;
  tenant: string;
  migrationId: string;
  job: number;
}

export type Claim =
  | {
      kind: 'claimed';
      migration: Migration;
      journal: RunJournal;
      credentials: Credentials | null;
      /** Runs in a row before this one that ended waiting and settled nothing. */
      waits: number;
    }
  /**
   * Another run holds the lease, or a fence after a change of Redis process is up, or (`pair`) another migration
   * of the same accounts and folder is at work. The sweep brings the job again.
   */
  | { kind: 'held'; by: 'lease' | 'fence' | 'pair'; waitMs: number }
  /** A newer job exists, the record is gone, or its state asks for no work: nothing to do. */
  | { kind: 'superseded' };

/** What a worker needs of the store. */
export interface RunStore {
  /** Takes the leases and loads the journal. A dead `pausing` becomes paused, a dead `canceling` canceled. */
  claim(job: JobRef, worker: string, signal: AbortSignal): Promise<Claim>;
  /** Migrations whose state says work and that have no live job; each with a fresh job number. */
  sweep(limit: number): Promise<{ job: JobRef; notBefore: Date | null }[]>;
}

export interface WorkQueue {
  /** Job id `migrationId-job`; adding a known id changes nothing. */
  enqueue(job: JobRef, notBefore: Date | null): Promise<void>;
}
