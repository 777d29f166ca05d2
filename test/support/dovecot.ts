import { type ChildProcess, execFile } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { userInfo } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { hasExited, killGroup, spawnBound } from './child.ts';
import { type DovecotPorts, dovecotConfig, type MailOwner } from './dovecot-config.ts';
import { freePort, tempDir, until } from './net.ts';
import { type CertificateOptions, createAuthority } from './tls.ts';

const run = promisify(execFile);
// dovecot itself lives in an sbin directory, which is not on every user's path.
const PATH = [process.env.PATH ?? '', '/usr/sbin', '/usr/local/sbin'].join(delimiter);
const PASSWORD = 'secret';
const VMAIL = 5000;

export interface DovecotOptions {
  storage?: 'maildir' | 'sdbox';
  /** `storage` as `20M` per user, `maxMailSize` as `8M` per message. */
  quota?: { storage?: string; maxMailSize?: string };
  /** For the server's certificate. */
  certificate?: CertificateOptions;
  /** More configuration, after ours; the last of two equal settings wins. */
  extra?: string;
}

/** A Dovecot of the test's own on 127.0.0.1. Any user name logs in with `secret`. */
export interface Dovecot extends AsyncDisposable {
  readonly host: string;
  readonly ports: DovecotPorts;
  readonly password: string;
  /** The authority that signed the server's certificate. */
  readonly caFile: string;
  readonly dir: string;
  /** Process id of the master process. */
  readonly pid: number;
  /** Puts messages into INBOX, in this order, after what is there. */
  deliver(user: string, messages: readonly Buffer[]): Promise<void>;
  /** Runs `doveadm` on this instance and gives its standard output. */
  doveadm(...args: string[]): Promise<string>;
  /** The user's maildir. */
  maildir(user: string): string;
  /** What the server logged so far. */
  log(): Promise<string>;
  /** Stops and removes the mail. Idempotent. */
  stop(): Promise<void>;
}

export async function startDovecot(options: DovecotOptions = {}): Promise<Dovecot> {
  const temp = await tempDir();
  try {
    return await startIn(temp.path, options);
  } catch (error) {
    await temp[Symbol.asyncDispose]();
    throw error;
  }
}

async function startIn(dir: string, options: DovecotOptions): Promise<Dovecot> {
  const storage = options.storage ?? 'maildir';
  const owner = await mailOwner();
  await makeOwned(join(dir, 'mail'), owner);
  const authority = await createAuthority(dir);
  const certificate = await authority.issue('server', options.certificate);
  const ports = await choosePorts();
  const config = join(dir, 'dovecot.conf');
  const quota = options.quota ?? {};
  const extra = options.extra ?? '';
  await writeFile(
    config,
    dovecotConfig({ dir, ports, password: PASSWORD, certificate, storage, quota, extra, owner }),
  );
  const log = () => readFile(join(dir, 'dovecot.log'), 'utf8').catch(() => '');
  const master = await launch(config, ports, log);
  const doveadm = async (...args: string[]) =>
    (await run('doveadm', ['-c', config, ...args], { env: { ...process.env, PATH }, maxBuffer: 64 << 20 }))
      .stdout;
  const home = (user: string) => join(dir, 'mail', user);
  const mailbox: Mailbox = { home, storage, owner, doveadm, delivered: 0 };
  const stop = async () => {
    // In order it takes Dovecot a second, and nothing of it is kept.
    await killGroup(master);
    await rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  };
  return {
    host: '127.0.0.1',
    ports,
    password: PASSWORD,
    caFile: authority.caFile,
    dir,
    pid: master.pid ?? 0,
    deliver: (user, messages) => deliver(mailbox, user, messages),
    doveadm,
    maildir: (user) => join(home(user), 'Maildir'),
    log,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function choosePorts(): Promise<DovecotPorts> {
  const [pop3, pop3s, imap, imaps] = [await freePort(), await freePort(), await freePort(), await freePort()];
  return { pop3, pop3s, imap, imaps };
}

/** As root, Dovecot drops to the uid of the `vmail` user; as anybody else it stays what it is. */
async function mailOwner(): Promise<MailOwner> {
  const { uid, gid, username } = userInfo();
  if (uid === 0) return { uid: VMAIL, gid: VMAIL, rootless: null };
  const group = (await run('id', ['-gn'])).stdout.trim();
  return { uid, gid, rootless: { user: username, group } };
}

async function makeOwned(dir: string, owner: MailOwner): Promise<void> {
  await mkdir(dir, { recursive: true });
  await chown(dir, owner.uid, owner.gid);
}

/** @throws Error with what the server said, when it ends instead of listening */
async function launch(
  config: string,
  ports: DovecotPorts,
  log: () => Promise<string>,
): Promise<ChildProcess> {
  const env = { ...process.env, PATH };
  const master = spawnBound('dovecot', ['-F', '-c', config], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  master.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  master.on('error', (error) => {
    stderr += error.message;
  });
  await until(async () => hasExited(master) || (await greets(ports.imap)), { what: 'Dovecot to start' });
  if (hasExited(master)) throw new Error(`Dovecot did not start: ${stderr}${await log()}`);
  return master;
}

async function greets(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    const [greeting] = (await once(socket, 'data')) as [Buffer];
    return greeting.toString().startsWith('* OK');
  } finally {
    socket.destroy();
  }
}

interface Mailbox {
  home: (user: string) => string;
  storage: 'maildir' | 'sdbox';
  owner: MailOwner;
  doveadm: Dovecot['doveadm'];
  /** Counts up over all users; Dovecot gives UIDs to new files by time and counter in their names. */
  delivered: number;
}

async function deliver(mailbox: Mailbox, user: string, messages: readonly Buffer[]): Promise<void> {
  const home = mailbox.home(user);
  await makeOwned(home, mailbox.owner);
  const direct = mailbox.storage === 'maildir';
  const maildir = join(home, direct ? 'Maildir' : `import-${mailbox.delivered}`);
  for (const folder of ['', 'cur', 'new', 'tmp']) await makeOwned(join(maildir, folder), mailbox.owner);
  for (const bytes of messages) await writeNew(maildir, bytes, mailbox);
  if (direct) return;
  await mailbox.doveadm('import', '-u', user, `maildir:${maildir}`, '', 'all');
  await rm(maildir, { recursive: true });
}

async function writeNew(maildir: string, bytes: Buffer, mailbox: Mailbox): Promise<void> {
  const count = mailbox.delivered++;
  const name = `${1_700_000_000 + count}.M${count}P1.localhost`;
  const draft = join(maildir, 'tmp', name);
  await writeFile(draft, bytes);
  await chown(draft, mailbox.owner.uid, mailbox.owner.gid);
  await rename(draft, join(maildir, 'new', name));
}
