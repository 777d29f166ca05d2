import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { hasExited, spawnBound, stopChild } from './child.ts';
import { freePort, tempDir, until } from './net.ts';

export interface RedisOptions {
  /** More arguments of redis-server, as `['--maxmemory', '64mb']`; they win over ours. */
  args?: readonly string[];
}

/** A Redis of the test's own: append-only file, fsync every second, no eviction. */
export interface RedisServer extends AsyncDisposable {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly dir: string;
  /** Process id of the running server. */
  readonly pid: number;
  /** SIGKILL; resolves when the process is gone. The files stay. */
  kill(): Promise<void>;
  /** Stops in order if it runs, and starts again on the same port and files. */
  restart(): Promise<void>;
  /** Stops and removes the files. Idempotent. */
  stop(): Promise<void>;
}

export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const temp = await tempDir();
  const port = await freePort();
  const start = () => launch(port, temp.path, options.args ?? []);
  let child = await start();
  const stop = async () => {
    await stopChild(child, 'SIGTERM');
    await temp[Symbol.asyncDispose]();
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    host: '127.0.0.1',
    port,
    dir: temp.path,
    get pid() {
      return child.pid ?? 0;
    },
    kill: () => stopChild(child, 'SIGKILL'),
    restart: async () => {
      await stopChild(child, 'SIGTERM');
      child = await start();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function launch(port: number, dir: string, more: readonly string[]): Promise<ChildProcess> {
  const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', dir, '--save', ''];
  args.push('--appendonly', 'yes', '--appendfsync', 'everysec', '--maxmemory-policy', 'noeviction');
  const child = spawnBound('redis-server', [...args, ...more], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-4_000);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  child.on('error', (error) => keep(Buffer.from(error.message)));
  await until(async () => hasExited(child) || (await answersPing(port)), { what: 'redis-server to start' });
  if (hasExited(child)) throw new Error(`redis-server did not start: ${output}`);
  return child;
}

/** False while it loads its files (`-LOADING`), too. */
async function answersPing(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    const [answer] = (await once(socket, 'data')) as [Buffer];
    return answer.toString() === '+PONG\r\n';
  } finally {
    socket.destroy();
  }
}
