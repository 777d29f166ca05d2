import { Writable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { Migration } from '../../src/domain/migration.ts';
import { type Caller, Migrations } from '../../src/domain/migrations.ts';
import { buildApp } from '../../src/http/app.ts';
import type { Problem } from '../../src/http/schemas/problem.ts';
import type { HttpConfig, HttpServices, Policy } from '../../src/http/services.ts';
import { createLogger } from '../../src/log.ts';
import { createEgressGuard } from '../../src/net/index.ts';
import {
  MemoryFeed,
  MemoryIdempotency,
  MemoryKeys,
  MemoryQueue,
  MemoryStore,
  type Work,
} from './http-memory.ts';

const caller = (tenant: string, ...scopes: Caller['scopes']): Caller => ({
  keyId: `key_${tenant}_${scopes.join('_')}`,
  tenant,
  scopes,
});

/** API keys by what they may do; `other` belongs to another tenant. */
export const KEYS = {
  admin: 'pbk_admin-0123456789',
  read: 'pbk_read-0123456789',
  write: 'pbk_write-0123456789',
  both: 'pbk_both-0123456789',
  other: 'pbk_other-0123456789',
} as const;

export const CALLERS: Record<string, Caller> = {
  [KEYS.admin]: caller('default', 'admin'),
  [KEYS.read]: caller('default', 'read'),
  [KEYS.write]: caller('default', 'write'),
  [KEYS.both]: caller('default', 'read', 'write'),
  [KEYS.other]: caller('other', 'admin'),
};

export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  /** The parsed body; throws where it is no JSON. */
  json<T = Migration>(): T;
  /** The body as a problem document; throws where it is none. */
  problem(): Problem;
}

export interface CallOptions {
  key?: string | null;
  headers?: Record<string, string>;
  /** Sent as it is, instead of `body`. */
  raw?: string;
}

export interface Api extends AsyncDisposable {
  app: FastifyInstance;
  url: string;
  backend: Backend;
  /** The header that signs a caller in. */
  bearer(key: string): Record<string, string>;
  /** Every log line so far. */
  log: string[];
  call(method: string, path: string, body?: unknown, options?: CallOptions): Promise<Answer>;
  /** Creates one, as `body` over a valid one says. @throws unless it is answered with 202 */
  create(body?: object): Promise<Migration>;
}

export const POLICY: Policy = {
  allowPlaintext: false,
  allowLegacyTls: false,
  isAddressAllowed: (host) => createEgressGuard([]).isAddressAllowed(host),
};

/** The stores behind the API. */
export interface Backend extends AsyncDisposable {
  services: Omit<HttpServices, 'policy'>;
  /** The API key that stands for one of `KEYS` there. */
  bearer(key: string): string;
  /** One run of a migration of the tenant `default`, from claim to end. */
  work(id: string, work: Work): Promise<void>;
}

export interface MemoryBackend extends Backend {
  store: MemoryStore;
  feed: MemoryFeed;
  queue: MemoryQueue;
  idempotency: MemoryIdempotency;
}

export function memoryBackend(feed = new MemoryFeed()): MemoryBackend {
  const store = new MemoryStore(feed);
  const queue = new MemoryQueue();
  const idempotency = new MemoryIdempotency();
  const migrations = new Migrations(store, queue);
  const ready = async () => !store.away;
  return {
    ...{ store, feed, queue, idempotency },
    services: { migrations, store, feed, keys: new MemoryKeys(CALLERS), idempotency, ready },
    bearer: (key) => key,
    work: async (id, work) => store.work(id, work),
    [Symbol.asyncDispose]: async () => {},
  };
}

export interface ApiOptions {
  backend?: Backend;
  services?: Partial<HttpServices>;
  config?: Partial<HttpConfig>;
}

/** The API on a real socket, over stores in memory or over the given ones, which it then owns. */
export async function startApi(options: ApiOptions = {}): Promise<Api> {
  const backend = options.backend ?? memoryBackend();
  const log: string[] = [];
  const services = { ...backend.services, policy: POLICY, ...options.services };
  const app = buildApp(services, { logger: createLogger('debug', lines(log)), ...options.config });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const bearer = (key: string) => ({ authorization: `Bearer ${backend.bearer(key)}` });
  const call: Api['call'] = (method, path, body, { key = KEYS.admin, raw, headers } = {}) =>
    ask(url + path, method, raw ?? (body === undefined ? undefined : JSON.stringify(body)), {
      ...(key === null ? {} : bearer(key)),
      ...headers,
    });
  return {
    app,
    url,
    backend,
    bearer,
    log,
    call,
    create: async (body = {}) => {
      const answer = await call('POST', '/v1/migrations', wanted(body));
      if (answer.status !== 202) throw new Error(`not created: ${answer.text}`);
      return answer.json();
    },
    [Symbol.asyncDispose]: async () => {
      await app.close();
      await backend[Symbol.asyncDispose]();
    },
  };
}

function lines(into: string[]): Writable {
  return new Writable({
    write: (chunk, _encoding, done) => {
      into.push(String(chunk));
      done();
    },
  });
}

async function ask(
  url: string,
  method: string,
  body: string | undefined,
  headers: Record<string, string>,
): Promise<Answer> {
  const response = await fetch(url, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body }),
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: () => JSON.parse(text),
    problem: () => {
      const type = response.headers.get('content-type');
      if (type !== 'application/problem+json') throw new Error(`${response.status} ${type}: ${text}`);
      return JSON.parse(text);
    },
  };
}

let made = 0;

/** The body of a valid `POST /v1/migrations`, of accounts that nobody else has, with members replaced. */
export function wanted(over: object = {}): Record<string, Record<string, unknown>> {
  const user = `user${++made}`;
  const auth = () => ({ type: 'password', password: 'not-a-secret' });
  return merged(
    {
      label: user,
      source: { host: 'pop.example.net', security: 'tls', username: user, auth: auth() },
      destination: {
        host: 'imap.example.com',
        security: 'tls',
        username: `${user}@example.com`,
        auth: auth(),
        folder: { path: ['INBOX'] },
      },
    },
    over,
  ) as Record<string, Record<string, unknown>>;
}

/** Objects are merged, `undefined` removes, everything else replaces. */
function merged(base: unknown, over: unknown): unknown {
  if (!isPlain(base) || !isPlain(over)) return over;
  const names = new Set([...Object.keys(base), ...Object.keys(over)]);
  const members = [...names].map((name) => [
    name,
    name in over ? merged(base[name], over[name]) : base[name],
  ]);
  return Object.fromEntries(members.filter(([, value]) => value !== undefined));
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
