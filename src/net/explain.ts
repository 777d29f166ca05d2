import type { DetailedPeerCertificate, PeerCertificate } from 'node:tls';
import { BridgeError, type BridgeErrorOptions, type ErrorCode } from '../domain/errors.ts';
import type { Endpoint } from '../domain/migration.ts';

export type MailSide = 'source' | 'destination';

interface Facts {
  code: ErrorCode;
  words: string;
  hint?: string;
}

const NETWORK: Readonly<Record<string, Facts>> = {
  ECONNREFUSED: { code: 'unreachable', words: 'connection refused, nothing listens on this port' },
  EHOSTUNREACH: { code: 'unreachable', words: 'no route to the host' },
  EHOSTDOWN: { code: 'unreachable', words: 'the host is down' },
  ENETUNREACH: { code: 'unreachable', words: 'no route to its network' },
  ENETDOWN: { code: 'unreachable', words: "this machine's network is down" },
  EADDRNOTAVAIL: { code: 'unreachable', words: 'this machine has no address to reach it from' },
  EAFNOSUPPORT: { code: 'unreachable', words: 'this machine does not speak its address family' },
  EACCES: { code: 'unreachable', words: 'a rule of this machine forbids the connection' },
  EPERM: { code: 'unreachable', words: 'a rule of this machine forbids the connection' },
  EMFILE: { code: 'unreachable', words: 'this process has too many open files' },
  ENFILE: { code: 'unreachable', words: 'this machine has too many open files' },
  ETIMEDOUT: { code: 'timeout', words: 'no answer' },
  ECONNRESET: { code: 'connection_lost', words: 'the connection was closed by the other side' },
  ECONNABORTED: { code: 'connection_lost', words: 'the connection was closed' },
  EPIPE: { code: 'connection_lost', words: 'the connection was closed by the other side' },
};

/** getaddrinfo's words for "no such name"; every other DNS failure may pass. */
const NO_SUCH_NAME = new Set(['ENOTFOUND', 'ENODATA', 'EAI_NONAME', 'EAI_NODATA', 'EBADNAME']);

const NOT_TLS = 'the server does not speak TLS on this port';
const OLD_TLS: Pick<Facts, 'hint'> = {
  hint: 'The server speaks only old TLS. Set tls.minVersion, which needs POPBRIDGE_ALLOW_LEGACY_TLS=true.',
};

const HANDSHAKE: Readonly<Record<string, Omit<Facts, 'code'>>> = {
  ERR_SSL_WRONG_VERSION_NUMBER: { words: NOT_TLS },
  ERR_SSL_PACKET_LENGTH_TOO_LONG: { words: NOT_TLS },
  ERR_SSL_HTTP_REQUEST: { words: NOT_TLS },
  ERR_SSL_UNSUPPORTED_PROTOCOL: { words: 'the server speaks no TLS version that is allowed', ...OLD_TLS },
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: {
    words: 'the server speaks no TLS version that is allowed',
    ...OLD_TLS,
  },
};

/** Names of X509_V_ERR_*, as Node gives them, that say: no trusted authority vouches for this certificate. */
const UNTRUSTED: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'it is signed by itself',
  SELF_SIGNED_CERT_IN_CHAIN: 'its authority is not among the trusted ones',
  UNABLE_TO_GET_ISSUER_CERT: 'its authority is unknown',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its authority is unknown',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its authority is unknown, or the server does not send the whole chain',
  CERT_UNTRUSTED: 'its authority is not trusted',
  CERT_REJECTED: 'its authority rejects it',
  CERT_REVOKED: 'it is revoked',
  CERT_SIGNATURE_FAILURE: 'its signature is wrong',
  INVALID_CA: 'its issuer may not issue certificates',
  INVALID_PURPOSE: 'it is not for servers',
  PATH_LENGTH_EXCEEDED: 'its chain is longer than allowed',
  CERT_CHAIN_TOO_LONG: 'its chain is too long',
};

/** What the handshake saw, by the error that it ended in: OpenSSL's own errors do not tell whose dates are over. */
const seen = new WeakMap<object, DetailedPeerCertificate>();

export function rememberCertificate(error: object, certificate: DetailedPeerCertificate): void {
  seen.set(error, certificate);
}

/** Any error of resolving, connecting, TLS or an open socket, as a BridgeError. Total. */
export function explain(thrown: unknown, endpoint: Endpoint, side: MailSide): BridgeError {
  if (thrown instanceof BridgeError) return thrown;
  if (thrown instanceof AggregateError) return explainAll(thrown, endpoint, side);
  const error = thrown as NodeJS.ErrnoException & { reason?: string; cert?: PeerCertificate };
  const at = `${endpoint.host}:${endpoint.port}`;
  const code = typeof error?.code === 'string' ? error.code : '';
  const make = (facts: Facts): BridgeError => {
    const options: BridgeErrorOptions = { side, detail: `${at}: ${facts.words}`, cause: thrown };
    return new BridgeError(facts.code, facts.hint === undefined ? options : { ...options, hint: facts.hint });
  };
  const facts = NETWORK[code] ?? certificateFacts(code, error, endpoint);
  if (facts !== undefined) return make(facts);
  if (/^ERR_(SSL|TLS)_|^EPROTO$|^(EE|CA)_/.test(code)) {
    const known = HANDSHAKE[code] ?? { words: `TLS handshake failed: ${error.reason ?? error.message}` };
    return make({ code: 'tls_failed', ...known });
  }
  return make({ code: 'connection_lost', words: error?.message ?? 'the connection broke' });
}

/** One BridgeError for several addresses of one name: the first one's code, every one's reason. */
function explainAll(all: AggregateError, endpoint: Endpoint, side: MailSide): BridgeError {
  const errors = all.errors as (NodeJS.ErrnoException & { address?: string })[];
  const each = errors.map((error) => ({ address: error.address, facts: NETWORK[error.code ?? ''], error }));
  const words = each.map(({ address, facts, error }) => {
    const reason = facts?.words ?? error.message;
    return address === undefined || address === endpoint.host ? reason : `${reason} (${address})`;
  });
  const code = each[0]?.facts?.code === 'timeout' ? 'timeout' : 'unreachable';
  const detail = `${endpoint.host}:${endpoint.port}: ${words.join('; ')}`;
  return new BridgeError(code, { side, detail, cause: errors.length === 1 ? errors[0] : all });
}

/** What `dns.lookup` threw. */
export function explainLookup(thrown: unknown, endpoint: Endpoint, side: MailSide): BridgeError {
  const code = (thrown as NodeJS.ErrnoException | null)?.code ?? '';
  const { host } = endpoint;
  if (NO_SUCH_NAME.has(code))
    return new BridgeError('host_not_found', { side, detail: `no address for ${host}`, cause: thrown });
  const detail = `the name server gave no answer for ${host} (${code || 'unknown reason'}), port ${endpoint.port}`;
  return new BridgeError('unreachable', { side, detail, cause: thrown });
}

function certificateFacts(
  code: string,
  error: Error & { cert?: PeerCertificate },
  endpoint: Endpoint,
): Facts | undefined {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID' || code === 'HOSTNAME_MISMATCH') {
    const wanted = endpoint.tls?.serverName ?? endpoint.host;
    return {
      code: 'tls_name_mismatch',
      words: `the certificate is for ${namesOf(error.cert)}, not ${wanted}`,
    };
  }
  if (code === 'CERT_HAS_EXPIRED') {
    const since = datesOf(seen.get(error)).find(({ to }) => to < new Date())?.to;
    const words = `the certificate has expired${since === undefined ? '' : `, on ${iso(since)}`}`;
    return { code: 'tls_certificate_expired', words };
  }
  if (code === 'CERT_NOT_YET_VALID') {
    const from = datesOf(seen.get(error)).find((dates) => dates.from > new Date())?.from;
    const words = `the certificate is not valid yet${from === undefined ? '' : `, but from ${iso(from)}`}`;
    const hint = "The certificate is not valid yet. Check this machine's clock, and the certificate.";
    return { code: 'tls_certificate_expired', words, hint };
  }
  const why = UNTRUSTED[code];
  return why === undefined
    ? undefined
    : { code: 'tls_untrusted', words: `the certificate is not trusted: ${why}` };
}

function namesOf(certificate: PeerCertificate | undefined): string {
  const names = (certificate?.subjectaltname ?? '').split(', ').filter((name) => name !== '');
  const plain = names.map((name) => name.replace(/^(DNS|IP Address):/, ''));
  const common = certificate?.subject?.CN;
  if (plain.length === 0 && common !== undefined) plain.push(...[common].flat());
  return plain.length === 0 ? 'no name at all' : plain.slice(0, 10).join(', ');
}

/** Validity of the certificate and of those above it. */
function datesOf(leaf: DetailedPeerCertificate | undefined): { from: Date; to: Date }[] {
  const dates: { from: Date; to: Date }[] = [];
  const walked = new Set<DetailedPeerCertificate>();
  for (let at = leaf; at !== undefined && !walked.has(at); at = at.issuerCertificate) {
    walked.add(at);
    dates.push({ from: new Date(at.valid_from), to: new Date(at.valid_to) });
  }
  return dates;
}

function iso(date: Date): string {
  return date.toISOString().slice(0, 10);
}
