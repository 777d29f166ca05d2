import { type DestinationStream, type Logger, pino } from 'pino';

const SECRETS = [
  'password',
  'accessToken',
  'refreshToken',
  'clientSecret',
  'authorization',
  'cookie',
  'set-cookie',
  'auth',
  'bearer',
];
const DEPTH = 2;

/** Each name at the top and up to two levels down. Nothing logs a body or headers; this is the second net. */
function redactedPaths(): string[] {
  const quoted = SECRETS.map((name) => `["${name}"]`);
  return Array.from({ length: DEPTH + 1 }, (_, depth) => '*.'.repeat(depth).slice(0, -1)).flatMap((prefix) =>
    quoted.map((name) => `${prefix}${name}`),
  );
}

/** The logger of a process: JSON lines, secrets redacted. */
export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options = { level, redact: { paths: redactedPaths(), censor: '[redacted]' } };
  return destination === undefined ? pino(options) : pino(options, destination);
}
