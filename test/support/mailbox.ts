import { Random } from './random.ts';

/** Years of mail in one mailbox, oldest first. */
const FIRST = Date.UTC(1999, 0, 1);
const LAST = Date.UTC(2025, 0, 1);
const PEOPLE = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'grace', 'heidi', 'ivan', 'judy'];
const HOSTS = ['example.test', 'mail.example.test', 'lists.example.test', 'uni.example.test'];
const WORDS = [
  'the',
  'and',
  'meeting',
  'invoice',
  'tomorrow',
  'please',
  'attached',
  'report',
  'we',
  'will',
  'you',
];
const NAMES8 = ['Jörg', 'Zoë', 'François', 'Łukasz', 'Søren', 'José'];

/**
 * `count` messages as a real mailbox holds them: sizes from 1 to 200 kB with many small ones and few large,
 * plain, HTML and with attachments, 7-bit and 8-bit, Received lines with growing dates. The same seed gives the
 * same mailbox. Line ends are CRLF.
 */
export function variedMailbox(count: number, seed: number): Buffer[] {
  const random = new Random(seed);
  const pools = makePools(random);
  return Array.from({ length: count }, (_, index) => {
    const time = FIRST + ((LAST - FIRST) * (index + random.next())) / count;
    return message(index, seed, new Date(time), random, pools);
  });
}

/** Text and base64 made once and cut from at random places: making each anew would be most of a test's time. */
interface Pools {
  text: Buffer;
  base64: Buffer;
}

function makePools(random: Random): Pools {
  const lines = Array.from({ length: 4_000 }, () => {
    const words = Array.from({ length: random.int(0, 12) }, () => random.pick(WORDS)).join(' ');
    return random.chance(0.02) ? `.${words}` : words;
  });
  const base64 = random.bytes(300_000).toString('base64').replaceAll(/.{76}/g, '$&\r\n');
  return { text: Buffer.from(lines.join('\r\n')), base64: Buffer.from(base64) };
}

function message(index: number, seed: number, date: Date, random: Random, pools: Pools): Buffer {
  const size = Math.min(
    200_000,
    Math.max(1_000, Math.round(Math.exp(Math.log(7_000) + 1.2 * random.normal()))),
  );
  const head = headerOf(index, seed, date, random);
  if (size > 20_000) return withAttachment(head, size, random, pools);
  const charset = random.pick(['us-ascii', 'utf-8', 'iso-8859-1']);
  const type = random.pick(['text/plain', 'text/html']);
  const eightBit = charset === 'us-ascii' ? '' : `Grüße von ${random.pick(NAMES8)}, ça va?\r\n`;
  const fields = `Content-Type: ${type}; charset=${charset}\r\nContent-Transfer-Encoding: ${eightBit === '' ? '7bit' : '8bit'}\r\n\r\n`;
  const greeting = Buffer.from(eightBit, charset === 'utf-8' ? 'utf8' : 'latin1');
  return Buffer.concat([Buffer.from(head + fields), greeting, cut(pools.text, size, random), CRLF]);
}

const CRLF = Buffer.from('\r\n');

function headerOf(index: number, seed: number, date: Date, random: Random): string {
  const from = random.pick(PEOPLE);
  const host = random.pick(HOSTS);
  const later = (seconds: number) => rfcDate(new Date(date.getTime() + seconds * 1_000), random);
  const subject = Array.from({ length: random.int(1, 8) }, () => random.pick(WORDS)).join(' ');
  const lines = [
    `Return-Path: <${from}@${host}>`,
    `Received: from relay.${host} (relay.${host} [192.0.2.${random.int(1, 254)}])`,
    `\tby mx.example.test (Postfix) with ESMTPS id ${random.int(1e9, 9e9).toString(36).toUpperCase()}`,
    `\tfor <user@example.test>; ${later(random.int(3, 4_000))}`,
    `Received: from [198.51.100.${random.int(1, 254)}] by relay.${host}; ${later(1)}`,
    ...(random.chance(0.95) ? [`Message-ID: <${seed}.${index}.${random.int(1, 1e9)}@${host}>`] : []),
    `Date: ${later(0)}`,
    `From: ${random.chance(0.2) ? '=?utf-8?Q?J=C3=B6rg?= ' : ''}<${from}@${host}>`,
    `To: <user@example.test>`,
    `Subject: ${subject} ${index}`,
    ...(random.chance(0.3) ? [`References: <${seed}.${Math.max(0, index - 1)}@${host}>`] : []),
    'MIME-Version: 1.0',
  ];
  return `${lines.join('\r\n')}\r\n`;
}

function withAttachment(head: string, size: number, random: Random, pools: Pools): Buffer {
  const boundary = `=_${random.int(1e9, 9e9).toString(36)}`;
  const open = `Content-Type: multipart/mixed; boundary="${boundary}"\r\n\r\nThis is a message in MIME format.\r\n`;
  const text = `--${boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n`;
  const file = `\r\n--${boundary}\r\nContent-Type: application/octet-stream; name="file.bin"\r\nContent-Transfer-Encoding: base64\r\n\r\n`;
  return Buffer.concat([
    Buffer.from(head + open + text),
    cut(pools.text, 1_500, random),
    Buffer.from(file),
    cut(pools.base64, size - 2_500, random),
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ]);
}

/** A piece of about that size that begins and ends with whole lines, so that no line end is cut in two. */
function cut(pool: Buffer, size: number, random: Random): Buffer {
  const length = Math.min(size, pool.length);
  const begin = pool.indexOf('\r\n', random.int(0, pool.length - length)) + 2;
  const end = pool.lastIndexOf('\r\n', begin + length);
  return end > begin ? pool.subarray(begin, end) : pool.subarray(0, pool.lastIndexOf('\r\n', length));
}

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** RFC 5322 section 3.3, in a time zone of somebody's. */
function rfcDate(date: Date, random: Random): string {
  const hours = random.int(-8, 9);
  const local = new Date(date.getTime() + hours * 3_600_000);
  const two = (n: number) => `${n}`.padStart(2, '0');
  const day = `${DAYS[local.getUTCDay()]}, ${local.getUTCDate()} ${MONTHS[local.getUTCMonth()]} ${local.getUTCFullYear()}`;
  const time = [local.getUTCHours(), local.getUTCMinutes(), local.getUTCSeconds()].map(two).join(':');
  return `${day} ${time} ${hours < 0 ? '-' : '+'}${two(Math.abs(hours))}00`;
}
