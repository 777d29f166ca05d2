import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { connect, type NetConnectOpts, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { inheritedEnvironment } from '../config.ts';
import { StartError } from './failure.ts';
import { MAX_SOCKET_PATH } from './lock.ts';
import { assertPortFree } from './ports.ts';
import { Service } from './service.ts';

/** Part of util-linux: ends the child when its parent dies, even by SIGKILL. Other systems go without. */
const SETPRIV = '/usr/bin/setpriv';
const STOP_GRACE_MS = 15_000;
const POLL_MS = 20;

export interface EmbeddedRedis {
  /** Holds a password where there is one. */
  url: string;
  service: Service;
}

export interface EmbeddedRedisOptions {
  /** Absolute; ours alone. */
  dataDir: string;
  onLine: (line: string, stream: 'stdout' | 'stderr') => void;
  onCrash: (what: string) => void;
  signal: AbortSignal;
}

/**
 * A redis-server child that keeps what it is told: append-only file in the data directory, fsync every second,
 * nothing evicted. It listens on a socket in the data directory; where that path is too long, on a free port of
 * 127.0.0.1 with a password. Resolves when it has loaded its data and answers.
 * @throws StartError
 */
export async function startRedis(options: EmbeddedRedisOptions): Promise<EmbeddedRedis> {
  await assertInstalled();
  const listening = await chooseListening(options.dataDir);
  await endOrphan(listening, options.signal);
  const lastLines: string[] = [];
  const service = new Service({
    name: 'redis-server',
    ...command(),
    env: inheritedEnvironment({ POPBRIDGE_API_KEY: undefined, POPBRIDGE_SECRET_KEYS: undefined }),
    input: configuration(options.dataDir, listening),
    graceMs: STOP_GRACE_MS,
    onCrash: options.onCrash,
    onLine: (line, stream) => {
      lastLines.push(line);
      if (lastLines.length > 20) lastLines.shift();
      options.onLine(line, stream);
    },
  });
  try {
    await service.untilReady((signal) => answers(listening, signal), options.signal);
  } catch (error) {
    await service.stop();
    if (!(error instanceof StartError)) throw error;
    const why = lastLines
      .findLast((line) => /# |\*\*\*|error|can't|cannot/i.test(line))
      ?.replace(/^.*? # /, '');
    throw new StartError(`${error.message}${why === undefined ? '' : `: ${why}`}`);
  }
  service.keep();
  return { url: listening.url, service };
}

type Listening =
  | { kind: 'socket'; path: string; url: string }
  | { kind: 'port'; port: number; password: string; url: string };

async function chooseListening(dataDir: string): Promise<Listening> {
  const path = join(dataDir, 'redis.sock');
  // In a URL, "?" and "," would end the path.
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH && !/[?,]/.test(path))
    return { kind: 'socket', path, url: `unix://${path}` };
  const port = await assertPortFree('127.0.0.1', 0, 'POPBRIDGE_DATA_DIR');
  const password = randomBytes(24).toString('base64url');
  return { kind: 'port', port, password, url: `redis://:${password}@127.0.0.1:${port}` };
}

function command(): { command: string; args: string[] } {
  // "-": the configuration comes on standard input, where no list of processes shows the password.
  return existsSync(SETPRIV)
    ? { command: SETPRIV, args: ['--pdeathsig', 'TERM', 'redis-server', '-'] }
    : { command: 'redis-server', args: ['-'] };
}

function configuration(dataDir: string, listening: Listening): string {
  const door =
    listening.kind === 'socket'
      ? ['port 0', `unixsocket ${quote(listening.path)}`, 'unixsocketperm 700']
      : [`port ${listening.port}`, 'bind 127.0.0.1', `requirepass ${listening.password}`];
  const lines = [
    ...door,
    `dir ${quote(dataDir)}`,
    'daemonize no',
    'appendonly yes',
    'appendfsync everysec',
    'save ""',
    'maxmemory-policy noeviction',
  ];
  return `${lines.join('\n')}\n`;
}

/** Redis's own quoting: double quotes, bytes outside of printable ASCII as \xHH. */
function quote(text: string): string {
  const bytes = [...Buffer.from(text)].map((byte) =>
    byte < 0x20 || byte > 0x7e || byte === 0x22 || byte === 0x5c
      ? `\\x${byte.toString(16).padStart(2, '0')}`
      : String.fromCharCode(byte),
  );
  return `"${bytes.join('')}"`;
}

function assertInstalled(): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile('redis-server', ['--version'], (error) => {
      if (error === null) resolve();
      else if (error.code === 'ENOENT') reject(new StartError(MISSING));
      else reject(new StartError(`redis-server does not run: ${error.message.split('\n')[0]}`));
    });
  });
}

const MISSING =
  'redis-server is not installed: apt-get install redis-server (or the like of your system), or set REDIS_URL to a Redis that runs';

/** Resolves once Redis answers PING with PONG; while it loads its data it answers LOADING. */
async function answers(listening: Listening, signal: AbortSignal): Promise<void> {
  for (;;) {
    const reply = await ask(listening, 'PING');
    if (reply?.includes('+PONG')) return;
    await delay(POLL_MS, undefined, { signal });
  }
}

/**
 * A Redis that an earlier instance left behind (killed hard, on a system without setpriv) still has the files
 * open, and two on one append-only file would ruin it. We hold the directory's lock, so nobody else needs it.
 */
async function endOrphan(listening: Listening, signal: AbortSignal): Promise<void> {
  if (listening.kind !== 'socket') return;
  while ((await ask(listening, 'SHUTDOWN')) !== null) await delay(POLL_MS, undefined, { signal });
}

/** Redis's answer to one inline command, as far as it came; null when nobody listens. */
function ask(listening: Listening, inline: string): Promise<string | null> {
  const to: NetConnectOpts =
    listening.kind === 'socket' ? { path: listening.path } : { host: '127.0.0.1', port: listening.port };
  const login = listening.kind === 'port' ? `AUTH ${listening.password}\r\n` : '';
  return new Promise((resolve) => {
    let answer: string | null = null;
    const socket: Socket = connect(to, () => {
      answer = '';
      socket.write(`${login}${inline}\r\n`);
    });
    socket.setTimeout(5_000, () => socket.destroy());
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      answer = `${answer ?? ''}${chunk.toString('latin1')}`;
      if (answer.split('\r\n').length > (login === '' ? 1 : 2)) socket.destroy();
    });
    socket.on('close', () => resolve(answer));
  });
}
