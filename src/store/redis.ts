import { Cluster, Redis, type RedisOptions } from 'ioredis';

export type RedisClient = Redis | Cluster;

// Where the mapping of replies is left out, ioredis knows their types.
type Options = Omit<RedisOptions, 'replyMapping'>;

/** What a connection is for: BullMQ's workers wait without end, everything else fails in bounded time. */
export type RedisPurpose = 'store' | 'worker';

const COMMAND_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;

export interface ConnectOptions {
  /** Default `store`. */
  purpose?: RedisPurpose;
  /** `store`: how long a command may take, ms; a restart of Redis should take less. Default 10,000. */
  commandTimeoutMs?: number;
  /** Told of every fault of the connection; it reconnects by itself. */
  onError: (error: Error) => void;
}

/**
 * A client for `redis://`, `rediss://` (TLS), a unix socket (`/path` or `unix:///path`), several comma-separated
 * URLs (Cluster) or `redis+sentinel://[user:password@]host:port,…/name[?db=n]`. It connects in the background and
 * reconnects for ever; commands wait for that, at most `commandTimeoutMs` (`worker`: for ever).
 * @throws RangeError for a URL that is none of these; never repeats it, as it may hold a password
 */
export function connectRedis(url: string, options: ConnectOptions): RedisClient {
  const client = build(url.trim(), commonOptions(options));
  client.on('error', options.onError);
  return client;
}

function commonOptions({ purpose, commandTimeoutMs }: ConnectOptions): Options {
  const common: Options = {
    // Replies in the shapes of RESP2, whatever the server can.
    protocol: 2,
    connectTimeout: CONNECT_TIMEOUT_MS,
    maxRetriesPerRequest: null,
    retryStrategy: reconnectDelay,
  };
  return purpose === 'worker'
    ? common
    : { ...common, commandTimeout: commandTimeoutMs ?? COMMAND_TIMEOUT_MS };
}

function reconnectDelay(times: number): number {
  return Math.min(times * 25, 250);
}

function build(url: string, common: Options): RedisClient {
  if (url.startsWith('redis+sentinel://')) return new Redis({ ...common, ...sentinelOptions(url) });
  if (url.startsWith('unix://')) return new Redis(url.slice('unix://'.length), common);
  if (url.startsWith('/')) return new Redis(url, common);
  const urls = url.split(',').map((part) => part.trim());
  for (const part of urls) requireRedisUrl(part);
  if (urls.length === 1) return new Redis(url, common);
  return new Cluster(urls.map(clusterNode), {
    redisOptions: { ...common, ...clusterAccess(urls) },
    clusterRetryStrategy: reconnectDelay,
  });
}

function requireRedisUrl(url: string): void {
  if (!/^rediss?:\/\//.test(url) || !URL.canParse(url))
    throw new RangeError('the Redis URL must be redis://, rediss://, redis+sentinel:// or a socket path');
}

function clusterNode(url: string): { host: string; port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? 6379 : Number(port) };
}

/** All nodes of a cluster share user, password and TLS: those of the first URL. */
function clusterAccess(urls: string[]): Options {
  const { protocol, username, password } = new URL(urls[0] ?? '');
  return { ...account(username, password), ...(protocol === 'rediss:' ? { tls: {} } : {}) };
}

function account(username: string, password: string): Options {
  return {
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
  };
}

function sentinelOptions(url: string): Options {
  const match = /^redis\+sentinel:\/\/(?:([^:@/]*)(?::([^@/]*))?@)?([^/]+)\/([^?/]+)(?:\?db=(\d+))?$/.exec(
    url,
  );
  if (match === null)
    throw new RangeError('the Sentinel URL must be redis+sentinel://host:port,…/name with an optional ?db=n');
  const [, username = '', password = '', hosts = '', name = '', db] = match;
  return {
    sentinels: hosts.split(',').map((host) => clusterNode(`redis://${host}`)),
    name: decodeURIComponent(name),
    ...account(username, password),
    ...(db === undefined ? {} : { db: Number(db) }),
  };
}

export interface RedisCheck {
  /** `maxmemory-policy`; null where the server does not say. */
  policy: string | null;
  /** For the operator, one sentence each; empty when Redis may be trusted with the journal. */
  warnings: string[];
}

/** Asks Redis, at start-up, whether it keeps what it was given. */
export async function checkRedis(client: RedisClient): Promise<RedisCheck> {
  const info = `${await client.info('memory')}\n${await client.info('persistence')}`;
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1] ?? null;
  const warnings: string[] = [];
  if (policy !== null && policy !== 'noeviction')
    warnings.push(
      `Redis has maxmemory-policy ${policy}: under memory pressure it would drop migrations and journals, and ` +
        'messages could arrive twice. Set maxmemory-policy noeviction.',
    );
  if (/^aof_enabled:0/m.test(info))
    warnings.push(
      'Redis has no append-only file: after a restart of Redis, migrations and journals would be gone or old. ' +
        'Set appendonly yes.',
    );
  return { policy, warnings };
}
