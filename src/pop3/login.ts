import { BridgeError } from '../domain/errors.ts';
import type { Auth } from '../domain/migration.ts';
import { OctetSink } from './octets.ts';
import { refusal } from './replies.ts';
import type { Pop3Wire, Reply } from './wire.ts';

/** Upper-case keywords of CAPA (RFC 2449), each with its arguments. */
export type Capabilities = ReadonlyMap<string, readonly string[]>;

const MAX_CAPA_BYTES = 64 * 1024;
/** RFC 5034 section 4: an AUTH command with its initial response has at most 255 octets, CRLF included. */
const MAX_AUTH_LINE = 253;

/**
 * From the greeting to the TRANSACTION state: CAPA, UTF8 where offered, USER and PASS or SASL PLAIN, and CAPA
 * again. Each step waits for its answer: Courier hangs when anything stands behind PASS (PROTOCOL-FACTS 16).
 * @returns what the server can do for this user
 * @throws BridgeError
 */
export async function signIn(wire: Pop3Wire, username: string, auth: Auth): Promise<Capabilities> {
  wire.conceal(auth.password);
  const before = await askCapabilities(wire);
  const utf8 = before !== null && (await askUtf8(wire, before));
  await authenticate(wire, username, auth, before);
  const after = (await askCapabilities(wire)) ?? before ?? new Map();
  if (!utf8) await askUtf8(wire, after);
  return after;
}

/**
 * Refuses what would end a command line early, so that a password cannot hold a command.
 * @throws BridgeError invalid_credentials
 */
export function assertSendable(username: string, auth: Auth): void {
  for (const [name, value] of Object.entries({
    'user name': username,
    password: auth.password,
    'authorization id': auth.authorizationId ?? '',
  })) {
    if (/[\r\n\0]/.test(value)) {
      const detail = `the ${name} holds a line break or NUL`;
      throw new BridgeError('invalid_credentials', { side: 'source', detail });
    }
  }
}

/** CAPA; null where the server does not know it (RFC 2449 is optional). */
async function askCapabilities(wire: Pop3Wire): Promise<Capabilities | null> {
  const sink = new OctetSink(0, MAX_CAPA_BYTES);
  const reply = await wire.exchange('CAPA', sink);
  if (reply.kind !== 'ok') return null;
  const capabilities = new Map<string, readonly string[]>();
  for (const line of sink.take().toString('latin1').split('\r\n')) {
    const [keyword = '', ...values] = line.trim().split(/ +/);
    if (keyword !== '') capabilities.set(keyword.toUpperCase(), values);
  }
  return capabilities;
}

/**
 * RFC 6856: without it Courier hands out a "Cannot display Unicode content" wrapper instead of mail with 8-bit
 * headers (PROTOCOL-FACTS 17). A server that offers it and then refuses gets no worse than it was.
 */
async function askUtf8(wire: Pop3Wire, capabilities: Capabilities): Promise<boolean> {
  return capabilities.has('UTF8') && (await wire.exchange('UTF8')).kind === 'ok';
}

async function authenticate(
  wire: Pop3Wire,
  username: string,
  auth: Auth,
  capabilities: Capabilities | null,
): Promise<void> {
  const wait = loginDelay(capabilities);
  if (auth.authorizationId === undefined && (capabilities === null || capabilities.has('USER'))) {
    // Not by node-pop3, which drops blanks at the end of a password and keeps the command in a field.
    accept('USER', await wire.exchange(`USER ${username}`), wait);
    accept('PASS', await wire.exchange(`PASS ${auth.password}`), wait);
    return;
  }
  const mechanisms = capabilities?.get('SASL') ?? [];
  if (capabilities !== null && !mechanisms.some((name) => name.toUpperCase() === 'PLAIN')) {
    const detail = `the server offers ${mechanisms.length === 0 ? 'no SASL' : `SASL ${mechanisms.join(' ')}`}`;
    throw new BridgeError('authentication_unsupported', { side: 'source', detail });
  }
  accept('AUTH', await saslPlain(wire, username, auth), wait);
}

/** SASL PLAIN (RFC 4616) by AUTH (RFC 5034), in one line where it fits and the server takes it so. */
async function saslPlain(wire: Pop3Wire, username: string, auth: Auth): Promise<Reply> {
  const response = Buffer.from(`${auth.authorizationId ?? ''}\0${username}\0${auth.password}`).toString(
    'base64',
  );
  wire.conceal(response);
  const oneLine = `AUTH PLAIN ${response}`;
  const reply = await wire.sasl(oneLine.length <= MAX_AUTH_LINE ? oneLine : 'AUTH PLAIN');
  if (reply.kind !== 'continue') return reply;
  const second = await wire.sasl(response);
  // RFC 5034 section 4: "*" cancels. PLAIN has one step, whoever asks for more speaks something else.
  return second.kind === 'continue' ? wire.sasl('*') : second;
}

function accept(command: string, reply: Reply, loginDelaySeconds: number | undefined): void {
  if (reply.kind === 'ok') return;
  throw refusal(command, reply.kind === 'err' ? reply.words : '', loginDelaySeconds);
}

/** Seconds of LOGIN-DELAY (RFC 2449 section 6.5). */
function loginDelay(capabilities: Capabilities | null): number | undefined {
  const value = capabilities?.get('LOGIN-DELAY')?.[0] ?? '';
  return /^\d{1,6}$/.test(value) ? Number(value) : undefined;
}
