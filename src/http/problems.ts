import { BridgeError } from '../domain/errors.ts';
import type { Violation } from './schemas/problem.ts';

/** Every `code` that the API itself answers with, and its status. */
export const PROBLEMS = {
  invalid_request: { status: 400, title: 'The request breaks the contract' },
  unauthorized: { status: 401, title: 'A valid API key is needed' },
  forbidden: { status: 403, title: 'The API key does not permit this' },
  not_found: { status: 404, title: 'There is no such thing' },
  method_not_allowed: { status: 405, title: 'This method is not possible here' },
  not_acceptable: { status: 406, title: 'None of the accepted media types is available' },
  request_timeout: { status: 408, title: 'The request did not arrive in time' },
  illegal_transition: { status: 409, title: 'Not possible in this state' },
  duplicate_migration: { status: 409, title: 'Such a migration is active already' },
  credentials_required: { status: 409, title: 'The stored credentials are gone' },
  idempotency_in_progress: { status: 409, title: 'The first request with this key is still under way' },
  payload_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'The body must be application/json' },
  unsupported_option: { status: 422, title: 'An option that is documented and not built yet' },
  verify_required: { status: 422, title: 'Deleting from the source needs verify: digest' },
  plaintext_not_allowed: { status: 422, title: 'Unencrypted connections are not allowed' },
  legacy_tls_not_allowed: { status: 422, title: 'TLS below 1.2 is not allowed' },
  address_not_allowed: { status: 422, title: 'Connections to this address are not allowed' },
  invalid_credentials: { status: 422, title: 'These credentials cannot be sent to a server' },
  idempotency_mismatch: { status: 422, title: 'This Idempotency-Key came with another request before' },
  headers_too_large: { status: 431, title: 'The header fields are too large' },
  internal_error: { status: 500, title: 'A fault in popbridge itself' },
  store_unavailable: { status: 503, title: 'Redis does not answer' },
} as const satisfies Record<string, { status: number; title: string }>;

export type ProblemCode = keyof typeof PROBLEMS;

export interface ProblemOptions {
  errors?: readonly Violation[];
  headers?: Readonly<Record<string, string>>;
  /** Further members of the problem document (RFC 9457 section 3.2). */
  members?: Readonly<Record<string, unknown>>;
  cause?: unknown;
}

/** An answer that is no success, on its way to the error handler. Its detail holds nothing secret. */
export class ProblemError extends Error {
  readonly code: ProblemCode;
  readonly detail: string;
  readonly errors: readonly Violation[] | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly members: Readonly<Record<string, unknown>>;

  constructor(code: ProblemCode, detail: string, options: ProblemOptions = {}) {
    super(`${code}: ${detail}`, { cause: options.cause });
    this.name = 'ProblemError';
    this.code = code;
    this.detail = detail;
    this.errors = options.errors;
    this.headers = options.headers ?? {};
    this.members = options.members ?? {};
  }

  get status(): number {
    return PROBLEMS[this.code].status;
  }

  /** Anything thrown while a request was served. What it does not know is an `internal_error` that says nothing. */
  static from(thrown: unknown): ProblemError {
    if (thrown instanceof ProblemError) return thrown;
    if (thrown instanceof BridgeError && thrown.code === 'store_unavailable') return storeUnavailable(thrown);
    return fromFastify(thrown) ?? internalError(thrown);
  }
}

export function storeUnavailable(cause?: unknown): ProblemError {
  const detail = 'Nothing was changed. Try again in a few seconds.';
  return new ProblemError('store_unavailable', detail, { headers: { 'retry-after': '5' }, cause });
}

function internalError(cause: unknown): ProblemError {
  return new ProblemError('internal_error', 'The log has more under this request id.', { cause });
}

const FASTIFY: Readonly<Record<string, readonly [ProblemCode, string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ['payload_too_large', 'At most 1 MiB is taken.'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['unsupported_media_type', 'Send Content-Type: application/json.'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['invalid_request', 'The body is not as long as Content-Length says.'],
  FST_ERR_BAD_URL: ['invalid_request', 'The path is not properly percent-encoded.'],
};

/** Fastify's own refusals. Their messages are not passed on: some quote the request. */
function fromFastify(thrown: unknown): ProblemError | null {
  if (!(thrown instanceof Error) || !('code' in thrown)) return null;
  const known = FASTIFY[String(thrown.code)];
  if (known !== undefined) return new ProblemError(known[0], known[1]);
  const status = 'statusCode' in thrown ? Number(thrown.statusCode) : 500;
  return status >= 400 && status < 500
    ? new ProblemError('invalid_request', 'The request cannot be read.')
    : null;
}
