import type { Piece, Reader } from './tap.ts';

const CRLF = '\r\n';

interface Awaited {
  command: string;
  /** Its RETR is that many-th of the session. */
  nth: number;
}

/** Steps of a POP3 session (RFC 1939). A RETR but the first is `retr-middle`. */
export function pop3Reader(): Reader {
  const awaited: Awaited[] = [{ command: 'greeting', nth: 0 }];
  return { toServer: lines(clientStep(awaited)), toClient: lines(serverStep(awaited)) };
}

type Steps = Pick<Piece, 'before' | 'after'>;

function clientStep(awaited: Awaited[]): (line: string) => Steps {
  let retrieved = 0;
  return (line) => {
    const command = (line.split(' ')[0] ?? '').toUpperCase();
    if (command === 'RETR') retrieved += 1;
    awaited.push({ command, nth: retrieved });
    if (command === 'PASS') return { before: 'login' };
    if (command === 'UIDL') return { before: 'listing' };
    if (command === 'RETR') return { before: retrieved === 1 ? 'retr-first' : 'retr-middle' };
    return ['LIST', 'TOP', 'DELE', 'QUIT'].includes(command) ? { before: command.toLowerCase() } : {};
  };
}

const MULTI_LINE = new Set(['CAPA', 'UIDL', 'LIST', 'RETR', 'TOP']);

function serverStep(awaited: Awaited[]): (line: string) => Steps {
  /** The answer whose lines are under way. */
  let open: Awaited | null = null;
  let count = 0;
  return (line) => {
    if (open === null) {
      const answer = awaited.shift() ?? { command: '', nth: 0 };
      count = 0;
      if (MULTI_LINE.has(answer.command) && line.startsWith('+OK')) open = answer;
      if (answer.command === 'greeting') return { before: 'greeting' };
      return answer.command === 'QUIT' && line.startsWith('+OK') ? { before: 'quit-ok' } : {};
    }
    count += 1;
    const isMiddle = open.command === 'RETR' && count === 2;
    if (line === '.') open = null;
    return isMiddle ? { before: 'mid-body' } : {};
  };
}

function lines(stepOf: (line: string) => Steps): (chunk: Buffer) => Piece[] {
  let held: Buffer = Buffer.alloc(0);
  return (chunk) => {
    held = Buffer.concat([held, chunk]);
    const pieces: Piece[] = [];
    for (let end = held.indexOf(CRLF); end !== -1; end = held.indexOf(CRLF)) {
      const bytes = held.subarray(0, end + CRLF.length);
      held = held.subarray(bytes.length);
      pieces.push({ bytes, ...stepOf(bytes.toString('latin1', 0, end)) });
    }
    return pieces;
  };
}
