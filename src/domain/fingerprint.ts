import { createHash, createHmac } from 'node:crypto';
import { headerBlock, topmostFields } from './header.ts';

/** Digests under a migration's own key, so that no sender can make mail whose digests collide. */
export interface KeyedDigests {
  /** Of a UIDL, 24 hex digits. */
  uidl(uidl: string): string;
  /** Of the raw header block of a message, 16 hex digits. */
  fingerprint(message: Buffer): string;
}

export function keyedDigests(key: Buffer): KeyedDigests {
  const digest = (domain: string, data: string | Buffer, bytes: number) => {
    const hmac = createHmac('sha256', key).update(domain);
    return (typeof data === 'string' ? hmac.update(data, 'latin1') : hmac.update(data))
      .digest()
      .toString('hex', 0, bytes);
  };
  return {
    uidl: (uidl) => digest('uidl\0', uidl, 12),
    fingerprint: (message) => digest('header\0', headerBlock(message), 8),
  };
}

/** Hex SHA-256 of all octets. */
export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

const NOMINATING_FIELDS = ['message-id', 'date', 'from', 'subject'] as const;

/**
 * What nominates a copy, never confirms one: Message-ID, Date, From and Subject, reduced to what every server
 * leaves alone. White space goes because of folding; `X` because Cyrus puts it for 8-bit octets
 * (PROTOCOL-FACTS 9).
 * @param header a whole message, its header block, or just these fields
 */
export function nomination(header: Buffer): string {
  const fields = topmostFields(headerBlock(header), NOMINATING_FIELDS);
  return NOMINATING_FIELDS.map((name) => (fields.get(name) ?? '').replace(/[^!-WYZ[-~]/g, '')).join('\n');
}

const CR = 13;
const LF = 10;
const X = 0x58;

/**
 * A message with every alteration undone that servers were seen to make while answering OK: CR dropped or added,
 * NUL stored as 0x80, 8-bit header octets as `X`, a last line end added (PROTOCOL-FACTS 8 to 10). Equal forms
 * nominate an altered copy; {@link isAlterationOf} confirms it.
 * @returns hex SHA-256 of that form
 */
export function digestOfAltered(message: Buffer): string {
  const headerLength = headerBlock(message).length;
  const out = Buffer.allocUnsafe(message.length);
  let length = 0;
  for (let at = 0; at < message.length; at++) {
    const octet = message[at] as number;
    if (octet === CR) continue;
    const munged = octet === 0 ? 0x80 : octet;
    out[length++] = at < headerLength && munged >= 0x80 ? X : munged;
  }
  while (length > 0 && out[length - 1] === LF) length--;
  return sha256(out.subarray(0, length));
}

/**
 * Whether a server can have made this copy of this message by the alterations above. Not the other way round, and
 * not by way of a third one: another 8-bit octet, or an end that is missing, is another message.
 */
export function isAlterationOf(message: Buffer, copy: Buffer): boolean {
  const headerLength = headerBlock(message).length;
  let at = 0;
  for (let from = 0; from < message.length; from++) {
    const octet = message[from] as number;
    if (octet === CR) continue;
    while (copy[at] === CR) at++;
    const stored = copy[at++];
    const munged = (octet === 0 && stored === 0x80) || (octet >= 0x80 && from < headerLength && stored === X);
    if (stored !== octet && !munged) return false;
  }
  while (copy[at] === CR) at++;
  if (copy[at] === LF && message.at(-1) !== LF) at++;
  return at === copy.length;
}
