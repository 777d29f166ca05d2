import { lookup } from 'node:dns/promises';
import { isIP, type Socket } from 'node:net';
import { BridgeError } from '../domain/errors.ts';
import type { Endpoint } from '../domain/migration.ts';
import type { UpgradingDialer } from '../domain/ports.ts';
import { explain, explainLookup, type MailSide } from './explain.ts';
import { canonical, createEgressGuard, type EgressGuard } from './guard.ts';
import { connectAny, interleave } from './tcp.ts';
import { createTlsPolicy, type TlsPolicy } from './tls.ts';

/** All addresses of a name, in the order to try them. */
export type Resolve = (host: string) => Promise<readonly { address: string }[]>;

export interface DialerOptions {
  /** CIDRs that may be connected to though they are private, loopback, … */
  allowNetworks: readonly string[];
  /** Permits `security: none`. */
  allowPlaintext: boolean;
  /** Permits `tls.minVersion` below TLS 1.2. */
  allowLegacyTls: boolean;
  /** PEM of authorities trusted besides the default ones. */
  extraCa: string | null;
  /** For name, TCP and TLS together; for the handshake of an upgrade again as long. Milliseconds. */
  connectTimeoutMs: number;
  /** Default: the system's resolver, `dns.lookup` with all addresses. */
  resolve?: Resolve;
}

/** What `src/net` gives: the ports' dialer, its TLS options, and the guard's question for the API's door. */
export interface NetDialer extends UpgradingDialer, Pick<EgressGuard, 'isAddressAllowed'> {
  tlsOptions: TlsPolicy['options'];
}

/**
 * The only way out to mail servers. A name is resolved once, all of its addresses are checked, and one of those
 * very addresses is connected to, so that an answer that changes between check and use (DNS rebinding) changes
 * nothing. A name with even one refused address is refused whole: which of its addresses a connection meets must
 * not decide whether it is allowed. TCP_NODELAY and keepalive are on.
 *
 * Sockets given out have an `error` listener that does nothing: an error before the taker listens is not thrown
 * at the process; the taker sees `close`. On failure, time-out and abort no socket stays open.
 * @throws RangeError when `allowNetworks` holds what is no CIDR
 */
export function createDialer(options: DialerOptions): NetDialer {
  const guard = createEgressGuard(options.allowNetworks);
  const policy = createTlsPolicy(options);
  const resolve = options.resolve ?? ((host: string) => lookup(host, { all: true, order: 'verbatim' }));
  const { connectTimeoutMs } = options;

  return {
    isAddressAllowed: guard.isAddressAllowed,
    tlsOptions: policy.options,
    startTls: policy.start,
    explain,
    async connect(endpoint, side, signal) {
      if (endpoint.security === 'none' && !options.allowPlaintext) throw plaintextRefused(endpoint, side);
      if (endpoint.security !== 'none') policy.options(endpoint, side);
      return bounded(connectTimeoutMs, endpoint, side, signal, async (either) => {
        const addresses = await vettedAddresses(endpoint, side, resolve, guard, either);
        const socket = await connectAny(addresses, endpoint.port, either).catch((error) => {
          throw either.aborted ? error : explain(error, endpoint, side);
        });
        return endpoint.security === 'tls' ? policy.handshake(socket, endpoint, side, either) : socket;
      });
    },
    secure: (socket, endpoint, side, signal) =>
      bounded<Socket>(connectTimeoutMs, endpoint, side, signal, (either) =>
        policy.handshake(socket, endpoint, side, either),
      ),
  };
}

async function vettedAddresses(
  endpoint: Endpoint,
  side: MailSide,
  resolve: Resolve,
  guard: EgressGuard,
  signal: AbortSignal,
): Promise<string[]> {
  const found = await unlessAborted(addressesOf(endpoint, side, resolve), signal);
  for (const address of found) {
    const refusal = guard.refusal(address);
    if (refusal !== null) throw addressRefused(endpoint, side, address, refusal);
  }
  return interleave([...new Set(found.map(canonical))]);
}

async function addressesOf(endpoint: Endpoint, side: MailSide, resolve: Resolve): Promise<string[]> {
  const { host } = endpoint;
  if (isIP(host) !== 0) return [host];
  // Not left to the resolver: it reads up to the first NUL, and some take "127.0.0.1 x" for an address.
  const nameless = host === '' || /[^\x21-\u{10ffff}]/u.test(host);
  const found = nameless
    ? []
    : await resolve(host).catch((error) => {
        throw explainLookup(error, endpoint, side);
      });
  if (found.length === 0) throw new BridgeError('host_not_found', { side, detail: `no address for ${host}` });
  return found.map(({ address }) => address);
}

function addressRefused(endpoint: Endpoint, side: MailSide, address: string, is: string): BridgeError {
  const { host } = endpoint;
  const who = address === host ? host : `${host} has the address ${address}, which`;
  return new BridgeError('address_not_allowed', { side, detail: `${who} is ${is}` });
}

function plaintextRefused(endpoint: Endpoint, side: MailSide): BridgeError {
  const detail = `security "none" is not allowed, asked for ${endpoint.host}:${endpoint.port}`;
  return new BridgeError('plaintext_not_allowed', { side, detail });
}

/** Runs with a signal that ends by the caller's or after `ms`, with a `timeout` error. */
async function bounded<T>(
  ms: number,
  endpoint: Endpoint,
  side: MailSide,
  signal: AbortSignal,
  run: (either: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const controller = new AbortController();
  const onAbort = () => controller.abort(signal.reason);
  const detail = `${endpoint.host}:${endpoint.port}: no connection within ${ms / 1000} s`;
  const timer = setTimeout(() => controller.abort(new BridgeError('timeout', { side, detail })), ms);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await run(controller.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

/** A lookup cannot be stopped; its late answer is dropped. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
