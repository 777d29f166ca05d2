import { BridgeError, type ErrorCode } from '../../src/domain/errors.ts';
import type { Auth, Endpoint, Security } from '../../src/domain/migration.ts';
import type { MailSource, Retrieved, SourceEntry } from '../../src/domain/ports.ts';
import { createDialer } from '../../src/net/index.ts';
import { createPop3Source, type Pop3SourceOptions } from '../../src/pop3/index.ts';

export interface Pop3Account {
  host: string;
  port: number;
  security?: Security;
  username?: string;
  auth?: Partial<Auth>;
  /** PEM. */
  ca?: string;
}

/** The account of a test as a source: user `anna`, password `secret`, loopback allowed. */
export function pop3Source(
  account: Pop3Account,
  options: Pick<Pop3SourceOptions, 'timeouts' | 'limits'> = {},
): MailSource {
  const dialer = createDialer({
    allowNetworks: ['127.0.0.0/8'],
    allowPlaintext: true,
    allowLegacyTls: false,
    extraCa: account.ca ?? null,
    connectTimeoutMs: 5_000,
  });
  const auth: Auth = { type: 'password', password: 'secret', ...account.auth };
  const endpoint: Endpoint = {
    host: account.host,
    port: account.port,
    security: account.security ?? 'none',
    username: account.username ?? 'anna',
    auth: { type: 'password' },
  };
  return createPop3Source({ endpoint, auth, dialer, ...options });
}

export type Message = Extract<Retrieved, { kind: 'message' }>;

/** A signal that never aborts. */
export const never = new AbortController().signal;

/** Says whether an error is a BridgeError of that code, for `assert.rejects`. */
export function isBridgeError(code: ErrorCode): (error: unknown) => error is BridgeError {
  return (error): error is BridgeError => error instanceof BridgeError && error.code === code;
}

/** Takes everything, and releases each message at once. @throws Error where one was refused */
export async function takeAll(retrieved: AsyncIterable<Retrieved>): Promise<Message[]> {
  const messages: Message[] = [];
  for await (const next of retrieved) {
    if (next.kind === 'refused') throw next.error;
    next.release();
    messages.push(next);
  }
  return messages;
}

/** A message number that need not be in the mailbox. */
export function entry(number: number, size = 100): SourceEntry {
  return { number, uidl: `id-${number}`, size } as SourceEntry;
}

/** Takes everything, and releases nothing. */
export async function collect<T>(answers: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const next of answers) all.push(next);
  return all;
}
