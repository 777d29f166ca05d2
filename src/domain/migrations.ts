import type {
  Auth,
  Credentials,
  MessageDetail,
  Migration,
  MigrationDraft,
  MigrationOptions,
  MigrationState,
  Outcome,
  RunSummary,
} from './migration.ts';
import type { JobRef, WorkQueue } from './ports.ts';
import type { MigrationAction } from './state.ts';

export interface ListQuery {
  state?: readonly MigrationState[];
  batchId?: string;
  /** Prefix of label or of either user name, case-insensitive. */
  q?: string;
  errorCode?: string;
  /** Of either end, exact, case-insensitive. */
  host?: string;
  createdAfter?: Date;
  createdBefore?: Date;
  sort: '-createdAt' | 'createdAt' | 'label' | 'state';
  cursor?: string;
  limit: number;
}

export interface MessageQuery {
  outcome?: Outcome;
  flag?: 'altered' | 'repaired';
  cursor?: string;
  limit: number;
}

export interface Page<T> {
  items: T[];
  nextCursor: string | null;
  total: number;
}

export type Creation =
  | { kind: 'created'; migration: Migration; job: JobRef }
  | { kind: 'duplicate'; id: string };

/** `job`: set where the change asks for work now. */
export type Change =
  | { kind: 'changed'; migration: Migration; job: JobRef | null }
  | { kind: 'illegal'; state: MigrationState }
  | { kind: 'credentialsRequired' }
  /** `retry`: another migration of the same accounts and folder, `id`, is active by now. */
  | { kind: 'duplicate'; id: string }
  | { kind: 'unknown' };

/** Records of migrations, as the API needs them. Everything belongs to a tenant; another's is `unknown`. */
export interface MigrationStore {
  create(tenant: string, draft: MigrationDraft, credentials: Credentials): Promise<Creation>;
  get(tenant: string, id: string): Promise<Migration | null>;
  list(tenant: string, query: ListQuery): Promise<Page<Migration>>;
  patch(tenant: string, id: string, change: { label?: string; options?: MigrationOptions }): Promise<Change>;
  act(tenant: string, id: string, action: MigrationAction): Promise<Change>;
  putCredentials(tenant: string, id: string, auth: { source?: Auth; destination?: Auth }): Promise<Change>;
  erase(tenant: string, id: string): Promise<'erased' | 'lettingGo' | 'unknown'>;
  /** Null: no such migration. @throws RangeError for a cursor that it did not give out */
  messages(tenant: string, id: string, query: MessageQuery): Promise<Page<MessageDetail> | null>;
  runs(tenant: string, id: string): Promise<RunSummary[] | null>;
}

export interface FeedEvent {
  /** Redis stream id, for `Last-Event-ID`. */
  id: string;
  /** `reset`: what was asked for is older than what is kept; fetch anew. */
  type: 'migration' | 'message' | 'reset';
  migrationId: string | null;
  data: unknown;
}

export interface EventFeed {
  /** Live events of a tenant, from `lastEventId` on (null: from now); ends with the signal. */
  subscribe(tenant: string, lastEventId: string | null, signal: AbortSignal): AsyncIterable<FeedEvent>;
}

export interface Caller {
  keyId: string;
  tenant: string;
  scopes: readonly ('read' | 'write' | 'admin')[];
}

export interface KeyStore {
  authenticate(bearer: string): Promise<Caller | null>;
}

/** The answer of a POST under an `Idempotency-Key`, kept 24 h. */
export interface IdempotencyStore {
  /**
   * `fresh`: go on, then `keep` or `forget`. `replay`: the same body came before. `mismatch`: another body came
   * before. `pending`: the same is under way.
   */
  begin(tenant: string, key: string, bodyDigest: string): Promise<IdempotencyState>;
  keep(tenant: string, key: string, answer: KeptAnswer): Promise<void>;
  forget(tenant: string, key: string): Promise<void>;
}
export interface KeptAnswer {
  status: number;
  headers: Record<string, string>;
  body: string;
}
export type IdempotencyState =
  | { kind: 'fresh' }
  | { kind: 'replay'; answer: KeptAnswer }
  | { kind: 'mismatch' }
  | { kind: 'pending' };

/**
 * The store and the queue as one: what asks for work is queued after it was stored. A process that dies in
 * between leaves a record that the sweep finds.
 */
export class Migrations {
  readonly #store: MigrationStore;
  readonly #queue: WorkQueue;

  constructor(store: MigrationStore, queue: WorkQueue) {
    this.#store = store;
    this.#queue = queue;
  }

  async create(tenant: string, draft: MigrationDraft, credentials: Credentials): Promise<Creation> {
    const creation = await this.#store.create(tenant, draft, credentials);
    if (creation.kind === 'created') await this.#queue.enqueue(creation.job, null);
    return creation;
  }

  act(tenant: string, id: string, action: MigrationAction): Promise<Change> {
    return this.#queued(this.#store.act(tenant, id, action));
  }

  putCredentials(tenant: string, id: string, auth: { source?: Auth; destination?: Auth }): Promise<Change> {
    return this.#queued(this.#store.putCredentials(tenant, id, auth));
  }

  async #queued(changing: Promise<Change>): Promise<Change> {
    const change = await changing;
    if (change.kind === 'changed' && change.job !== null) await this.#queue.enqueue(change.job, null);
    return change;
  }
}
