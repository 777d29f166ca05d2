import { parseDate } from './dates.ts';
import { headerBlock, topmostFields } from './header.ts';
import type { MigrationOptions } from './migration.ts';

export interface Placement {
  internalDate: Date;
  flags: string[];
}

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * Where in time a message goes and how it is marked. The internal date is when the mail was delivered: the date
 * of the topmost Received field (RFC 5321 section 4.4), else Date, else the time of the run.
 */
export function placement(
  message: Buffer,
  options: Pick<MigrationOptions, 'internalDate' | 'seen'>,
  now: Date,
): Placement {
  const internalDate = wholeSeconds(mailDate(message, options.internalDate) ?? now);
  return { internalDate, flags: isSeen(internalDate, options.seen, now) ? ['\\Seen'] : [] };
}

function mailDate(message: Buffer, policy: MigrationOptions['internalDate']): Date | null {
  if (policy === 'now') return null;
  const fields = topmostFields(headerBlock(message), ['received', 'date']);
  const received = policy === 'received' ? receivedDate(fields.get('received')) : null;
  return received ?? parseDate(fields.get('date') ?? '');
}

// RFC 5321 section 4.4: the time stamp stands behind the last semicolon.
function receivedDate(body: string | undefined): Date | null {
  return body === undefined ? null : parseDate(body.slice(body.lastIndexOf(';') + 1));
}

// IMAP's date-time holds whole seconds (RFC 9051 section 9).
function wholeSeconds(date: Date): Date {
  return new Date(Math.floor(date.getTime() / 1000) * 1000);
}

function isSeen(internalDate: Date, seen: MigrationOptions['seen'], now: Date): boolean {
  if (seen.policy === 'olderThanDays') return now.getTime() - internalDate.getTime() > seen.days * DAY_MS;
  return seen.policy === 'all';
}
