/** Which literals need no `+` of the server: all (LITERAL+), those up to 4,096 octets (LITERAL-), none. */
export type NonSynchronising = 'all' | 'small' | 'none';

/** RFC 7888 section 5. */
const SMALL_LITERAL = 4_096;

/** One message of an APPEND command. */
export interface AppendLiteral {
  /** System flags only, see `unsendable`. */
  flags: readonly string[];
  internalDate: Date;
  octets: Buffer;
  /** `~{n}` (RFC 3516). */
  literal8: boolean;
}

const CRLF = Buffer.from('\r\n');

/**
 * The octets of one APPEND, of several messages where MULTIAPPEND allows (RFC 3502):
 *
 *     prefix *(SP flag-list SP date-time SP ["~"] "{" octets ["+"] "}" CRLF octets) CRLF
 *
 * in parts. Each part goes out at once and whole. Each but the last ends with the announcement of a synchronising
 * literal, so that the server's `+` must come before the next one; the last literal is always synchronising, so
 * that the last part is its octets and the command's end, and nothing else.
 * @param mayRun whether a literal may be sent without the server's `+`
 * @throws RangeError for a literal that is `unsendable`
 */
export function appendFrames(
  prefix: string,
  literals: readonly AppendLiteral[],
  mayRun: (literal: AppendLiteral) => boolean,
): Buffer[][] {
  const parts: Buffer[][] = [];
  let part: Buffer[] = [];
  let text = prefix;
  for (const [index, literal] of literals.entries()) {
    const fault = unsendable(literal);
    if (fault !== null) throw new RangeError(fault);
    const { octets, literal8 } = literal;
    const waits = index === literals.length - 1 || !mayRun(literal);
    text += ` ${flagList(literal)} ${dateTime(literal.internalDate)}`;
    text += ` ${literal8 ? '~' : ''}{${octets.length}${waits ? '' : '+'}}\r\n`;
    part.push(Buffer.from(text, 'latin1'));
    if (waits) {
      parts.push(part);
      part = [];
    }
    part.push(octets);
    text = '';
  }
  part.push(CRLF);
  return [...parts, part];
}

/** Whether a server with this extension takes a literal of so many octets without being asked. */
export function permits(extension: NonSynchronising, octets: number): boolean {
  return extension === 'all' || (extension === 'small' && octets <= SMALL_LITERAL);
}

/**
 * Why a message must not be put into an APPEND; null: it may. Dovecot 2.3 was seen to say BAD to a flag or a date
 * that it does not like and then to read the octets that follow a `{n+}` as commands. So there is no way to give
 * it one: every server takes these flags and these dates. Never an empty literal: servers answer `{0}` in ways
 * that lead out of step (PROTOCOL-FACTS 5).
 */
export function unsendable({ flags, internalDate, octets }: AppendLiteral): string | null {
  const other = flags.find((flag) => !FLAGS.has(flag));
  if (other !== undefined) return 'a flag other than the system flags';
  const time = internalDate.getTime();
  if (!(time >= 0 && time < DATES_END)) return 'an internal date outside of 1970 to 2037';
  return octets.length === 0 ? 'no octets' : null;
}

/** RFC 9051 section 2.3.2, without `\Recent`, which only servers set. */
const FLAGS = new Set(['\\Seen', '\\Answered', '\\Flagged', '\\Deleted', '\\Draft']);
const DATES_END = Date.UTC(2038, 0, 1);

export function flagList({ flags }: AppendLiteral): string {
  return `(${flags.join(' ')})`;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** RFC 9051 section 9, date-time, in UTC: `"02-Jan-2006 15:04:05 +0000"`. */
function dateTime(date: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${two(date.getUTCDate())}-${MONTHS[date.getUTCMonth()]}-${date.getUTCFullYear()}`;
  const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map(two).join(':');
  return `"${day} ${time} +0000"`;
}

/** RFC 9051 section 9, quoted. The text must hold no CR, LF, NUL or 8-bit character. */
export function quoted(text: string): string {
  return `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
}
