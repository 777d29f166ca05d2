import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { ConfigError, loadConfig, VARIABLES } from '../src/config.ts';
import { tempDir } from './support/net.ts';
import { createAuthority } from './support/tls.ts';

const KEY = Buffer.alloc(32, 7).toString('base64');

function refusal(env: NodeJS.ProcessEnv): ConfigError {
  try {
    loadConfig(env);
  } catch (error) {
    assert(error instanceof ConfigError, String(error));
    assert(!error.message.includes('\n'));
    return error;
  }
  return assert.fail(`accepted ${JSON.stringify(env)}`);
}

test('an empty environment gives the documented defaults', () => {
  assert.deepEqual(loadConfig({}), {
    host: '127.0.0.1',
    port: 8080,
    redisUrl: null,
    dataDir: resolve('data'),
    apiKey: null,
    secretKeys: null,
    allowNetworks: [],
    allowPlaintext: false,
    allowLegacyTls: false,
    extraCa: null,
    workerConcurrency: 8,
    memoryBudget: 64 * 1024 * 1024,
    settleSeconds: 10,
    leaseSeconds: 30,
    retentionDays: 30,
    credentialRetentionHours: 24,
    recordHeaders: true,
    workerMetricsPort: 9464,
    logLevel: 'info',
    production: false,
  });
});

test('a variable that is set to nothing counts as not set', () => {
  const empty = Object.fromEntries(Object.values(VARIABLES).map(({ name }) => [name, ' ']));
  assert.deepEqual(loadConfig(empty), loadConfig({}));
});

test('the configuration is frozen', () => {
  const config = loadConfig({ POPBRIDGE_ALLOW_NETWORKS: '10.0.0.0/8' });
  assert.throws(() => Object.assign(config, { port: 1 }), TypeError);
  assert.throws(() => Object.assign(config.allowNetworks, ['0.0.0.0/0']), TypeError);
});

test('takes every documented form', () => {
  const sizes = { '67108864': 64, '64MiB': 64, '64 MiB': 64, '2048KiB': 2, '1GiB': 1024 };
  for (const [text, mib] of Object.entries(sizes))
    assert.equal(loadConfig({ POPBRIDGE_MEMORY_BUDGET: text }).memoryBudget, mib * 1024 ** 2, text);
  const urls = [
    'redis://127.0.0.1:6379',
    'rediss://user:pass@redis.example.com:6380/2',
    'redis://a:7000,redis://b:7000',
    'redis+sentinel://:pass@a:26379,b:26379/mymaster?db=1',
    'unix:///run/redis/redis.sock',
    '/run/redis/redis.sock',
  ];
  for (const url of urls) assert.equal(loadConfig({ REDIS_URL: url }).redisUrl, url);
  const networks = loadConfig({ POPBRIDGE_ALLOW_NETWORKS: '127.0.0.0/8, fd00::/8' }).allowNetworks;
  assert.deepEqual(networks, ['127.0.0.0/8', 'fd00::/8']);
  const ring = `new:${KEY},old:${Buffer.alloc(32).toString('base64')}`;
  assert.equal(loadConfig({ POPBRIDGE_SECRET_KEYS: ring }).secretKeys, ring);
  for (const host of ['0.0.0.0', '::', '::1', 'localhost', 'api.internal'])
    assert.equal(loadConfig({ HOST: host }).host, host);
});

const REFUSED: [string, string, RegExp][] = [
  ['HOST', 'http://x', /^HOST is "http:\/\/x": must be a host name or an IP address/],
  ['PORT', '80a', /^PORT is "80a": must be a whole number from 0 to 65535$/],
  ['PORT', '65536', /from 0 to 65535/],
  ['PORT', '-1', /from 0 to 65535/],
  ['PORT', '1e3', /from 0 to 65535/],
  ['POPBRIDGE_ALLOW_NETWORKS', '10.0.0.0/8,intranet', /\("intranet" is none\)$/],
  ['POPBRIDGE_ALLOW_NETWORKS', '10.0.0.1', /CIDR notation/],
  ['POPBRIDGE_ALLOW_NETWORKS', '::ffff:10.0.0.0/104', /as an IPv4 network/],
  ['POPBRIDGE_ALLOW_PLAINTEXT', 'yes', /is "yes": must be true or false$/],
  ['POPBRIDGE_ALLOW_LEGACY_TLS', '1', /must be true or false$/],
  ['POPBRIDGE_RECORD_HEADERS', 'TRUE', /must be true or false$/],
  ['POPBRIDGE_WORKER_CONCURRENCY', '0', /from 1 to 1000$/],
  ['POPBRIDGE_MEMORY_BUDGET', '64MB', /as 64MiB or 67108864$/],
  ['POPBRIDGE_MEMORY_BUDGET', '1000', /from 1MiB to 64GiB/],
  ['POPBRIDGE_SETTLE_SECONDS', '10s', /from 1 to 3600$/],
  ['POPBRIDGE_LEASE_SECONDS', '2', /from 3 to 3600$/],
  ['POPBRIDGE_RETENTION_DAYS', '0.5', /from 1 to 3650$/],
  ['POPBRIDGE_CREDENTIAL_RETENTION_HOURS', 'never', /from 0 to 8760$/],
  ['WORKER_METRICS_PORT', '94640', /from 0 to 65535$/],
  ['LOG_LEVEL', 'verbose', /is "verbose": must be silent, fatal, error, warn, info, debug or trace$/],
  ['POPBRIDGE_TLS_CA_FILE', '/nowhere/ca.pem', /is "\/nowhere\/ca\.pem": .*\(it cannot be read: ENOENT\)$/],
];

for (const [name, value, line] of REFUSED)
  test(`${name}=${value} is refused in one line`, () => {
    const error = refusal({ [name]: value });
    assert.equal(error.variable, name);
    assert.match(error.message, line);
  });

test('a refused secret is not repeated', () => {
  const bad = {
    REDIS_URL: ['http://:hunter2@x', 'redis://ok,hunter2', 'redis+sentinel://:hunter2@x', 'hunter2'],
    POPBRIDGE_API_KEY: ['hunter2', 'hunter2 hunter2 hunter2'],
    POPBRIDGE_SECRET_KEYS: ['hunter2', 'k1:hunter2', `k1:${KEY},k1:${KEY}`, `k1:${KEY},hunter2`, `${KEY}`],
  };
  for (const [name, values] of Object.entries(bad))
    for (const value of values) {
      const error = refusal({ [name]: value });
      assert.equal(error.variable, name);
      assert.match(error.message, /^[A-Z_]+ is not valid: must be /);
      assert(!error.message.includes('hunter2') && !error.message.includes(KEY), error.message);
    }
});

test('production refuses generated secret keys', () => {
  assert.match(
    refusal({ NODE_ENV: 'production' }).message,
    /^POPBRIDGE_SECRET_KEYS must be set when NODE_ENV=prod/,
  );
  const config = loadConfig({ NODE_ENV: 'production', POPBRIDGE_SECRET_KEYS: `k1:${KEY}` });
  assert.equal(config.production, true);
});

test('the file of authorities is read and checked', async () => {
  await using temp = await tempDir();
  const { caFile } = await createAuthority(temp.path);
  const pem = await readFile(caFile, 'utf8');
  assert.equal(loadConfig({ POPBRIDGE_TLS_CA_FILE: caFile }).extraCa, pem);
  const other = join(temp.path, 'other.pem');
  await writeFile(other, 'hello');
  assert.match(refusal({ POPBRIDGE_TLS_CA_FILE: other }).message, /\(there is no certificate in it\)$/);
  await writeFile(other, pem + pem.replace(/\n.{20}/, '\nAAAAAAAAAAAAAAAAAAAA'));
  assert.match(refusal({ POPBRIDGE_TLS_CA_FILE: other }).message, /\(certificate 2 in it is damaged\)$/);
});

test('docs/configuration.md lists every variable with its default, and no other', async () => {
  const text = await readFile(new URL('../docs/configuration.md', import.meta.url), 'utf8');
  const rows = text.matchAll(/^\| `([A-Z_]+)`\s*\| (?:`([^`]*)`|unset)\s*\|/gm);
  const documented = [...rows].map(([, name, byDefault]) => `${name}=${byDefault ?? ''}`);
  const known = Object.values(VARIABLES).map(({ name, byDefault }) => `${name}=${byDefault ?? ''}`);
  assert.deepEqual(documented.toSorted(), known.toSorted());
});

test('every variable that the text of docs/configuration.md speaks of exists', async () => {
  const text = await readFile(new URL('../docs/configuration.md', import.meta.url), 'utf8');
  const names = new Set<string>(Object.values(VARIABLES).map(({ name }) => name));
  const spoken = text.matchAll(/\b(?:POPBRIDGE|WORKER|REDIS)_[A-Z_]+\b/g);
  for (const [name] of spoken) assert(names.has(name), name);
});
