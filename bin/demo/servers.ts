import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Dovecot, startDovecot } from '../../test/support/dovecot.ts';
import { hardCases, variedMailbox } from '../../test/support/messages.ts';
import { tempDir } from '../../test/support/net.ts';
import { type ReadMessage, readPop3 } from '../../test/support/pop3-reader.ts';

export const USER = 'alice';
const MESSAGES = 500;
const SEED = 2;

/** The old provider and the new one, each a mail server of its own, and what lies in the old mailbox. */
export interface Servers {
  source: Dovecot;
  destination: Dovecot;
  /** PEM file of the authorities of both. */
  caFile: string;
  /** For the data of the service. */
  dataDir: string;
  /** Names of the messages, in the order of the mailbox. */
  names: string[];
}

/** Starts both and fills the POP3 mailbox; what is started is stopped by `stack`. */
export async function startServers(stack: AsyncDisposableStack): Promise<Servers> {
  const dir = (await keep(stack, tempDir())).path;
  const source = await keep(stack, startDovecot());
  const destination = await keep(stack, startDovecot());
  const caFile = join(dir, 'authorities.pem');
  await writeFile(caFile, Buffer.concat([await readFile(source.caFile), await readFile(destination.caFile)]));
  const hard = hardCases();
  const varied = variedMailbox(MESSAGES - hard.length, SEED);
  await source.deliver(USER, [...varied, ...hard.map(({ bytes }) => bytes)]);
  const names = [...varied.map((_, index) => `varied message ${index + 1}`), ...hard.map(({ name }) => name)];
  return { source, destination, caFile, dataDir: join(dir, 'data'), names };
}

/** Hands what was started to the stack; when the demo was stopped in the meantime, it goes at once. */
async function keep<T extends AsyncDisposable>(
  stack: AsyncDisposableStack,
  starting: Promise<T>,
): Promise<T> {
  const started = await starting;
  if (!stack.disposed) return stack.use(started);
  await started[Symbol.asyncDispose]();
  throw new Error('stopped');
}

/** What the source delivers, read by a POP3 reader that shares no code with the service. */
export async function readSource(servers: Servers): Promise<ReadMessage[]> {
  const { host, ports, password } = servers.source;
  const ca = await readFile(servers.caFile);
  return readPop3({ host, port: ports.pop3s, ca, username: USER, password });
}
