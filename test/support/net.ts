import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

// Below the range from which the kernel takes ports for outgoing connections (32768 and up on Linux), so that
// nobody takes the port between our look and the server's bind.
const LOWEST_PORT = 12_000;
const PORTS = 20_000;

/** A TCP port of 127.0.0.1 that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    const port = LOWEST_PORT + Math.floor(Math.random() * PORTS);
    if (await canListen(port)) return port;
  }
  throw new Error('no free port found in 100 tries');
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

export interface UntilOptions {
  /** Default 10,000. */
  timeoutMs?: number;
  /** What is waited for, for the message of the failure. */
  what: string;
  /** Default 10. */
  everyMs?: number;
}

/**
 * Waits until `condition` gives something truthy, and gives that. A condition that throws is asked again.
 * @throws Error that names `what` and the last thing that the condition threw, after `timeoutMs`
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  options: UntilOptions,
): Promise<Exclude<Awaited<T>, false | null | undefined | 0 | ''>> {
  const { timeoutMs = 10_000, what, everyMs = 10 } = options;
  const deadline = performance.now() + timeoutMs;
  let lastError: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value as Exclude<Awaited<T>, false | null | undefined | 0 | ''>;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() > deadline)
      throw new Error(`waited ${timeoutMs} ms in vain for: ${what}`, { cause: lastError });
    await delay(everyMs);
  }
}

export interface TempDir extends AsyncDisposable {
  readonly path: string;
}

/** An empty directory that goes with all it holds; other users may enter it (mail servers drop privileges). */
export async function tempDir(): Promise<TempDir> {
  const path = await mkdtemp(join(tmpdir(), 'popbridge-'));
  await chmod(path, 0o711);
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }),
  };
}
