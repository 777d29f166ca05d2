import { MIGRATION_SCRIPTS } from '../../src/store/scripts.ts';
import type { Piece, Reader } from './tap.ts';

const CRLF = '\r\n';

/** Our scripts by their digest and by their text, as EVALSHA and EVAL name them. */
const SCRIPTS = new Map<string, string>(
  Object.entries(MIGRATION_SCRIPTS).flatMap(([name, { sha, lua }]) => [
    [sha, name],
    [lua, name],
  ]),
);

/** Steps of a connection to Redis: each script of a run, sent and applied. */
export function redisReader(): Reader {
  /** What each answer will be to. */
  const awaited: (string | undefined)[] = [];
  let sent: Buffer = Buffer.alloc(0);
  let answered: Buffer = Buffer.alloc(0);
  return {
    toServer: (chunk) => {
      sent = Buffer.concat([sent, chunk]);
      const pieces: Piece[] = [];
      for (let end = endOf(sent, 0); end !== null; end = endOf(sent, 0)) {
        const bytes = sent.subarray(0, end);
        sent = sent.subarray(end);
        const name = nameOf(argumentsOf(bytes));
        awaited.push(name);
        pieces.push(name === undefined ? { bytes } : { bytes, before: `${name}-sent` });
      }
      return pieces;
    },
    toClient: (chunk) => {
      answered = Buffer.concat([answered, chunk]);
      const pieces: Piece[] = [];
      for (let end = endOf(answered, 0); end !== null; end = endOf(answered, 0)) {
        const bytes = answered.subarray(0, end);
        answered = answered.subarray(end);
        const name = awaited.shift();
        const applied = name !== undefined && bytes[0] === '*'.charCodeAt(0);
        pieces.push(applied ? { bytes, before: `${name}-applied` } : { bytes });
      }
      return pieces;
    },
  };
}

/** Where a RESP2 value that begins at `at` ends; null while it is not complete. */
export function endOf(buffer: Buffer, at: number): number | null {
  const lineEnd = buffer.indexOf(CRLF, at);
  if (lineEnd === -1) return null;
  const next = lineEnd + CRLF.length;
  const kind = String.fromCharCode(buffer[at] ?? 0);
  const size = Number(buffer.toString('latin1', at + 1, lineEnd));
  if (kind === '$') {
    const end = size < 0 ? next : next + size + CRLF.length;
    return end <= buffer.length ? end : null;
  }
  if (kind !== '*') return next;
  let end: number | null = next;
  for (let n = 0; n < size && end !== null; n++) end = endOf(buffer, end);
  return end;
}

/** The parts of a command, an array of bulk strings. */
export function argumentsOf(command: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = command.indexOf('$'); at !== -1 && at < command.length; ) {
    const lineEnd = command.indexOf(CRLF, at);
    const size = Number(command.toString('latin1', at + 1, lineEnd));
    const begin = lineEnd + CRLF.length;
    parts.push(command.subarray(begin, begin + size));
    at = begin + size + CRLF.length;
  }
  return parts;
}

function nameOf([command, script, count, ...rest]: Buffer[]): string | undefined {
  if (!/^eval(sha)?$/i.test(command?.toString('latin1') ?? '')) return undefined;
  const name = SCRIPTS.get(script?.toString('utf8') ?? '');
  const json = rest[Number(count?.toString('latin1'))]?.toString('utf8') ?? '{}';
  const args = JSON.parse(json) as { pair?: boolean; open?: unknown[] };
  if (name === 'claim') return args.pair === true ? 'claim' : undefined;
  if (name === 'commit') return (args.open ?? []).length > 0 ? 'intent-commit' : 'commit';
  return name === 'renew' || name === 'end' ? name : undefined;
}
