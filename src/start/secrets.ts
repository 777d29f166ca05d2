import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type Config, ConfigError, VARIABLES } from '../config.ts';
import { StartError } from './failure.ts';

export interface Secret {
  value: string;
  /** Made just now: to be shown once, as far as it is for people. */
  generated: boolean;
  /** Where it is kept; null when it came by the environment. */
  file: string | null;
}

type Settings = Pick<Config, 'apiKey' | 'secretKeys' | 'dataDir' | 'production'>;

/**
 * The first admin key: as configured, else as kept in the data directory, else generated and kept there (file
 * 0600). Processes that start at once agree on one.
 * @throws ConfigError when none is configured in production; StartError when the file cannot be used
 */
export function ensureApiKey(config: Settings): Promise<Secret> {
  const make = () => `pb_${randomBytes(32).toString('base64url')}`;
  return ensure(config, 'apiKey', 'api-key', make);
}

/** The ring that seals credentials; otherwise as `ensureApiKey`. */
export function ensureSecretKeys(config: Settings): Promise<Secret> {
  return ensure(config, 'secretKeys', 'secret-keys', () => `k1:${randomBytes(32).toString('base64')}`);
}

async function ensure(
  config: Settings,
  key: 'apiKey' | 'secretKeys',
  fileName: string,
  make: () => string,
): Promise<Secret> {
  const variable = VARIABLES[key];
  const configured = config[key];
  if (configured !== null) return { value: configured, generated: false, file: null };
  if (config.production) throw new ConfigError(variable.name, 'must be set when NODE_ENV=production');
  const file = join(config.dataDir, fileName);
  const kept = await readIfThere(file);
  if (kept !== null) return { value: checked(file, kept, variable.parse), generated: false, file };
  const value = make();
  if (await createOnce(config.dataDir, file, value)) return { value, generated: true, file };
  return ensure(config, key, fileName, make);
}

function checked(file: string, kept: string, parse: (text: string) => string | null): string {
  try {
    return parse(kept.trim()) ?? '';
  } catch {
    throw new StartError(`${file} is damaged: restore it, or set its variable in the environment`);
  }
}

async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    throw new StartError(`${file} cannot be read (${code})`);
  }
}

/** Whole or not at all, also when the machine stops; false when somebody else was first. */
async function createOnce(dir: string, file: string, text: string): Promise<boolean> {
  const draft = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await writeDurably(draft, `${text}\n`);
    await link(draft, file);
    await syncDirectory(dir);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    throw new StartError(
      `${file} cannot be written (${code}): set POPBRIDGE_DATA_DIR to a directory that can`,
    );
  } finally {
    await unlink(draft).catch(() => {});
  }
}

async function writeDurably(file: string, text: string): Promise<void> {
  await using handle = await open(file, 'wx', 0o600);
  await handle.writeFile(text);
  await handle.sync();
}

async function syncDirectory(dir: string): Promise<void> {
  await using handle = await open(dir, 'r');
  await handle.sync();
}
