import type { Piece, Reader } from './tap.ts';

const LITERAL = /~?\{(\d+)(\+?)\}\r\n$/;
const CRLF = '\r\n';

/** Which step the beginning of a command is. */
function stepOf(line: string): string | undefined {
  const [, verb = '', ...rest] = line.trimEnd().split(' ');
  const name = verb.toUpperCase();
  if (name === 'APPEND') return 'append-announced';
  if (name === 'LOGIN' || name === 'AUTHENTICATE') return 'login';
  if (name === 'EXAMINE') return 'select';
  if (name === 'LOGOUT') return 'logout';
  if (name !== 'UID') return undefined;
  const items = rest.join(' ');
  if (items.includes('HEADER.FIELDS')) return 'scan';
  return items.includes('BODY.PEEK[]') ? 'read' : 'verify';
}

/** Steps of an IMAP connection (RFC 9051 section 2.2). The octets of literals are counted, never looked at. */
export function imapReader(): Reader {
  /** Tags of APPENDs that wait for their answer. */
  const appends = new Set<string>();
  return { toServer: clientSide(appends), toClient: serverSide(appends) };
}

function clientSide(appends: Set<string>): (chunk: Buffer) => Piece[] {
  let held: Buffer = Buffer.alloc(0);
  let literal: { length: number; waits: boolean } | null = null;
  let literals = 0;
  let inCommand = false;
  let tag = '';

  const line = (): Piece | null => {
    const end = held.indexOf(CRLF) + CRLF.length;
    if (end < CRLF.length) return null;
    const bytes = held.subarray(0, end);
    const text = bytes.toString('latin1');
    const announced = LITERAL.exec(text);
    const before = inCommand ? undefined : stepOf(text);
    if (!inCommand) {
      literals = 0;
      tag = text.split(' ')[0] ?? '';
    }
    if (before === 'append-announced') appends.add(tag);
    inCommand = announced !== null;
    literal = announced === null ? null : { length: Number(announced[1]), waits: announced[2] === '' };
    held = held.subarray(end);
    return before === undefined ? { bytes } : { bytes, before };
  };

  // What follows a literal tells whether it was the last one, and comes with it at once.
  const octets = (length: number): Piece[] | null => {
    if (held.length < length + CRLF.length) return null;
    const isLast = held.subarray(length, length + CRLF.length).toString('latin1') === CRLF;
    const bytes = held.subarray(0, length + (isLast ? CRLF.length : 0));
    held = held.subarray(bytes.length);
    literal = null;
    literals += 1;
    if (!isLast) return halved(bytes, literals === 1);
    inCommand = false;
    return [{ bytes, before: 'last-octets-before', after: 'last-octets-after' }];
  };

  return (chunk) => {
    held = Buffer.concat([held, chunk]);
    const pieces: Piece[] = [];
    // Refused before its `+`: the octets do not come.
    if (literal?.waits === true && !appends.has(tag)) {
      literal = null;
      inCommand = false;
    }
    for (;;) {
      const next = literal === null ? line() : octets(literal.length);
      if (next === null) return pieces;
      pieces.push(...(Array.isArray(next) ? next : [next]));
    }
  };
}

function halved(octets: Buffer, isStep: boolean): Piece[] {
  const middle = octets.length >> 1;
  const second = { bytes: octets.subarray(middle) };
  return [{ bytes: octets.subarray(0, middle) }, isStep ? { ...second, before: 'literal-middle' } : second];
}

function serverSide(appends: Set<string>): (chunk: Buffer) => Piece[] {
  let held: Buffer = Buffer.alloc(0);
  let literal = 0;
  let inResponse = false;

  const stepOfAnswer = (text: string): string | undefined => {
    if (inResponse) return undefined;
    if (text.startsWith('+')) return appends.size > 0 ? 'sync-plus' : undefined;
    const [tag = '', status = ''] = text.split(' ');
    return appends.delete(tag) && status === 'OK' ? 'ok-before-client' : undefined;
  };

  return (chunk) => {
    held = Buffer.concat([held, chunk]);
    const pieces: Piece[] = [];
    while (held.length > 0) {
      const end = literal > 0 ? Math.min(literal, held.length) : held.indexOf(CRLF) + CRLF.length;
      if (literal === 0 && end < CRLF.length) break;
      const bytes = held.subarray(0, end);
      held = held.subarray(end);
      if (literal > 0) {
        literal -= bytes.length;
        pieces.push({ bytes });
        continue;
      }
      const text = bytes.toString('latin1');
      const before = stepOfAnswer(text);
      const announced = LITERAL.exec(text);
      literal = Number(announced?.[1] ?? 0);
      inResponse = announced !== null;
      pieces.push(before === undefined ? { bytes } : { bytes, before });
    }
    return pieces;
  };
}
