import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import ipaddr from 'ipaddr.js';

/** Bad configuration, in one line for the operator. Never holds the value of a secret. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly variable: string;

  constructor(variable: string, problem: string) {
    super(`${variable} ${problem}`);
    this.variable = variable;
  }
}

interface Variable<T> {
  name: string;
  /** As it would be written; null: unset. */
  byDefault: string | null;
  /** What may be given, after "must be". */
  allowed: string;
  secret: boolean;
  /** @throws RangeError for what is not allowed; its message, if any, says more */
  parse: (text: string) => T;
}

interface Kind<T> {
  allowed: string;
  secret?: boolean;
  parse: (text: string) => T;
}

function required<T>(name: string, byDefault: string, kind: Kind<T>): Variable<T> {
  return { secret: false, ...kind, name, byDefault };
}

function optional<T>(name: string, kind: Kind<T>): Variable<T | null> {
  return { secret: false, ...kind, name, byDefault: null };
}

const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;
const PORT = integer(0, 65535);

/** Every variable that there is. docs/configuration.md lists the same ones, and a test keeps them equal. */
export const VARIABLES = {
  /** Where the API listens. */
  host: required('HOST', '127.0.0.1', hostName()),
  /** 0: any free one. */
  port: required('PORT', '8080', PORT),
  /** Null: an embedded Redis. */
  redisUrl: optional('REDIS_URL', redisUrl()),
  /** Absolute. */
  dataDir: required('POPBRIDGE_DATA_DIR', './data', {
    allowed: 'a directory',
    parse: (text) => resolve(text),
  }),
  /** Null: generated. */
  apiKey: optional('POPBRIDGE_API_KEY', apiKey()),
  /** `id:base64(32 bytes),…`, the first one seals. Null: generated. */
  secretKeys: optional('POPBRIDGE_SECRET_KEYS', secretKeys()),
  allowNetworks: required('POPBRIDGE_ALLOW_NETWORKS', '', networks()),
  allowPlaintext: required('POPBRIDGE_ALLOW_PLAINTEXT', 'false', boolean()),
  allowLegacyTls: required('POPBRIDGE_ALLOW_LEGACY_TLS', 'false', boolean()),
  /** The PEM text of the file. */
  extraCa: optional('POPBRIDGE_TLS_CA_FILE', certificateFile()),
  workerConcurrency: required('POPBRIDGE_WORKER_CONCURRENCY', '8', integer(1, 1000)),
  /** Bytes. */
  memoryBudget: required('POPBRIDGE_MEMORY_BUDGET', '64MiB', size(1024 ** 2, 64 * 1024 ** 3)),
  settleSeconds: required('POPBRIDGE_SETTLE_SECONDS', '10', integer(1, 3600)),
  leaseSeconds: required('POPBRIDGE_LEASE_SECONDS', '30', integer(3, 3600)),
  retentionDays: required('POPBRIDGE_RETENTION_DAYS', '30', integer(1, 3650)),
  credentialRetentionHours: required('POPBRIDGE_CREDENTIAL_RETENTION_HOURS', '24', integer(0, 8760)),
  recordHeaders: required('POPBRIDGE_RECORD_HEADERS', 'true', boolean()),
  /** 0: off. */
  workerMetricsPort: required('WORKER_METRICS_PORT', '9464', PORT),
  logLevel: required('LOG_LEVEL', 'info', oneOf(LOG_LEVELS)),
  /** True for `production`: refuses generated secrets. */
  production: required('NODE_ENV', 'development', {
    allowed: 'a word, as "production"',
    parse: (text) => text === 'production',
  }),
} as const;

type Values = { readonly [K in keyof typeof VARIABLES]: ReturnType<(typeof VARIABLES)[K]['parse']> };

/** The whole configuration, checked and frozen. Secrets are in `apiKey`, `secretKeys` and `redisUrl`. */
export type Config = Values;

/**
 * Reads the environment. A variable that is set to nothing counts as not set.
 * @throws ConfigError for the first variable that is not valid
 */
export function loadConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const values = Object.fromEntries(
    Object.entries(VARIABLES).map(([key, variable]) => [key, read(variable, env)]),
  ) as unknown as Config;
  if (values.production && values.secretKeys === null)
    throw new ConfigError(
      VARIABLES.secretKeys.name,
      'must be set when NODE_ENV=production: id:base64(32 bytes), as "k1:$(openssl rand -base64 32)"',
    );
  return Object.freeze(values);
}

/** This process's environment for a child, with changes; undefined takes a variable away. */
export function inheritedEnvironment(changes: Record<string, string | undefined>): NodeJS.ProcessEnv {
  return { ...process.env, ...changes };
}

function read(variable: Variable<unknown>, env: NodeJS.ProcessEnv): unknown {
  const given = env[variable.name]?.trim() ?? '';
  if (given !== '') return parse(variable, given);
  return variable.byDefault === null ? null : variable.parse(variable.byDefault);
}

function parse(variable: Variable<unknown>, given: string): unknown {
  try {
    return variable.parse(given);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const is = variable.secret ? 'is not valid' : `is ${JSON.stringify(given.slice(0, 200))}`;
    const why = error.message === '' ? '' : ` (${error.message})`;
    throw new ConfigError(variable.name, `${is}: must be ${variable.allowed}${why}`);
  }
}

function integer(from: number, to: number): Kind<number> {
  return {
    allowed: `a whole number from ${from} to ${to}`,
    parse: (text) => {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
      if (!(value >= from && value <= to)) throw new RangeError();
      return value;
    },
  };
}

function boolean(): Kind<boolean> {
  const words = oneOf(['true', 'false'] as const);
  return { allowed: words.allowed, parse: (text) => words.parse(text) === 'true' };
}

function oneOf<const T extends string>(words: readonly T[]): Kind<T> {
  return {
    allowed: `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`,
    parse: (text) => {
      const found = words.find((word) => word === text);
      if (found === undefined) throw new RangeError();
      return found;
    },
  };
}

const UNITS: Readonly<Record<string, number>> = { '': 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

function size(from: number, to: number): Kind<number> {
  return {
    allowed: `a size from ${from / 1024 ** 2}MiB to ${to / 1024 ** 3}GiB, as 64MiB or 67108864`,
    parse: (text) => {
      const [, digits = '', unit = ''] = /^(\d{1,15}) ?([KMG]iB)?$/.exec(text) ?? [];
      const bytes = digits === '' ? Number.NaN : Number(digits) * (UNITS[unit] ?? Number.NaN);
      if (!(bytes >= from && bytes <= to)) throw new RangeError();
      return bytes;
    },
  };
}

function hostName(): Kind<string> {
  return {
    allowed: 'a host name or an IP address, as 127.0.0.1, 0.0.0.0 or ::',
    parse: (text) => {
      if (isIP(text) === 0 && !/^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$/.test(text)) throw new RangeError();
      return text;
    },
  };
}

function networks(): Kind<readonly string[]> {
  return {
    allowed: 'networks in CIDR notation with commas between, as 127.0.0.0/8,fd00::/8',
    parse: (text) => {
      const list = text === '' ? [] : text.split(',').map((entry) => entry.trim());
      for (const entry of list) {
        if (!ipaddr.isValidCIDR(entry)) throw new RangeError(`${JSON.stringify(entry)} is none`);
        const [address] = ipaddr.parseCIDR(entry);
        if (address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress())
          throw new RangeError(`write ${JSON.stringify(entry)} as an IPv4 network`);
      }
      return Object.freeze(list);
    },
  };
}

/** May hold a password, so it counts as a secret. */
function redisUrl(): Kind<string> {
  const node = /^rediss?:\/\/[^,]+$/;
  const sentinel = /^redis\+sentinel:\/\/(?:[^@/]*@)?[^@/]+\/[^?/]+(?:\?db=\d+)?$/;
  const socket = /^(?:unix:\/\/)?\/[^?,]+(?:\?db=\d+)?$/;
  return {
    allowed:
      'redis://host:port, rediss://host:port, several of them with commas between (Cluster), ' +
      'redis+sentinel://host:port,…/name, or unix:///path of a socket',
    secret: true,
    parse: (text) => {
      const nodes = text.split(',').map((part) => part.trim());
      const fine = nodes.every((part) => node.test(part) && URL.canParse(part));
      if (!fine && !sentinel.test(text) && !socket.test(text)) throw new RangeError();
      return text;
    },
  };
}

function apiKey(): Kind<string> {
  return {
    allowed: 'at least 16 printable ASCII characters without spaces',
    secret: true,
    parse: (text) => {
      if (!/^[\x21-\x7e]{16,512}$/.test(text)) throw new RangeError();
      return text;
    },
  };
}

function secretKeys(): Kind<string> {
  return {
    allowed: 'id:base64(32 bytes), several with commas between, each with an id of its own',
    secret: true,
    parse: (text) => {
      const ids = text.split(',').map((entry, index) => {
        const [, id, key = ''] = /^([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/_-]{43}=?)$/.exec(entry.trim()) ?? [];
        if (id === undefined || Buffer.from(key, 'base64').length !== 32)
          throw new RangeError(`entry ${index + 1} is not`);
        return id;
      });
      if (new Set(ids).size < ids.length) throw new RangeError('an id occurs twice');
      return text;
    },
  };
}

function certificateFile(): Kind<string> {
  return {
    allowed: 'a PEM file of certificates',
    parse: (file) => {
      const pem = readText(file);
      const found = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
      if (found.length === 0) throw new RangeError('there is no certificate in it');
      for (const [index, one] of found.entries()) {
        try {
          new X509Certificate(one);
        } catch {
          throw new RangeError(`certificate ${index + 1} in it is damaged`);
        }
      }
      return pem;
    },
  };
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new RangeError(`it cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}
