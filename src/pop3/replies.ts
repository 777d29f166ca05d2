import { BridgeError, type BridgeErrorOptions, type ErrorCode } from '../domain/errors.ts';

const MAX_WORDS = 300;

interface Verdict extends Omit<BridgeErrorOptions, 'side'> {
  code: ErrorCode;
}

/** Response codes (RFC 2449 section 8, RFC 3206): what they say outweighs the command they answer. */
const BY_RESPONSE_CODE: Readonly<Record<string, Verdict>> = {
  'IN-USE': { code: 'mailbox_locked' },
  'LOGIN-DELAY': { code: 'login_delay' },
  AUTH: { code: 'authentication_failed' },
  'SYS/TEMP': { code: 'server_refused', recovery: 'wait' },
  'SYS/PERM': { code: 'server_refused', recovery: 'final' },
};

/** What `-ERR` without a known response code means, by what it answers. */
const BY_COMMAND: Readonly<Record<string, Verdict>> = {
  greeting: { code: 'server_refused', scope: 'host', recovery: 'wait' },
  STLS: { code: 'starttls_unavailable' },
  USER: { code: 'authentication_failed' },
  PASS: { code: 'authentication_failed' },
  AUTH: { code: 'authentication_failed' },
  UIDL: { code: 'uidl_missing' },
};

/** What `-ERR` says of one message, whatever else the server means by it; `SYS/TEMP` and `SYS/PERM` apart. */
const OF_ONE_MESSAGE: Readonly<Record<string, Verdict>> = {
  RETR: { code: 'message_unavailable', recovery: 'final' },
  TOP: { code: 'message_unavailable', recovery: 'final' },
  DELE: { code: 'server_refused', recovery: 'retry', hint: 'The source did not delete this message.' },
};
const OTHERWISE: Verdict = { code: 'server_refused' };

/**
 * `-ERR` as a BridgeError; total.
 * @param command the verb that was answered, or `greeting`
 * @param words the answer's text behind `-ERR`, free of secrets
 * @param loginDelaySeconds of CAPA (RFC 2449 section 6.5), where known
 */
export function refusal(command: string, words: string, loginDelaySeconds?: number): BridgeError {
  const code = responseCode(words);
  const ofOne = OF_ONE_MESSAGE[command];
  if (ofOne !== undefined) return messageRefusal(ofOne, code, words);
  const { code: errorCode, ...verdict } = BY_RESPONSE_CODE[code] ?? BY_COMMAND[command] ?? OTHERWISE;
  const wait = errorCode === 'login_delay' && loginDelaySeconds !== undefined;
  return new BridgeError(errorCode, {
    side: 'source',
    detail: words,
    ...verdict,
    ...(wait ? { waitMs: loginDelaySeconds * 1000 } : {}),
  });
}

function messageRefusal({ code, ...usual }: Verdict, responseCode: string, words: string): BridgeError {
  const verdict = { side: 'source', scope: 'message', detail: words, ...usual } as const;
  if (responseCode === 'SYS/TEMP') return new BridgeError(code, { ...verdict, recovery: 'retry' });
  if (responseCode === 'SYS/PERM') return new BridgeError(code, { ...verdict, recovery: 'final' });
  return new BridgeError(code, verdict);
}

/** The response code at the start of the text as far as the table knows it, upper-case; else ''. */
function responseCode(words: string): string {
  const code = /^\[([^\]]*)\]/.exec(words)?.[1]?.toUpperCase() ?? '';
  if (Object.hasOwn(BY_RESPONSE_CODE, code)) return code;
  // RFC 2449 section 8: codes are hierarchical, an unknown sub-code means what its parent means.
  return Object.keys(BY_RESPONSE_CODE).find((known) => code.startsWith(`${known}/`)) ?? '';
}

/**
 * A server's own words for people: secrets that it may echo blanked out, then without control characters, then
 * cut. Not UTF-8 is shown with replacement characters.
 */
export function wordsOf(line: Buffer, secrets: readonly string[]): string {
  let words = line.toString('utf8');
  for (const secret of secrets) if (secret !== '') words = words.replaceAll(secret, '***');
  return words
    .replace(/[\s\p{Cc}\p{Cf}]+/gu, ' ')
    .trim()
    .slice(0, MAX_WORDS)
    .toWellFormed();
}
