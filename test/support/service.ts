import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Migration, MigrationState } from '../../src/domain/migration.ts';
import { hasExited, spawnBound, stopChild } from './child.ts';
import type { Dovecot } from './dovecot.ts';
import { freePort, until } from './net.ts';

export interface ServiceOptions {
  redisUrl: string;
  /** More or other environment. */
  env?: Readonly<Record<string, string>>;
  /** Where the program lies; default: here. */
  cwd?: string;
  /** Worker processes to begin with; default 1. */
  workers?: number;
}

export interface Answer<T = unknown> {
  status: number;
  headers: Headers;
  body: T;
}

/** API and workers as processes of their own, as in production, with everything on this machine allowed. */
export class Service implements AsyncDisposable {
  readonly url: string;
  readonly key: string;
  readonly env: Readonly<Record<string, string>>;
  api: ChildProcess;
  readonly workers: ChildProcess[] = [];
  /** All that the processes printed. */
  output = '';

  readonly #cwd: string;

  private constructor(url: string, key: string, cwd: string, env: Record<string, string>) {
    this.url = url;
    this.key = key;
    this.env = env;
    this.#cwd = cwd;
    this.api = this.#spawn('src/main.ts');
  }

  static async start(options: ServiceOptions): Promise<Service> {
    const port = await freePort();
    const key = `test-key-${randomBytes(16).toString('hex')}`;
    const service = new Service(`http://127.0.0.1:${port}`, key, options.cwd ?? '.', {
      PATH: process.env.PATH ?? '',
      HOST: '127.0.0.1',
      PORT: `${port}`,
      REDIS_URL: options.redisUrl,
      POPBRIDGE_API_KEY: key,
      POPBRIDGE_SECRET_KEYS: `k1:${randomBytes(32).toString('base64')}`,
      POPBRIDGE_ALLOW_NETWORKS: '127.0.0.0/8',
      POPBRIDGE_ALLOW_PLAINTEXT: 'true',
      POPBRIDGE_SETTLE_SECONDS: '1',
      POPBRIDGE_LEASE_SECONDS: '3',
      WORKER_METRICS_PORT: '0',
      ...options.env,
    });
    for (let count = options.workers ?? 1; count > 0; count--) service.addWorker();
    await service.ready();
    return service;
  }

  addWorker(env: Readonly<Record<string, string>> = {}): ChildProcess {
    const worker = this.#spawn('workers/main.ts', env);
    this.workers.push(worker);
    return worker;
  }

  /** Starts the API again on the same port. */
  async restartApi(): Promise<void> {
    await stopChild(this.api, 'SIGTERM');
    this.api = this.#spawn('src/main.ts');
    await this.ready();
  }

  #spawn(script: string, env: Readonly<Record<string, string>> = {}): ChildProcess {
    const child = spawnBound(process.execPath, [script], {
      cwd: this.#cwd,
      env: { ...this.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    return child;
  }

  async ready(): Promise<void> {
    await until(
      async () => {
        if (hasExited(this.api)) throw new Error(`the API ended: ${this.output.slice(-2000)}`);
        return (await fetch(`${this.url}/health/ready`)).ok;
      },
      { what: 'the API to be ready', timeoutMs: 30_000 },
    );
  }

  async call<T = Record<string, unknown>>(method: string, path: string, body?: unknown): Promise<Answer<T>> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get('content-type') ?? '');
    return {
      status: response.status,
      headers: response.headers,
      body: (isJson ? JSON.parse(text) : text) as T,
    };
  }

  async create(body: unknown): Promise<Migration> {
    const answer = await this.call<Migration>('POST', '/v1/migrations', body);
    if (answer.status !== 202) throw new Error(`POST gave ${answer.status}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  async get(id: string): Promise<Migration> {
    return (await this.call<Migration>('GET', `/v1/migrations/${id}`)).body;
  }

  /** Waits until the migration is in one of these states. */
  async reach(id: string, states: readonly MigrationState[], timeoutMs = 60_000): Promise<Migration> {
    let last: Migration | undefined;
    try {
      return await until(
        async () => {
          last = await this.get(id);
          return states.includes(last.state) && last;
        },
        { what: `${id} to become ${states.join(' or ')}`, timeoutMs, everyMs: 50 },
      );
    } catch (error) {
      const seen = JSON.stringify(last);
      throw new Error(`${id} is ${seen}\n${this.output.slice(-4000)}`, { cause: error });
    }
  }

  /** Waits for the end, whichever. */
  ended(id: string, timeoutMs = 60_000): Promise<Migration> {
    return this.reach(id, ['completed', 'completedWithFailures', 'failed', 'canceled'], timeoutMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.api, ...this.workers].map((child) => stopChild(child, 'SIGTERM', 15_000)));
  }
}

/** SIGKILL, and the process is gone. */
export async function killNow(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit');
  // setpriv has become the program itself, so this is its pid.
  child.kill('SIGKILL');
  await exit;
}

/** The body of a POST that moves one account of one Dovecot to one of another, in plain text. */
export function migrationBody(
  from: Dovecot,
  to: Dovecot,
  user: string,
  more: object = {},
): Record<string, unknown> {
  const auth = { type: 'password', password: from.password };
  return {
    label: user,
    source: { host: from.host, port: from.ports.pop3, security: 'none', username: user, auth },
    destination: {
      host: to.host,
      port: to.ports.imap,
      security: 'none',
      username: user,
      auth,
      folder: { path: ['INBOX'] },
    },
    ...more,
  };
}
