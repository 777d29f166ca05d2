const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

// RFC 5322 section 4.3: the zones that have letters; any other name counts as UTC.
const ZONES: Readonly<Record<string, number>> = {
  edt: -240,
  est: -300,
  cdt: -300,
  cst: -360,
  mdt: -360,
  mst: -420,
  pdt: -420,
  pst: -480,
};

const DATE_TIME =
  /(\d{1,2})[\s-]+([a-z]{3})[a-z]*[\s,-]+(\d{2,4})[\s,]+(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?\s*([+-]\d{4}|[a-z]+)?/i;

/**
 * The instant of an RFC 5322 date-time, obsolete forms included (section 4.3).
 * @returns null where there is none, the day does not exist, or it lies outside 1970..2037: servers were seen to
 *   turn such dates into others without a word (PROTOCOL-FACTS 11)
 */
export function parseDate(text: string): Date | null {
  const match = DATE_TIME.exec(text.replace(/\([^()]*\)/g, ' '));
  if (match === null) return null;
  const [, day, monthName, year, hour, minute, second, zone] = match;
  const month = MONTHS.indexOf((monthName ?? '').toLowerCase());
  const offset = zoneMinutes(zone);
  if (month === -1 || offset === null) return null;
  const fields = [
    fullYear(year ?? ''),
    month,
    Number(day),
    Number(hour),
    Number(minute),
    Number(second ?? 0),
  ];
  return instant(fields, offset);
}

function instant(fields: number[], offsetMinutes: number): Date | null {
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = fields;
  // A leap second is the second before it: nothing in IMAP can hold it.
  const local = new Date(Date.UTC(year, month, day, hour, minute, Math.min(second, 59)));
  const exists =
    local.getUTCMonth() === month && local.getUTCDate() === day && hour < 24 && minute < 60 && second <= 60;
  if (!exists) return null;
  const date = new Date(local.getTime() - offsetMinutes * 60_000);
  const inRange = date.getUTCFullYear() >= 1970 && date.getUTCFullYear() <= 2037;
  return inRange ? date : null;
}

// RFC 5322 section 4.3: two digits below 50 are of this century, other two and three digits count from 1900.
function fullYear(digits: string): number {
  const year = Number(digits);
  if (digits.length >= 4) return year;
  return digits.length === 2 && year < 50 ? 2000 + year : 1900 + year;
}

function zoneMinutes(zone: string | undefined): number | null {
  if (zone === undefined) return 0;
  const numeric = /^([+-])(\d{2})(\d{2})$/.exec(zone);
  if (numeric === null) return ZONES[zone.toLowerCase()] ?? 0;
  const minutes = Number(numeric[2]) * 60 + Number(numeric[3]);
  return minutes < 24 * 60 ? (numeric[1] === '-' ? -minutes : minutes) : null;
}
