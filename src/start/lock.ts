import { createHash } from 'node:crypto';
import { access, constants, mkdir, realpath, unlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StartError } from './failure.ts';

/** Shorter than `sun_path` of every system (macOS: 104 bytes, Linux: 108). */
export const MAX_SOCKET_PATH = 103;

/**
 * Takes the data directory for this process: makes it (0700) where missing, sees that it can be written, and holds
 * it by a listening socket, which the kernel lets go of however the process ends.
 * @throws StartError when it cannot be written or another instance has it
 */
export async function lockDataDir(dir: string): Promise<AsyncDisposable> {
  const name = await lockName(dir);
  const server = (await listen(name, dir)) ?? (await takeOver(name, dir));
  return {
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

async function lockName(dir: string): Promise<string> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await access(dir, constants.W_OK | constants.X_OK);
    const name = `popbridge-${createHash('sha256')
      .update(await realpath(dir))
      .digest('hex')
      .slice(0, 24)}`;
    // A Linux abstract socket has no file that a killed process could leave behind, so two starters never have to
    // agree on who clears it away (unix(7)).
    return process.platform === 'linux' ? `\0${name}` : join(tmpdir(), `${name}.sock`);
  } catch (error) {
    throw unusable(dir, error);
  }
}

/** Null when the name is taken. */
function listen(name: string, dir: string): Promise<Server | null> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(null) : reject(unusable(dir, error)),
    );
    server.listen(name, () => resolve(server));
  });
}

/** Where sockets are files, one that nobody listens on is of a process that is gone. */
async function takeOver(name: string, dir: string): Promise<Server> {
  if (name.startsWith('\0') || (await isAlive(name))) throw inUse(dir);
  await unlink(name).catch(() => {});
  const server = await listen(name, dir);
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
