import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Config, inheritedEnvironment, VARIABLES } from '../config.ts';
import { StartError } from './failure.ts';
import { lockDataDir } from './lock.ts';
import { relay, type Streams } from './output.ts';
import { assertPortFree } from './ports.ts';
import { startRedis } from './redis.ts';
import { ensureApiKey, ensureSecretKeys, type Secret } from './secrets.ts';
import { Service } from './service.ts';

/** The API lets answers finish; the worker finishes and commits the group in hand. */
const API_GRACE_MS = 10_000;
const WORKER_GRACE_MS = 45_000;
const READY_WITHIN_MS = 60_000;
const POLL_MS = 50;
const LEASH = new URL('./leash.ts', import.meta.url).href;

export interface StartOptions {
  config: Config;
  /** The two processes' entry files. */
  scripts: { api: URL; worker: URL };
  streams: Streams;
  /** Ends the starting; `stop()` is for afterwards. */
  signal: AbortSignal;
  /** No more patience for API and worker, whenever they are stopped. Redis still writes out what it holds. */
  force: AbortSignal;
}

export interface Running {
  /** Where the API answers. */
  url: string;
  /** The key that was generated just now, and where it is kept; null when there was one. */
  newApiKey: Secret | null;
  /** By name, for those who look on. */
  services: readonly Service[];
  /** API, worker, Redis, one after the other, each bounded in time. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Brings up Redis (where none is configured), API and worker, each a process of its own that is started again when
 * it ends, and resolves when the API says that it is ready. A start that fails leaves nothing running.
 * @throws StartError, ConfigError; the signal's reason
 */
export async function start(options: StartOptions): Promise<Running> {
  const stack = new AsyncDisposableStack();
  try {
    return await bringUp(options, stack);
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

async function bringUp(options: StartOptions, stack: AsyncDisposableStack): Promise<Running> {
  const { config, streams, signal } = options;
  if (config.redisUrl === null) stack.use(await lockDataDir(config.dataDir));
  const port = await assertPortFree(config.host, config.port, VARIABLES.port.name);
  if (config.workerMetricsPort !== 0)
    await assertPortFree(config.host, config.workerMetricsPort, VARIABLES.workerMetricsPort.name);
  const [apiKey, secretKeys] = [await ensureApiKey(config), await ensureSecretKeys(config)];
  const services: Service[] = [];
  const supervised = (service: Service): Service => {
    services.push(service);
    stack.defer(() => service.stop());
    return service;
  };

  let redisUrl = config.redisUrl;
  if (redisUrl === null) {
    const verbose = config.logLevel === 'debug' || config.logLevel === 'trace';
    const onLine = (line: string) => verbose && streams.print(line);
    const redis = await startRedis({ dataDir: config.dataDir, onLine, onCrash: streams.complain, signal });
    supervised(redis.service);
    redisUrl = redis.url;
  }
  const env = {
    REDIS_URL: redisUrl,
    PORT: `${port}`,
    POPBRIDGE_DATA_DIR: config.dataDir,
    POPBRIDGE_SECRET_KEYS: secretKeys.value,
  };
  signal.throwIfAborted();
  // In this order, so that the stack stops the API first.
  const worker = supervised(
    node(
      'worker',
      options,
      { ...env, POPBRIDGE_API_KEY: undefined },
      options.scripts.worker,
      WORKER_GRACE_MS,
    ),
  );
  const api = supervised(
    node('api', options, { ...env, POPBRIDGE_API_KEY: apiKey.value }, options.scripts.api, API_GRACE_MS),
  );
  const url = `http://${urlHost(config.host)}:${port}`;
  options.force.addEventListener('abort', () => [api, worker].map((service) => service.force()));
  await bothUp(api, worker, url, signal);
  api.keep();
  worker.keep();
  return {
    url,
    newApiKey: apiKey.generated ? apiKey : null,
    services,
    stop: () => stack.disposeAsync(),
  };
}

/** The API answers for readiness; the worker only has to stay alive meanwhile. */
async function bothUp(api: Service, worker: Service, url: string, signal: AbortSignal): Promise<void> {
  const done = new AbortController();
  const alive = worker.untilReady(
    (until) => new Promise((_, reject) => until.addEventListener('abort', () => reject(until.reason))),
    done.signal,
  );
  try {
    await Promise.race([api.untilReady((until) => healthy(url, until), signal), alive]);
  } finally {
    done.abort();
  }
}

function node(
  name: string,
  { config, streams }: StartOptions,
  changes: Record<string, string | undefined>,
  script: URL,
  graceMs: number,
): Service {
  return new Service({
    name,
    command: process.execPath,
    args: ['--import', LEASH, fileURLToPath(script)],
    env: inheritedEnvironment(changes),
    leashed: true,
    graceMs,
    onLine: relay(name, config.logLevel, streams),
    onCrash: streams.complain,
  });
}

async function healthy(url: string, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + READY_WITHIN_MS;
  while (performance.now() < deadline) {
    const ready = await fetch(`${url}/health/ready`, { signal }).then(
      async (answer) => {
        await answer.body?.cancel();
        return answer.ok;
      },
      () => false,
    );
    if (ready) return;
    await delay(POLL_MS, undefined, { signal });
  }
  throw new StartError(`the API was not ready within ${READY_WITHIN_MS / 1000} s`);
}

/** An address to reach the API by from this machine, for one that it listens on. */
function urlHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}
