import { BridgeError } from '../domain/errors.ts';
import type { MessageNumber, SourceEntry, Uidl } from '../domain/ports.ts';

/** The lines of a multi-line answer, each cut at its spaces, as node-pop3 gives them. */
export type Lines = readonly (readonly string[])[];

/**
 * UIDL joined with LIST by message number, in the order of LIST.
 * @throws BridgeError `uidl_missing` where a message has no unique id; `protocol_error` where a line makes no sense
 */
export function joinListing(uidl: Lines, list: Lines): SourceEntry[] {
  const ids = new Map<number, Uidl>();
  for (const line of uidl) {
    const number = messageNumber(line, 'UIDL');
    const id = uniqueId(line);
    if (ids.has(number)) throw malformed(`UIDL names message ${number} twice`);
    ids.set(number, id);
  }
  const entries = list.map((line) => entryOf(line, ids));
  const listed = new Set(entries.map((entry) => entry.number)).size;
  if (listed < entries.length) throw malformed('LIST names a message twice');
  if (listed < ids.size) throw malformed('UIDL names messages that LIST does not know');
  return entries;
}

function entryOf(line: readonly string[], ids: ReadonlyMap<number, Uidl>): SourceEntry {
  const number = messageNumber(line, 'LIST');
  // RFC 1939 section 5 allows more text behind the size.
  const size = line.slice(1).find((word) => word !== '') ?? '';
  if (!/^\d{1,15}$/.test(size)) throw malformed(`LIST gives no size for message ${number}`);
  const uidl = ids.get(number);
  if (uidl === undefined) {
    throw new BridgeError('uidl_missing', { side: 'source', detail: `message ${number} has no unique id` });
  }
  return { number, uidl, size: Number(size) };
}

function messageNumber(line: readonly string[], command: string): MessageNumber {
  const word = line[0] ?? '';
  const number = /^\d{1,10}$/.test(word) ? Number(word) : 0;
  if (number === 0) throw malformed(`${command} has a line without a message number`);
  return number as MessageNumber;
}

/** RFC 1939 section 7 allows 1 to 70 octets of 0x21..0x7E; any visible ones identify as well. */
function uniqueId(line: readonly string[]): Uidl {
  const id = line.slice(1).join(' ').trim();
  if (!/^[\x20-\x7e\x80-\xff]+$/.test(id)) throw malformed(`UIDL gives no unique id for message ${line[0]}`);
  return id as Uidl;
}

function malformed(detail: string): BridgeError {
  return new BridgeError('protocol_error', { side: 'source', detail });
}
