import { AuthenticationFailure, type ImapFlowOptions } from 'imapflow';
import { BridgeError, type ErrorCode } from '../domain/errors.ts';
import type { Auth, Endpoint } from '../domain/migration.ts';
import type { UpgradingDialer } from '../domain/ports.ts';
import { ImapClient, refusalOf } from './client.ts';
import { withoutSecrets } from './refusals.ts';

/** Milliseconds. */
export interface ImapTimeouts {
  /** From the connection to the greeting. */
  greetingMs: number;
  /** The longest silence while an answer is awaited or octets are on their way. */
  replyMs: number;
  /** For the LOGOUTs of `close()` together. */
  closeMs: number;
}

/** Everything that it takes to sign in, once per connection. */
export interface Login {
  endpoint: Endpoint;
  auth: Auth;
  dialer: UpgradingDialer;
  timeouts: ImapTimeouts;
}

/**
 * One connection, signed in: its capabilities are known, no folder is selected.
 * @throws BridgeError; the signal's reason
 */
export async function connect(login: Login, signal: AbortSignal): Promise<ImapClient> {
  checkCredentials(login);
  const client = await dial(login, signal);
  const onAbort = () => client.close();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await client.connect();
    checkIdentity(client, login);
    client.idleFromNow();
    return client;
  } catch (thrown) {
    client.close();
    signal.throwIfAborted();
    throw withoutSecrets(explain(thrown, client, login), [login.auth.password]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Before anything reaches the wire: these characters would end a line or a SASL field. */
function checkCredentials({ endpoint, auth }: Login): void {
  const values = [endpoint.username, auth.password, auth.authorizationId ?? ''];
  if (values.some((value) => /[\r\n\0]/.test(value)))
    throw new BridgeError('invalid_credentials', { side: 'destination' });
  // imapflow has no way to send it.
  if (auth.password === '')
    throw new BridgeError('authentication_failed', { side: 'destination', detail: 'the password is empty' });
}

async function dial(login: Login, signal: AbortSignal): Promise<ImapClient> {
  const { endpoint, auth, dialer, timeouts } = login;
  const socket = await dialer.connect(endpoint, 'destination', signal);
  // One without a listener would be thrown at the process, also after imapflow has taken its own away.
  socket.on('error', () => {});
  const transport: ImapFlowOptions['transport'] = {
    connect: (_options, onConnect) => {
      setImmediate(onConnect);
      return socket;
    },
    upgrade: (plain, _options, onSecure) => {
      const secured = dialer.startTls(plain, endpoint, 'destination');
      return secured.on('error', () => {}).once('secureConnect', onSecure);
    },
  };
  return new ImapClient(
    {
      host: endpoint.host,
      port: endpoint.port,
      secure: endpoint.security === 'tls',
      doSTARTTLS: endpoint.security === 'starttls',
      transport,
      auth: {
        user: endpoint.username,
        pass: auth.password,
        // Said, because imapflow takes LOGIN, which has no authorization identity, for names with a slash.
        ...(auth.authorizationId === undefined
          ? {}
          : { authzid: auth.authorizationId, loginMethod: 'AUTH=PLAIN' as const }),
      },
      // It would log server and client lines, and some of them are secret.
      logger: false,
      clientInfo: { name: 'popbridge', version: '', vendor: '', 'support-url': '' },
      greetingTimeout: timeouts.greetingMs,
      // A raw command during IDLE hangs.
      disableAutoIdle: true,
      // Literal8 by itself makes servers re-encode binary parts (PROTOCOL-FACTS 8).
      disableBinary: true,
      disableCompression: true,
      // UTF8=ACCEPT changes how APPEND and folder names are to be written.
      disableAutoEnable: true,
      disableIMAP4rev2: true,
    },
    timeouts.replyMs,
  );
}

/** That we are who we asked to be: mail must not end up with somebody else. */
function checkIdentity(client: ImapClient, { auth }: Login): void {
  if (client.signedInWith === null)
    throw unsupported('the server signed us in before it was told as whom (PREAUTH)');
  if (auth.authorizationId !== undefined && client.signedInWith !== 'AUTH=PLAIN')
    throw unsupported('auth.authorizationId needs SASL PLAIN, which the server does not offer');
}

function explain(thrown: unknown, client: ImapClient, { endpoint, dialer }: Login): BridgeError {
  if (thrown instanceof BridgeError) return thrown;
  const error = thrown as Error & { code?: string; tlsFailed?: boolean; response?: unknown };
  if (error.tlsFailed === true) return startTlsError(error) ?? dialer.explain(error, endpoint, 'destination');
  const refused = refusalOf('login', error as Parameters<typeof refusalOf>[1]);
  if (refused !== null) return refused;
  // imapflow's own: LOGIN disabled, or no SASL mechanism that takes a password.
  if (error instanceof AuthenticationFailure || error.message === 'Unsupported authentication mechanism')
    return error.response === undefined ? unsupported(error.message) : rejected(String(error.response));
  return client.loss(error);
}

/** Failures of STARTTLS before the handshake; null: of the handshake itself. */
function startTlsError({ code, message }: Error & { code?: string }): BridgeError | null {
  const failed = (found: ErrorCode) => new BridgeError(found, { side: 'destination', detail: message });
  if (code === 'STARTTLS_INJECTION') return failed('tls_failed');
  if (code === 'UPGRADE_TIMEOUT') return failed('timeout');
  return message.includes('STARTTLS') ? failed('starttls_unavailable') : null;
}

function unsupported(detail: string): BridgeError {
  return new BridgeError('authentication_unsupported', { side: 'destination', detail });
}

function rejected(detail: string): BridgeError {
  return new BridgeError('authentication_failed', { side: 'destination', detail });
}
