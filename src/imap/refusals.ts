import { BridgeError, type BridgeErrorOptions, type ErrorCode } from '../domain/errors.ts';

/** What the refused command was for. */
export type Phase = 'login' | 'folder' | 'append' | 'fetch';

/** A tagged NO or BAD, or the words of a BYE. */
export interface ServerWords {
  status: 'NO' | 'BAD' | 'BYE';
  /** Response code (RFC 9051 section 7.1, RFC 5530), upper case. */
  code: string | null;
  text: string;
}

interface Rule {
  /** Response codes, any of them. */
  codes?: readonly string[];
  /** Or words in the text, where servers give no code. */
  text?: RegExp;
  /** Only there; default everywhere. */
  phases?: readonly Phase[];
  error: ErrorCode;
  as?: Pick<BridgeErrorOptions, 'scope' | 'recovery'>;
}

/** Exchange and Microsoft 365: a BAD or NO with the time to wait (PROTOCOL-FACTS 24). */
const BACKOFF = /Backoff Time[:=\s]+(\d+)/i;

/** The first rule that fits decides. */
const RULES: readonly Rule[] = [
  { text: BACKOFF, error: 'throttled' },
  { codes: ['THROTTLED'], text: /throttl|bandwidth limit|too many (requests|commands)/i, error: 'throttled' },
  {
    text: /too many (simultaneous |concurrent |open )*(connections|sessions|logins)/i,
    error: 'throttled',
    as: { scope: 'mailbox' },
  },
  {
    text: /maximum number of (simultaneous )?(connections|sessions|logins)/i,
    error: 'throttled',
    as: { scope: 'mailbox' },
  },
  // Over size in an APPEND (Dovecot), too many connections at LOGIN (PROTOCOL-FACTS 7).
  { codes: ['LIMIT'], phases: ['append'], error: 'message_too_large' },
  { codes: ['LIMIT'], error: 'throttled', as: { scope: 'mailbox' } },
  { codes: ['TOOBIG', 'APPENDLIMIT'], phases: ['append'], error: 'message_too_large' },
  { codes: ['OVERQUOTA'], error: 'over_quota' },
  { codes: ['INUSE'], error: 'mailbox_locked' },
  { codes: ['UNAVAILABLE', 'SERVERBUG'], error: 'unreachable' },
  { codes: ['AUTHENTICATIONFAILED', 'AUTHORIZATIONFAILED', 'EXPIRED'], error: 'authentication_failed' },
  { codes: ['PRIVACYREQUIRED'], error: 'authentication_unsupported' },
  {
    codes: ['TRYCREATE', 'NONEXISTENT', 'CANNOT'],
    phases: ['folder', 'append'],
    error: 'folder_unavailable',
  },
  { codes: ['NOPERM', 'CONTACTADMIN'], error: 'permission_denied' },
  {
    text: /over ?quota|quota (is |has been )?exceeded|exceed(s|ed|ing)? .*quota|(mailbox|disk) (is )?full/i,
    phases: ['folder', 'append'],
    error: 'over_quota',
  },
  {
    text: /too (large|big)|exceeds .*(size|limit)|message size/i,
    phases: ['append'],
    error: 'message_too_large',
  },
  {
    text: /no such (mailbox|folder)|(mailbox|folder) (does ?n[o']t|not) exist|unknown (mailbox|folder)/i,
    phases: ['folder', 'append'],
    error: 'folder_unavailable',
  },
  {
    text: /permission denied|access denied|not permitted|read-?only/i,
    phases: ['folder', 'append', 'fetch'],
    error: 'permission_denied',
  },
  { text: /temporar(y|ily)|try (again )?later/i, error: 'unreachable' },
];

/** What is left. On APPEND that is the message's fault, so that the group is halved until the culprit stands alone. */
const OTHERWISE: Readonly<Record<Phase, ErrorCode>> = {
  login: 'authentication_failed',
  folder: 'folder_unavailable',
  append: 'message_refused',
  fetch: 'server_refused',
};

/** A refusal of the server as an error, with its own words in `detail`. Total. */
export function refusal(phase: Phase, words: ServerWords): BridgeError {
  const rule = RULES.find((candidate) => applies(candidate, phase, words));
  const waitMs = BACKOFF.exec(words.text)?.[1];
  return new BridgeError(rule?.error ?? OTHERWISE[phase], {
    side: 'destination',
    detail: spoken(words),
    ...rule?.as,
    ...(waitMs === undefined ? {} : { waitMs: Number(waitMs) }),
  });
}

/** A BYE, or a close that came with one: throttling has its own code, everything else is a lost connection. */
export function farewell(text: string): BridgeError {
  const words: ServerWords = { status: 'BYE', code: null, text };
  const throttled = RULES.find((rule) => rule.error === 'throttled' && rule.text?.test(text));
  if (throttled !== undefined) return refusal('login', words);
  return new BridgeError('connection_lost', { side: 'destination', detail: spoken(words) });
}

function applies({ codes, text, phases }: Rule, phase: Phase, words: ServerWords): boolean {
  if (phases !== undefined && !phases.includes(phase)) return false;
  return (words.code !== null && codes?.includes(words.code) === true) || text?.test(words.text) === true;
}

function spoken({ status, code, text }: ServerWords): string {
  return printable([status, code === null ? '' : `[${code}]`, text].filter((part) => part !== '').join(' '));
}

/** A server's words, fit for an error: no control characters, not long. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return text.replaceAll(/[\x00-\x1f\x7f-\x9f]+/g, ' ').slice(0, 300);
}

/** Sign-in answers may quote what was sent: the secrets are blotted out, as they are and in base64. */
export function withoutSecrets(error: BridgeError, secrets: readonly string[]): BridgeError {
  const hidden = secrets.filter((secret) => secret !== '').flatMap(spellings);
  const detail = hidden.reduce((text, secret) => text.replaceAll(secret, '***'), error.detail);
  if (detail === error.detail) return error;
  const { side, scope, recovery, hint, waitMs } = error;
  return new BridgeError(error.code, {
    side,
    scope,
    recovery,
    hint,
    detail,
    ...(waitMs === undefined ? {} : { waitMs }),
  });
}

function spellings(secret: string): string[] {
  return [secret, Buffer.from(secret).toString('base64')];
}
