import { randomBytes } from 'node:crypto';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import type { MessageDetail, Migration } from '../../src/domain/migration.ts';
import { hasExited, spawnBound, stopChild } from '../../test/support/child.ts';
import { freePort, until } from '../../test/support/net.ts';
import type { Servers } from './servers.ts';

const START = new URL('../../src/start.ts', import.meta.url).pathname;
const START_MS = 30_000;
// The service gives its processes time to finish what they have in hand; this is longer than all of that.
const STOP_MS = 90_000;

/** What the events of a migration tell, a part of the migration. */
export type Update = Pick<Migration, 'state' | 'stateReason' | 'progress'>;

/** The running service, seen from outside: its REST API and nothing else. */
export interface Service {
  url: string;
  key: string;
  /** Rejects when the service ends by itself. */
  ended: Promise<never>;
  get<T>(path: string): Promise<T>;
  post<T>(path: string, body: unknown): Promise<T>;
  /** Server-sent events of a migration until the stream ends. */
  updates(id: string, signal: AbortSignal): AsyncGenerator<Update>;
}

/** `npm start` as an operator would, on a free port; stopped in order by `stack`. */
export async function startService(servers: Servers, stack: AsyncDisposableStack): Promise<Service> {
  const port = await freePort();
  const key = `demo-${randomBytes(16).toString('hex')}`;
  const env = serviceEnvironment(servers, port, key);
  if (stack.disposed) throw new Error('stopped');
  const child = spawnBound(process.execPath, [START], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-8_000);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  stack.defer(() => stopChild(child, 'SIGTERM', STOP_MS));
  const url = `http://127.0.0.1:${port}`;
  await until(async () => hasExited(child) || (await fetch(`${url}/health/ready`)).ok, {
    what: `the service to start\n${output}`,
    timeoutMs: START_MS,
  });
  const failure = () => new Error(`the service ended by itself:\n${output}`);
  if (hasExited(child)) throw failure();
  const ended = new Promise<never>((_, reject) => child.once('exit', () => reject(failure())));
  ended.catch(() => undefined);
  return { url, key, ended, ...client(url, key) };
}

function serviceEnvironment(servers: Servers, port: number, key: string): NodeJS.ProcessEnv {
  const { REDIS_URL: _, NODE_ENV: __, ...inherited } = process.env;
  return {
    ...inherited,
    HOST: '127.0.0.1',
    PORT: `${port}`,
    POPBRIDGE_DATA_DIR: servers.dataDir,
    POPBRIDGE_API_KEY: key,
    POPBRIDGE_ALLOW_NETWORKS: '127.0.0.0/8',
    POPBRIDGE_TLS_CA_FILE: servers.caFile,
    WORKER_METRICS_PORT: '0',
    LOG_LEVEL: 'warn',
  };
}

function client(url: string, key: string): Pick<Service, 'get' | 'post' | 'updates'> {
  const headers = { authorization: `Bearer ${key}` };
  const call = async <T>(path: string, init: RequestInit = {}): Promise<T> => {
    const answer = await fetch(url + path, {
      ...init,
      headers: { ...headers, 'content-type': 'application/json' },
    });
    if (!answer.ok)
      throw new Error(`${init.method ?? 'GET'} ${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  };
  return {
    get: (path) => call(path),
    post: (path, body) => call(path, { method: 'POST', body: JSON.stringify(body) }),
    async *updates(id, signal) {
      const answer = await fetch(`${url}/v1/migrations/${id}/events`, { headers, signal });
      if (!answer.ok || answer.body === null) return;
      const events: EventSourceMessage[] = [];
      const parser = createParser({ onEvent: (event) => events.push(event) });
      for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
        parser.feed(chunk);
        for (const event of events.splice(0)) if (event.event === 'migration') yield JSON.parse(event.data);
      }
    },
  };
}

/** All rows of `/messages` that carry the flag or outcome. */
export async function messagesOf(service: Service, id: string, query: string): Promise<MessageDetail[]> {
  const all: MessageDetail[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const more: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const path = `/v1/migrations/${id}/messages?limit=200&${query}${more}`;
    const page: { items: MessageDetail[]; nextCursor: string | null } = await service.get(path);
    all.push(...page.items);
    cursor = page.nextCursor;
  }
  return all;
}
