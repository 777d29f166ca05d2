import { createHash, randomBytes } from 'node:crypto';
import { mkdir, realpath, rename, unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StartError } from './failure.ts';

/** Shorter than `sun_path` of every system (macOS: 104 bytes, Linux: 108). */
export const MAX_SOCKET_PATH = 103;

/**
 * Takes the data directory for this process: makes it (0700) where missing, proves that it can be written, and
 * holds it by a listening socket in it, which the kernel lets go of however the process ends.
 * @throws StartError when it cannot be written or another instance has it
 */
export async function lockDataDir(dir: string): Promise<AsyncDisposable> {
  const path = await socketPath(dir);
  const server = (await listen(path, dir)) ?? (await takeOver(path, dir));
  return {
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

async function socketPath(dir: string): Promise<string> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const real = await realpath(dir);
    const path = join(real, 'lock.sock');
    if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return path;
    const short = createHash('sha256').update(real).digest('hex').slice(0, 24);
    return join(tmpdir(), `popbridge-${short}.sock`);
  } catch (error) {
    throw unusable(dir, error);
  }
}

/** Null when the socket's file is there already. */
function listen(path: string, dir: string): Promise<Server | null> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(null) : reject(unusable(dir, error)),
    );
    server.listen(path, () => resolve(server));
  });
}

/**
 * The file of a process that is gone is moved aside and looked at once more before it is dropped: between look
 * and move another starter may have put its own, living socket there, which then is given back.
 */
async function takeOver(path: string, dir: string): Promise<Server> {
  if (await isAlive(path)) throw inUse(dir);
  const aside = `${path}.${randomBytes(4).toString('hex')}`;
  await rename(path, aside).catch(() => {});
  if (await isAlive(aside)) {
    await rename(aside, path);
    throw inUse(dir);
  }
  await unlink(aside).catch(() => {});
  const server = await listen(path, dir);
  if (server === null) throw inUse(dir);
  return server;
}

function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}

function inUse(dir: string): StartError {
  return new StartError(
    `the data directory ${dir} is in use by another popbridge: stop that one, or set POPBRIDGE_DATA_DIR to another`,
  );
}

function unusable(dir: string, error: unknown): StartError {
  const { code } = error as NodeJS.ErrnoException;
  return new StartError(
    `the data directory ${dir} cannot be written (${code}): set POPBRIDGE_DATA_DIR to one that can`,
  );
}
