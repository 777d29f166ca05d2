/**
 * The raw header block: all octets before the first empty line, its own line end included. A message without an
 * empty line is all header; one that begins with an empty line has none (RFC 5322 section 2.1). Bare LF counts
 * as a line end, since such mail exists.
 */
export function headerBlock(message: Buffer): Buffer {
  if (message[0] === LF || (message[0] === CR && message[1] === LF)) return message.subarray(0, 0);
  for (let at = message.indexOf(LF); at !== -1; at = message.indexOf(LF, at + 1)) {
    const next = message[at + 1];
    if (next === LF || (next === CR && message[at + 2] === LF)) return message.subarray(0, at + 1);
  }
  return message;
}

const LF = 10;
const CR = 13;

/**
 * The unfolded bodies of the topmost field of each name, latin1, trimmed; a missing field is absent.
 * @param names lower case
 */
export function topmostFields(header: Buffer, names: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  const text = header.toString('latin1');
  let at = 0;
  while (at < text.length && found.size < names.length) {
    const end = fieldEnd(text, at);
    const colon = text.indexOf(':', at);
    if (colon !== -1 && colon < end) {
      const name = text.slice(at, colon).trimEnd().toLowerCase();
      if (names.includes(name) && !found.has(name)) found.set(name, unfold(text.slice(colon + 1, end)));
    }
    at = end;
  }
  return found;
}

// RFC 5322 section 2.2.3: a line that begins with white space belongs to the field above it.
function fieldEnd(text: string, from: number): number {
  for (let at = from; ; ) {
    const lineEnd = text.indexOf('\n', at);
    if (lineEnd === -1) return text.length;
    at = lineEnd + 1;
    const next = text.charCodeAt(at);
    if (next !== 0x20 && next !== 0x09) return at;
  }
}

function unfold(body: string): string {
  return body.replace(/\r?\n/g, '').trim();
}
