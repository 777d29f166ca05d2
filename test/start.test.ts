import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ConfigError } from '../src/config.ts';
import { lockDataDir } from '../src/start/lock.ts';
import { ensureApiKey, ensureSecretKeys } from '../src/start/secrets.ts';
import { connectRedis, type RedisClient } from '../src/store/redis.ts';
import { spawnBound, stopChild } from './support/child.ts';
import { freePort, tempDir, until } from './support/net.ts';
import { startRedis } from './support/redis.ts';

const CLI = fileURLToPath(new URL('./start/fixture-cli.ts', import.meta.url));
const START = fileURLToPath(new URL('../src/start.ts', import.meta.url));

/** One `npm start` with stand-ins for API and worker, in a directory of its own. */
class Started implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly url: string;
  readonly dir: string;
  readonly dataDir: string;
  stdout = '';
  stderr = '';

  private constructor(child: ChildProcess, dir: string, dataDir: string, port: number) {
    this.child = child;
    this.dir = dir;
    this.dataDir = dataDir;
    this.url = `http://127.0.0.1:${port}`;
    child.stdout?.on('data', (chunk: Buffer) => {
      this.stdout += chunk.toString();
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
  }

  static async begin(dir: string, env: NodeJS.ProcessEnv = {}, script = CLI): Promise<Started> {
    const dataDir = env.POPBRIDGE_DATA_DIR ?? join(dir, 'data');
    const port = await freePort();
    const base = { PATH: process.env.PATH, TRACE: join(dir, 'trace'), WORKER_METRICS_PORT: '0' };
    const own = { ...base, PORT: `${port}`, POPBRIDGE_DATA_DIR: dataDir, ...env };
    const child = spawn(process.execPath, [script], {
      env: own,
      cwd: dir,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return new Started(child, dir, dataDir, Number(own.PORT));
  }

  static async ready(dir: string, env: NodeJS.ProcessEnv = {}): Promise<Started> {
    const started = await Started.begin(dir, env);
    await until(() => started.stdout.includes('popbridge is ready: ') || started.ended, {
      what: 'popbridge to be ready',
      timeoutMs: 20_000,
    });
    assert.match(started.stdout, /popbridge is ready/, started.stderr);
    return started;
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** @returns the exit code */
  async end(signal?: NodeJS.Signals): Promise<number | null> {
    if (signal !== undefined) this.child.kill(signal);
    if (!this.ended) await once(this.child, 'close');
    return this.child.exitCode;
  }

  async trace(): Promise<string[]> {
    return (await readFile(join(this.dir, 'trace'), 'utf8').catch(() => '')).trim().split('\n');
  }

  /** Process ids of API or worker, in the order of their starts. */
  async pids(name: 'api' | 'worker'): Promise<number[]> {
    const lines = (await this.trace()).filter((line) => line.startsWith(`${name} started `));
    return lines.map((line) => Number(line.split(' ')[2]));
  }

  async apiSees(): Promise<{ env: Record<string, string>; argv: string[]; execArgv: string[] }> {
    return (await fetch(this.url)).json() as Promise<Awaited<ReturnType<Started['apiSees']>>>;
  }

  async redis(): Promise<RedisClient & AsyncDisposable> {
    const client = connectRedis((await this.apiSees()).env.REDIS_URL ?? '', { onError: () => {} });
    return Object.assign(client, { [Symbol.asyncDispose]: async () => client.disconnect() });
  }

  async redisPid(): Promise<number> {
    await using redis = await this.redis();
    return Number(/^process_id:(\d+)/m.exec(await redis.info('server'))?.[1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stopChild(this.child, 'SIGTERM', 30_000);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function gone(...pids: number[]): Promise<void> {
  await until(() => !pids.some(isAlive), { what: `the processes ${pids} to end`, timeoutMs: 20_000 });
}

test('brings up Redis, worker and API, prints the URL, and shows a generated key once', async () => {
  await using temp = await tempDir();
  let key: string;
  {
    await using first = await Started.ready(temp.path);
    assert.match(first.stdout, new RegExp(`^popbridge is ready: ${first.url} `, 'm'));
    key = /^API key, .*: (\S+)$/m.exec(first.stdout)?.[1] ?? '';
    assert.equal((await readFile(join(first.dataDir, 'api-key'), 'utf8')).trim(), key);
    const { env, argv, execArgv } = await first.apiSees();
    assert.equal(env.POPBRIDGE_API_KEY, key);
    assert.equal(
      env.POPBRIDGE_SECRET_KEYS,
      (await readFile(join(first.dataDir, 'secret-keys'), 'utf8')).trim(),
    );
    assert.equal(env.REDIS_URL, `unix://${first.dataDir}/redis.sock`);
    assert(![...argv, ...execArgv].join(' ').includes(key));
    for (const name of ['api-key', 'secret-keys', 'redis.sock'])
      assert.equal((await stat(join(first.dataDir, name))).mode & 0o077, 0, name);
    assert.equal((await stat(first.dataDir)).mode & 0o777, 0o700);
    const worker = (await first.trace()).find((line) => line.startsWith('worker started')) ?? '';
    assert(worker.includes(env.POPBRIDGE_SECRET_KEYS ?? '?') && worker.includes(env.REDIS_URL ?? '?'));
    assert(!worker.includes(key), 'the worker has no use for the API key');
  }
  await using second = await Started.ready(temp.path);
  assert(!second.stdout.includes('API key'));
  assert.equal((await second.apiSees()).env.POPBRIDGE_API_KEY, key);
});

test('the embedded Redis keeps what it is told, evicts nothing and snapshots nothing', async () => {
  await using temp = await tempDir();
  await using started = await Started.ready(temp.path);
  await using redis = await started.redis();
  const set = (await redis.call('CONFIG', 'GET', '*')) as string[];
  const config = new Map(Array.from({ length: set.length / 2 }, (_, i) => [set[2 * i], set[2 * i + 1]]));
  assert.deepEqual(
    ['appendonly', 'appendfsync', 'save', 'maxmemory-policy', 'port', 'dir'].map((name) => config.get(name)),
    ['yes', 'everysec', '', 'noeviction', '0', started.dataDir],
  );
});

test('passes on warnings and plain words, and keeps everyday lines for LOG_LEVEL=debug', async () => {
  await using temp = await tempDir();
  {
    await using quiet = await Started.ready(temp.path);
    await until(() => quiet.stdout.includes('a warning'), { what: 'the warning' });
    await until(() => quiet.stderr.includes('api: plain words'), { what: 'the plain words' });
    assert(!quiet.stdout.includes('everyday'));
  }
  await using verbose = await Started.ready(temp.path, { LOG_LEVEL: 'debug' });
  await until(() => verbose.stdout.includes('an everyday line'), { what: 'the everyday line' });
});

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  test(`${signal} stops API, worker and Redis, in that order, and exits with 0`, async () => {
    await using temp = await tempDir();
    await using started = await Started.ready(temp.path);
    const redis = await started.redisPid();
    assert.equal(await started.end(signal), 0);
    const stops = (await started.trace()).filter((line) => !line.includes('started'));
    assert.deepEqual(stops, ['api stopped', 'worker told to stop', 'worker stopped']);
    await gone(redis, ...(await started.pids('api')), ...(await started.pids('worker')));
    assert.match(started.stderr, /popbridge: stopping .*\npopbridge: stopped\n$/);
  });

test('what Redis held is there again after a stop and a start', async () => {
  await using temp = await tempDir();
  {
    await using first = await Started.ready(temp.path);
    await using redis = await first.redis();
    await redis.set('kept', 'yes');
    assert.equal(await first.end('SIGINT'), 0);
  }
  await using second = await Started.ready(temp.path);
  await using redis = await second.redis();
  assert.equal(await redis.get('kept'), 'yes');
});

test('a second Ctrl-C does not wait for a worker that hangs', async () => {
  await using temp = await tempDir();
  await using started = await Started.ready(temp.path, { WORKER_FAULT: 'hangs' });
  const redis = await started.redisPid();
  started.child.kill('SIGINT');
  await until(async () => (await started.trace()).includes('worker told to stop'), {
    what: 'the first to arrive',
  });
  assert.equal(await started.end('SIGINT'), 0);
  await gone(redis, ...(await started.pids('worker')));
  assert.match(started.stderr, /popbridge: forced/);
});

test('a crashed API or worker is started again, and said so', async () => {
  await using temp = await tempDir();
  await using started = await Started.ready(temp.path);
  await fetch(`${started.url}/crash`).catch(() => {});
  await until(async () => (await started.pids('api')).length === 2, { what: 'the API to be started again' });
  await until(async () => (await fetch(started.url)).ok, { what: 'the API to answer again' });
  const [worker] = await started.pids('worker');
  assert(worker);
  process.kill(worker, 'SIGKILL');
  await until(async () => (await started.pids('worker')).length === 2, {
    what: 'the worker to be started again',
  });
  assert.match(started.stderr, /^api ended by SIGKILL; it is started again in 0\.25 s$/m);
  assert.match(started.stderr, /^worker ended by SIGKILL; it is started again in 0\.25 s$/m);
});

test('a Redis that was killed comes back with its data, at the same place', async () => {
  await using temp = await tempDir();
  await using started = await Started.ready(temp.path);
  await using redis = await started.redis();
  await redis.set('kept', 'yes');
  const before = await started.redisPid();
  process.kill(before, 'SIGKILL');
  await until(() => /redis-server ended by SIGKILL; it is started again/.test(started.stderr), {
    what: 'word of it',
  });
  assert.equal(await redis.get('kept'), 'yes');
  assert.notEqual(await started.redisPid(), before);
});

test('nothing is left running when the supervisor itself is killed', async () => {
  await using temp = await tempDir();
  await using started = await Started.ready(temp.path);
  const pids = [...(await started.pids('api')), ...(await started.pids('worker')), await started.redisPid()];
  await started.end('SIGKILL');
  await gone(...pids);
  const trace = await started.trace();
  assert(trace.includes('api stopped') && trace.includes('worker stopped'), 'they ended in order');
  await using again = await Started.ready(temp.path);
  assert.equal(again.ended, false);
});

test('a Redis that an earlier instance left behind on the same files is ended first', async () => {
  await using temp = await tempDir();
  const dataDir = join(temp.path, 'data');
  await mkdir(dataDir);
  const socket = join(dataDir, 'redis.sock');
  const args = ['--port', '0', '--unixsocket', socket, '--dir', dataDir, '--appendonly', 'yes', '--save', ''];
  const orphan = spawnBound('redis-server', args, { stdio: 'ignore' });
  const left = connectRedis(`unix://${socket}`, { onError: () => {} });
  await left.set('kept', 'yes');
  left.disconnect();
  await using started = await Started.ready(temp.path);
  await gone(orphan.pid ?? 0);
  await using redis = await started.redis();
  assert.equal(await redis.get('kept'), 'yes');
});

test('in a directory with a long path, Redis listens on a loopback port with a password', async () => {
  await using temp = await tempDir();
  const dataDir = join(temp.path, 'long "and" odd/'.repeat(8), 'data');
  await using started = await Started.ready(temp.path, { POPBRIDGE_DATA_DIR: dataDir });
  const url = new URL((await started.apiSees()).env.REDIS_URL ?? '');
  assert.equal(url.hostname, '127.0.0.1');
  assert.match(url.password, /^[\w-]{32}$/);
  await using redis = await started.redis();
  assert.equal(await redis.set('key', 'value'), 'OK');
  const bare = connectRedis(`redis://${url.host}`, { onError: () => {} });
  await assert.rejects(bare.get('key'), /NOAUTH/);
  bare.disconnect();
  const { stdout } = await promisify(execFile)('ps', ['-o', 'args=', '-p', `${await started.redisPid()}`]);
  assert.match(stdout, /redis-server/);
  assert(!stdout.includes(url.password));
  const second = await Started.begin(temp.path, { POPBRIDGE_DATA_DIR: dataDir });
  assert.equal(await second.end(), 1);
  assert.match(second.stderr, /is in use by another popbridge/);
});

test('with REDIS_URL set no Redis is started, and two instances may share a data directory', async () => {
  await using temp = await tempDir();
  await using redis = await startRedis();
  await using first = await Started.ready(temp.path, { REDIS_URL: redis.url });
  assert.equal((await first.apiSees()).env.REDIS_URL, redis.url);
  await assert.rejects(stat(join(first.dataDir, 'redis.sock')), { code: 'ENOENT' });
  await using second = await Started.ready(temp.path, { REDIS_URL: redis.url });
  assert(!second.stdout.includes('API key'));
});

/** Starts, expects exit code 1 and one line that says why. */
async function failsToStart(
  dir: string,
  env: NodeJS.ProcessEnv,
  line: RegExp,
  script = CLI,
): Promise<Started> {
  const started = await Started.begin(dir, env, script);
  assert.equal(await started.end(), 1, started.stderr);
  assert.match(started.stderr, line);
  assert.equal(started.stdout, '');
  return started;
}

test('a taken port is one clear line and exit 1', async () => {
  await using temp = await tempDir();
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const words = (name: string) =>
    new RegExp(
      `^popbridge cannot start: port ${port} on 127\\.0\\.0\\.1 is taken by another program: .*${name}.*\\n$`,
    );
  await failsToStart(temp.path, { PORT: `${port}` }, words('PORT'));
  await failsToStart(temp.path, { WORKER_METRICS_PORT: `${port}` }, words('WORKER_METRICS_PORT'));
  server.close();
});

test('bad configuration is one clear line and exit 1', async () => {
  await using temp = await tempDir();
  const line = /^popbridge cannot start: LOG_LEVEL is "loud": must be silent, .*\n$/;
  await failsToStart(temp.path, { LOG_LEVEL: 'loud' }, line);
  await failsToStart(temp.path, { LOG_LEVEL: 'loud' }, line, START);
  await failsToStart(temp.path, { HOST: '192.0.2.1' }, /HOST 192\.0\.2\.1 is no address of this machine/);
});

test('production refuses to run on generated secrets', async () => {
  await using temp = await tempDir();
  const env = { NODE_ENV: 'production' };
  await failsToStart(temp.path, env, /^popbridge cannot start: POPBRIDGE_SECRET_KEYS must be set .*\n$/);
  const keys = { ...env, POPBRIDGE_SECRET_KEYS: `k1:${Buffer.alloc(32).toString('base64')}` };
  await failsToStart(temp.path, keys, /^popbridge cannot start: POPBRIDGE_API_KEY must be set .*\n$/);
  await using started = await Started.ready(temp.path, { ...keys, POPBRIDGE_API_KEY: 'k'.repeat(20) });
  assert(!started.stdout.includes('kkkk'));
});

test('a missing redis-server is one clear line that says what to install', async () => {
  await using temp = await tempDir();
  const line =
    /^popbridge cannot start: redis-server is not installed: apt-get install redis-server .*REDIS_URL.*\n$/;
  await failsToStart(temp.path, { PATH: dirname(process.execPath) }, line);
});

test('a data directory that cannot be written is one clear line', async () => {
  await using temp = await tempDir();
  const file = join(temp.path, 'file');
  await writeFile(file, '');
  const line =
    /^popbridge cannot start: the data directory \S+ cannot be written \(E\w+\): .*POPBRIDGE_DATA_DIR.*\n$/;
  await failsToStart(temp.path, { POPBRIDGE_DATA_DIR: file }, line);
  await failsToStart(temp.path, { POPBRIDGE_DATA_DIR: join(file, 'below') }, line);
});

test('a second instance on the same data directory is one clear line, and does not disturb the first', async () => {
  await using temp = await tempDir();
  await using first = await Started.ready(temp.path);
  await failsToStart(
    temp.path,
    {},
    /^popbridge cannot start: the data directory \S+ is in use by another popbridge/,
  );
  const link = join(temp.path, 'link');
  await symlink(first.dataDir, link);
  await failsToStart(temp.path, { POPBRIDGE_DATA_DIR: link }, /is in use by another popbridge/);
  assert.equal((await fetch(`${first.url}/health/ready`)).status, 200);
});

test('damaged files of Redis are told in its own words', async () => {
  await using temp = await tempDir();
  await using first = await Started.ready(temp.path);
  await first.end('SIGTERM');
  await writeFile(join(first.dataDir, 'appendonlydir', 'appendonly.aof.manifest'), 'nonsense\n');
  await failsToStart(
    temp.path,
    {},
    /^popbridge cannot start: redis-server ended with exit code 1 .*: .*AOF.*\n$/,
  );
});

test('an API or worker that ends while starting ends the start, and leaves nothing running', async () => {
  await using temp = await tempDir();
  const one = await failsToStart(temp.path, { API_FAULT: 'config' }, /^api: POPBRIDGE_SETTLE_SECONDS is "x"/);
  assert.match(one.stderr, /popbridge cannot start: api ended with exit code 1 while it was starting\n$/);
  await gone(...(await one.pids('worker')));
  await failsToStart(
    temp.path,
    { WORKER_FAULT: 'dies', API_FAULT: 'never ready' },
    /cannot start: worker ended with exit code 7 while it was starting\n$/,
  );
});

test('Ctrl-C while it starts stops what is up already', async () => {
  await using temp = await tempDir();
  await using started = await Started.begin(temp.path, { API_FAULT: 'never ready' });
  await until(async () => (await started.pids('api')).length === 1, { what: 'the API to be up' });
  assert.equal(await started.end('SIGINT'), 0);
  assert.match(started.stderr, /popbridge: stopped\n$/);
  await gone(...(await started.pids('api')), ...(await started.pids('worker')));
  await (await lockDataDir(started.dataDir))[Symbol.asyncDispose]();
});

test('says in one line that Node is too old', async () => {
  await using temp = await tempDir();
  const disguise = join(temp.path, 'disguise.mjs');
  const versions = "{ value: { ...process.versions, node: '22.19.0' } }";
  await writeFile(disguise, `Object.defineProperty(process, 'versions', ${versions});`);
  const run = promisify(execFile)(process.execPath, ['--import', disguise, START], { cwd: temp.path });
  const failure = await run.then(
    () => assert.fail('it ran'),
    (error: { code: number; stderr: string }) => error,
  );
  assert.equal(failure.code, 1);
  assert.match(failure.stderr, /^popbridge needs Node\.js 24 or later, .*\n$/);
});

test('processes that start at once agree on one generated secret', async () => {
  await using temp = await tempDir();
  const config = { apiKey: null, secretKeys: null, dataDir: join(temp.path, 'data'), production: false };
  const all = await Promise.all(Array.from({ length: 20 }, () => ensureSecretKeys(config)));
  assert.equal(new Set(all.map(({ value }) => value)).size, 1);
  assert.equal(all.filter(({ generated }) => generated).length, 1);
});

test('a configured secret is taken as it is, and a damaged file is not', async () => {
  await using temp = await tempDir();
  const config = { apiKey: null, secretKeys: null, dataDir: temp.path, production: false };
  const given = await ensureApiKey({ ...config, apiKey: 'given' });
  assert.deepEqual(given, { value: 'given', generated: false, file: null });
  await writeFile(join(temp.path, 'api-key'), 'short\n');
  await chmod(join(temp.path, 'api-key'), 0o600);
  await assert.rejects(ensureApiKey(config), /api-key is damaged/);
  await assert.rejects(ensureSecretKeys({ ...config, production: true }), ConfigError);
});

test('the lock of a process that died is taken over, by one of many', async () => {
  await using temp = await tempDir();
  const lock = fileURLToPath(new URL('../src/start/lock.ts', import.meta.url));
  const script = `const { lockDataDir } = await import(${JSON.stringify(lock)});
    await lockDataDir(process.argv[1]); process.kill(process.pid, 'SIGKILL');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, temp.path]);
  await once(child, 'exit');
  const tries = await Promise.allSettled(Array.from({ length: 5 }, () => lockDataDir(temp.path)));
  const won = tries.filter((one) => one.status === 'fulfilled');
  assert.equal(won.length, 1);
  await won[0]?.value[Symbol.asyncDispose]();
  await (await lockDataDir(temp.path))[Symbol.asyncDispose]();
});
