import type { Config } from '../config.ts';

/** pino's number for `warn`. */
const WARN = 40;

export interface Streams {
  /** For the terminal's standard output. */
  print(line: string): void;
  /** For its standard error. */
  complain(line: string): void;
}

/**
 * What of the services' output reaches the terminal. They log JSON lines: all of them at `LOG_LEVEL` debug or
 * trace, otherwise warnings and worse, as they are. Plain text (a crash of Node itself, a configuration error) is
 * for people and passes under the service's name.
 */
export function relay(
  name: string,
  level: Config['logLevel'],
  streams: Streams,
): (line: string, stream: 'stdout' | 'stderr') => void {
  const verbose = level === 'debug' || level === 'trace';
  return (line) => {
    if (line.trim() === '') return;
    const severity = levelOf(line);
    if (severity === null) streams.complain(`${name}: ${line}`);
    else if (verbose || severity >= WARN) streams.print(line);
  };
}

/** Null for what is no line of pino's. */
function levelOf(line: string): number | null {
  if (!line.startsWith('{')) return null;
  try {
    const { level } = JSON.parse(line) as { level?: unknown };
    return typeof level === 'number' ? level : null;
  } catch {
    return null;
  }
}
