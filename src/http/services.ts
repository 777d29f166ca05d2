import type { FastifyBaseLogger } from 'fastify';
import type {
  Caller,
  EventFeed,
  IdempotencyStore,
  KeyStore,
  MigrationStore,
  Migrations,
} from '../domain/migrations.ts';

/** What the operator lets callers ask for. */
export interface Policy {
  allowPlaintext: boolean;
  allowLegacyTls: boolean;
  /**
   * May the service connect to this host, as far as that is known without DNS: an IP literal in any spelling, or
   * a localhost name? Other names are judged when they are resolved, by the worker.
   */
  isAddressAllowed(host: string): boolean;
}

/** What the API works with. Owned by the composition root, which also closes it, after the API. */
export interface HttpServices {
  migrations: Migrations;
  store: MigrationStore;
  feed: EventFeed;
  keys: KeyStore;
  idempotency: IdempotencyStore;
  /** Does Redis answer? */
  ready(): Promise<boolean>;
  policy: Policy;
}

export interface HttpConfig {
  /** As `createLogger` of src/log.ts makes it: with redaction. */
  logger: FastifyBaseLogger;
  /** Between two comment lines of an event stream that has nothing to tell; default 15,000. */
  heartbeatMs?: number;
  /** How long `close()` lets clients take their answers before it drops connections; default 5,000. */
  closeMs?: number;
}

declare module 'fastify' {
  interface FastifyInstance {
    services: HttpServices;
  }
  interface FastifyRequest {
    /** Who asks; set on every call under `/v1`. */
    caller: Caller;
    /** Known to this caller and nobody else: keys the digests of request bodies, which hold passwords. */
    callerSecret: Buffer;
  }
}
