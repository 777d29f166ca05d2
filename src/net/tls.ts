import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  type DetailedPeerCertificate,
  getCACertificates,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import { domainToASCII } from 'node:url';
import { BridgeError } from '../domain/errors.ts';
import type { Endpoint, TlsMinVersion } from '../domain/migration.ts';
import { explain, type MailSide, rememberCertificate } from './explain.ts';

export interface TlsPolicyOptions {
  /** Lets an endpoint ask for TLS 1.0 or 1.1. */
  allowLegacyTls: boolean;
  /** PEM, one or more authorities, trusted besides the default ones. */
  extraCa: string | null;
}

/** How this service speaks TLS: verified against name or address, 1.2 or later. */
export interface TlsPolicy {
  /**
   * Options for `tls.connect`, without the socket.
   * @throws BridgeError tls_failed when the endpoint asks for a version that is not allowed
   */
  options(endpoint: Endpoint, side: MailSide): ConnectionOptions;
  /** As `UpgradingDialer.startTls`. Both sockets keep an `error` listener that does nothing. */
  start(socket: Duplex, endpoint: Endpoint, side: MailSide): TLSSocket;
  /**
   * The handshake, to its end. Every failure destroys the plain socket.
   * @throws BridgeError tls_*, connection_lost; the signal's reason
   */
  handshake(socket: Duplex, endpoint: Endpoint, side: MailSide, signal: AbortSignal): Promise<TLSSocket>;
}

export function createTlsPolicy({ allowLegacyTls, extraCa }: TlsPolicyOptions): TlsPolicy {
  // Parsing the authorities takes about 15 ms: once for all connections of a version.
  const contexts = new Map<TlsMinVersion, SecureContext>();
  const contextOf = (minVersion: TlsMinVersion): SecureContext => {
    const known = contexts.get(minVersion);
    if (known !== undefined) return known;
    const ca = extraCa === null ? {} : { ca: [...getCACertificates('default'), extraCa] };
    // OpenSSL 3 does TLS below 1.2 at security level 0 only.
    const ciphers = isLegacy(minVersion) ? { ciphers: 'DEFAULT@SECLEVEL=0' } : {};
    const made = createSecureContext({ minVersion, ...ca, ...ciphers });
    contexts.set(minVersion, made);
    return made;
  };

  const options: TlsPolicy['options'] = (endpoint, side) => {
    const minVersion = endpoint.tls?.minVersion ?? 'TLSv1.2';
    if (isLegacy(minVersion) && !allowLegacyTls) throw legacyRefused(minVersion, side);
    const wanted = (endpoint.tls?.serverName ?? endpoint.host).replace(/\.$/, '');
    const name = domainToASCII(wanted) || wanted;
    // RFC 6066 section 3: no SNI for IP literals. `host` makes Node check the certificate's IP names then.
    const identity = isIP(name) === 0 ? { host: name, servername: name } : { host: name };
    return { ...identity, secureContext: contextOf(minVersion), rejectUnauthorized: true };
  };

  const start: TlsPolicy['start'] = (socket, endpoint, side) => {
    const secured = connect({ ...options(endpoint, side), socket });
    socket.on('error', ignore);
    // Before Node's own listener, which destroys the socket, and the certificate with it, when it is refused.
    let certificate: DetailedPeerCertificate | undefined;
    secured.prependListener('secure', () => {
      certificate = secured.getPeerCertificate(true);
    });
    secured.on('error', (error) => {
      if (certificate !== undefined) rememberCertificate(error, certificate);
    });
    return secured;
  };

  return {
    options,
    start,
    async handshake(socket, endpoint, side, signal) {
      try {
        signal.throwIfAborted();
        return await handshaken(start(socket, endpoint, side), signal);
      } catch (error) {
        socket.destroy();
        throw signal.aborted ? signal.reason : explain(error, endpoint, side);
      }
    },
  };
}

/** Resolves when the peer is verified; otherwise destroys the socket and throws Node's error. */
function handshaken(secured: TLSSocket, signal: AbortSignal): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      signal.removeEventListener('abort', onAbort);
      secured.off('secureConnect', onSecure).off('error', onError).off('close', onClose);
      act();
    };
    const fail = (error: unknown) =>
      settle(() => {
        secured.destroy();
        reject(error);
      });
    const onSecure = () => settle(() => resolve(secured));
    const onError = (error: Error) => fail(error);
    const onAbort = () => fail(signal.reason);
    const onClose = () => fail(Object.assign(new Error('closed'), { code: 'ECONNRESET' }));
    signal.addEventListener('abort', onAbort, { once: true });
    secured.once('secureConnect', onSecure).once('error', onError).once('close', onClose);
  });
}

function isLegacy(version: TlsMinVersion): boolean {
  return version === 'TLSv1' || version === 'TLSv1.1';
}

function legacyRefused(minVersion: TlsMinVersion, side: MailSide): BridgeError {
  return new BridgeError('tls_failed', {
    side,
    detail: `tls.minVersion ${minVersion} is not allowed here`,
    hint: 'TLS below 1.2 needs POPBRIDGE_ALLOW_LEGACY_TLS=true. Better leave tls.minVersion out.',
  });
}

function ignore(): void {}
