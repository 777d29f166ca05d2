/** Where a fault lies: the POP3 server, the IMAP server, or popbridge itself. */
export type Side = 'source' | 'destination' | 'service';

/** How much a fault stops: one message, one mailbox, every mailbox on a host, or the whole process. */
export type Scope = 'message' | 'mailbox' | 'host' | 'system';

/** What helps: the same again, the same later, or nothing but a change by somebody. */
export type Recovery = 'retry' | 'wait' | 'final';

interface ErrorFacts {
  scope: Scope;
  recovery: Recovery;
  /** What the reader of the error should do. */
  hint: string;
}

/**
 * Every code there is, with its usual scope and recovery and what to do about it. Where a code can arise in
 * two scopes, the thrower overrides it. docs/errors.md is made from this table, and a test keeps them equal.
 */
export const ERRORS = {
  // Reaching a server
  host_not_found: {
    scope: 'host',
    recovery: 'final',
    hint: 'Check the spelling of the host name; it has no address in DNS.',
  },
  unreachable: {
    scope: 'host',
    recovery: 'wait',
    hint: 'Check host and port, and that a firewall lets this service through. It is tried again by itself.',
  },
  timeout: {
    scope: 'host',
    recovery: 'retry',
    hint: 'The server stopped answering. It is tried again by itself; if it stays, check port and security.',
  },
  connection_lost: {
    scope: 'host',
    recovery: 'retry',
    hint: 'The connection broke. It is resumed by itself where it stopped.',
  },
  address_not_allowed: {
    scope: 'host',
    recovery: 'final',
    hint: 'The host is a private, loopback or reserved address. The operator can allow its network in POPBRIDGE_ALLOW_NETWORKS.',
  },
  plaintext_not_allowed: {
    scope: 'host',
    recovery: 'final',
    hint: 'Use security "tls" or "starttls"; unencrypted connections need POPBRIDGE_ALLOW_PLAINTEXT=true.',
  },
  tls_name_mismatch: {
    scope: 'host',
    recovery: 'final',
    hint: 'The certificate is for another name. Use the name that the certificate holds as host, or set tls.serverName.',
  },
  tls_certificate_expired: {
    scope: 'host',
    recovery: 'final',
    hint: 'The certificate of the server has expired; its operator must renew it.',
  },
  tls_untrusted: {
    scope: 'host',
    recovery: 'final',
    hint: 'The certificate is not signed by a trusted authority. Give the authority in POPBRIDGE_TLS_CA_FILE.',
  },
  tls_failed: {
    scope: 'host',
    recovery: 'final',
    hint: 'No TLS session could be made. Check that port and security belong together (995/993: "tls", 110/143: "starttls").',
  },
  starttls_unavailable: {
    scope: 'host',
    recovery: 'final',
    hint: 'The server offers no STARTTLS on this port. Use security "tls" with port 995 (POP3) or 993 (IMAP).',
  },
  protocol_error: {
    scope: 'host',
    recovery: 'retry',
    hint: 'The server answered something that the protocol does not allow. Check that host and port are of a POP3 (source) or IMAP (destination) server.',
  },
  server_refused: {
    scope: 'mailbox',
    recovery: 'retry',
    hint: 'The server refused; its own words are in detail.',
  },
  // Signing in
  authentication_failed: {
    scope: 'mailbox',
    recovery: 'final',
    hint: 'Check user name and password (many providers want an app password). Then PUT the new credentials; the migration goes on by itself.',
  },
  authentication_unsupported: {
    scope: 'mailbox',
    recovery: 'final',
    hint: 'The server offers no way to sign in with this kind of credentials. Try another auth.type or security.',
  },
  invalid_credentials: {
    scope: 'mailbox',
    recovery: 'final',
    hint: 'User name and password must not hold line breaks or NUL. PUT the credentials again.',
  },
  credentials_required: {
    scope: 'mailbox',
    recovery: 'final',
    hint: 'The stored credentials are gone. PUT /v1/migrations/{id}/credentials, then try again.',
  },
  permission_denied: {
    scope: 'mailbox',
    recovery: 'final',
    hint: 'The account may not do this. Ask the operator of the server for the right.',
  },
  // Waiting
  mailbox_locked: {
    scope: 'mailbox',
    recovery: 'wait',
    hint: 'Another mail program has the mailbox open. Close it; this goes on by itself.',
  },
  login_delay: {
    scope: 'mailbox',
    recovery: 'wait',
    hint: 'The server asks for a pause between sign-ins; this goes on by itself.',
  },
  over_quota: {
    scope: 'mailbox',
    recovery: 'wait',
    hint: 'The destination is full. Free some space or raise its quota; this goes on by itself.',
  },
  throttled: {
    scope: 'host',
    recovery: 'wait',
    hint: 'The server asks to slow down; this goes on by itself.',
  },
  destination_busy: {
    scope: 'mailbox',
    recovery: 'wait',
    hint: 'Another migration of the same accounts and folder is at work; this goes on when it has ended.',
  },
  // Folders and messages
  folder_unavailable: {
    scope: 'mailbox',
    recovery: 'final',
    hint: 'The destination folder cannot be opened, made or written. Choose another folder.',
  },
  message_refused: {
    scope: 'message',
    recovery: 'final',
    hint: 'The destination does not take this message. Allow more repairs in options.repair, then retry.',
  },
  message_too_large: {
    scope: 'message',
    recovery: 'final',
    hint: 'The message is larger than the destination takes. Raise its limit, then retry.',
  },
  message_unavailable: {
    scope: 'message',
    recovery: 'final',
    hint: 'The source does not hand this message out. Look at it there, then retry.',
  },
  message_empty: {
    scope: 'message',
    recovery: 'final',
    hint: 'The message has no bytes at all, and IMAP cannot hold such a message.',
  },
  copy_gone: {
    scope: 'message',
    recovery: 'final',
    hint: 'The copy is not in the destination any more, so the message stays at the source.',
  },
  uidl_missing: {
    scope: 'mailbox',
    recovery: 'final',
    hint: 'The source gives its messages no unique ids (UIDL), which this version needs.',
  },
  // Ourselves
  lease_lost: {
    scope: 'system',
    recovery: 'retry',
    hint: 'Another worker has taken the migration over. Nothing to do.',
  },
  store_unavailable: {
    scope: 'system',
    recovery: 'retry',
    hint: 'Redis does not answer. It is tried again by itself.',
  },
  internal_error: {
    scope: 'system',
    recovery: 'retry',
    hint: 'A fault in popbridge itself; the log has more under this migration id.',
  },
} as const satisfies Record<string, ErrorFacts>;

export type ErrorCode = keyof typeof ERRORS;

export interface BridgeErrorOptions {
  side: Side;
  /** The server's own words, or other facts; never a secret. */
  detail?: string;
  /** Overrides the table. */
  scope?: Scope;
  recovery?: Recovery;
  hint?: string;
  /** With recovery `wait`: how long the server asked to wait, in milliseconds. */
  waitMs?: number;
  cause?: unknown;
}

/** The one error class: says where, how much stops, and what helps. Never carries a secret. */
export class BridgeError extends Error {
  readonly code: ErrorCode;
  readonly side: Side;
  readonly scope: Scope;
  readonly recovery: Recovery;
  readonly detail: string;
  readonly hint: string;
  readonly waitMs: number | undefined;

  constructor(code: ErrorCode, options: BridgeErrorOptions) {
    const facts: ErrorFacts = ERRORS[code];
    const detail = options.detail ?? '';
    super(detail === '' ? code : `${code}: ${detail}`, { cause: options.cause });
    this.name = 'BridgeError';
    this.code = code;
    this.side = options.side;
    this.scope = options.scope ?? facts.scope;
    this.recovery = options.recovery ?? facts.recovery;
    this.detail = detail;
    this.hint = options.hint ?? facts.hint;
    this.waitMs = options.waitMs;
  }

  /** Anything thrown, as a BridgeError: itself, or an `internal_error` of ours. */
  static from(thrown: unknown): BridgeError {
    if (thrown instanceof BridgeError) return thrown;
    const detail = thrown instanceof Error ? thrown.message : String(thrown);
    return new BridgeError('internal_error', { side: 'service', detail, cause: thrown });
  }

  /** As the API shows it. */
  report(): ErrorReport {
    return { code: this.code, side: this.side, scope: this.scope, detail: this.detail, hint: this.hint };
  }
}

export interface ErrorReport {
  code: ErrorCode;
  side: Side;
  scope: Scope;
  detail: string;
  hint: string;
}
