import type { ImapUid } from '../domain/ports.ts';

/** Command lines are safe below 8 kB everywhere (PROTOCOL-FACTS 12); the rest of the line needs some of it. */
const LINE_BYTES = 7_000;

/** Sequence sets that hold these UIDs and no others, each short enough for one command line. */
export function uidSets(uids: readonly ImapUid[], lineBytes = LINE_BYTES): string[] {
  const sets: string[] = [];
  let line = '';
  for (const range of ranges(uids)) {
    if (line !== '' && line.length + 1 + range.length > lineBytes) {
      sets.push(line);
      line = '';
    }
    line = line === '' ? range : `${line},${range}`;
  }
  return line === '' ? sets : [...sets, line];
}

function ranges(uids: readonly ImapUid[]): string[] {
  const sorted = [...new Set(uids)].sort((a, b) => a - b);
  const found: string[] = [];
  for (let start = 0; start < sorted.length; ) {
    let end = start;
    while (sorted[end + 1] === (sorted[end] ?? 0) + 1) end++;
    found.push(end === start ? `${sorted[start]}` : `${sorted[start]}:${sorted[end]}`);
    start = end + 1;
  }
  return found;
}

/**
 * The UIDs of an APPENDUID (RFC 4315 section 3), in order of the appended messages. Null where it cannot be the
 * answer to `count` messages: another number of UIDs, not ascending, not numbers.
 */
export function parseUidSet(text: string, count: number): ImapUid[] | null {
  const uids: ImapUid[] = [];
  for (const part of text.split(',')) {
    const match = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(part);
    if (match === null) return null;
    // "A:B" and "B:A" are the same range (RFC 9051 section 9, seq-range).
    const ends = [Number(match[1]), Number(match[2] ?? match[1])].sort((a, b) => a - b);
    const [low = 0, high = 0] = ends;
    if (low < 1 || high > 0xffff_ffff || uids.length + high - low + 1 > count) return null;
    if (low <= (uids.at(-1) ?? 0)) return null;
    for (let uid = low; uid <= high; uid++) uids.push(uid as ImapUid);
  }
  return uids.length === count ? uids : null;
}
