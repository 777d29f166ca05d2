import { Random } from './random.ts';

export interface HardCase {
  /** What is hard about it. */
  name: string;
  bytes: Buffer;
  /**
   * A Dovecot that takes these bytes by APPEND gives others back (PROTOCOL-FACTS: NUL becomes 0x80, CR CR LF
   * becomes CR LF).
   */
  alteredByDovecot?: true;
}

/**
 * Messages that broke mail programs before, all but `hugeMessage`. Line ends are CRLF where the name does not
 * say otherwise. What a test compares with is what POP3 delivers: Dovecot ends a maildir's bare LF with CRLF.
 */
export function hardCases(): HardCase[] {
  return [
    ...dotCases(),
    ...byteCases(),
    ...sizeCases(),
    ...structureCases(),
    ...identityCases(),
    ...protocolCases(),
    ...dateCases(),
  ];
}

/** One message of about that many bytes, base64 in lines of 76 as real attachments are. */
export function hugeMessage(bytes = 20 * 1024 * 1024, seed = 20): Buffer {
  const head = latin1(`${header('huge')}Content-Transfer-Encoding: base64\r\n\r\n`);
  const text = new Random(seed).bytes(Math.floor((bytes * 57) / 78)).toString('base64');
  return Buffer.concat([head, latin1(`${text.replaceAll(/.{76}/g, '$&\r\n')}\r\n`)]);
}

function dotCases(): HardCase[] {
  const growing = Array.from({ length: 200 }, (_, n) => `.${'x'.repeat(n)}`);
  // Stuffed, each of these is five bytes long: against chunks of 2^n bytes the dots come to lie everywhere.
  const everywhere = Array.from({ length: 30_000 }, () => '.x');
  const alone = Array.from({ length: 5_000 }, (_, n) => (n % 1_000 === 999 ? 'y'.repeat(n % 7) : '.'));
  return [
    simple('a line of one dot', ['before', '.', 'after']),
    simple('lines of one to six dots', ['.', '..', '...', '....', '.....', '......']),
    simple('nothing but one dot', ['.']),
    simple('lines of dots only', alone),
    simple('growing lines that begin with a dot', growing),
    simple('dots at every chunk border', everywhere),
    simple('a last line of dots', ['text', '..']),
    { name: 'a dot where the header begins', bytes: latin1('.Subject: dot\r\n\r\nbody\r\n') },
    {
      name: 'ends with CRLF dot, without a final newline',
      bytes: latin1(`${header('dot end')}\r\ntext\r\n.`),
    },
  ];
}

function byteCases(): HardCase[] {
  const every = Buffer.from(
    Array.from({ length: 256 }, (_, n) => n).filter((n) => n !== 0 && n !== 10 && n !== 13),
  );
  const binary = Buffer.from(
    new Random(8).bytes(40_000).map((n) => (n === 0 || n === 10 || n === 13 ? 0xff : n)),
  );
  return [
    simple('Latin-1 in the body', ['Gr\xfc\xdfe aus K\xf6ln', '\xe9\xe8\xea\xff']),
    {
      name: 'Latin-1 in the header',
      bytes: latin1('Subject: Gr\xfc\xdfe\r\nFrom: J\xf6rg <j@x.test>\r\n\r\nbody\r\n'),
    },
    { name: 'UTF-8 in the header', bytes: Buffer.from('Subject: Grüße 你好 🎉\r\n\r\n你好\r\n') },
    simple('broken UTF-8', ['\xc3', '\xe2\x82', '\xf0\x9f\x8e', '\xff\xfe']),
    { name: 'every byte but NUL, CR and LF', bytes: around('all bytes', every) },
    { name: 'binary 8-bit bytes', bytes: around('binary', binary) },
    {
      name: 'a binary part that says so',
      bytes: around('binary part', binary, 'Content-Type: image/x\r\nContent-Transfer-Encoding: binary\r\n'),
    },
    {
      name: 'NUL in the body',
      bytes: latin1(`${header('nul')}\r\na\0b\r\n\0\0\r\n`),
      alteredByDovecot: true,
    },
    { name: 'NUL in the header', bytes: latin1('Subject: a\0b\r\n\r\nbody\r\n'), alteredByDovecot: true },
    simple('bare CR in a line', ['before\rafter', '\rfirst', 'mid\r.\rdot']),
    {
      name: 'bare CR before a line end',
      bytes: latin1(`${header('cr')}\r\none\r\r\ntwo\r\n`),
      alteredByDovecot: true,
    },
    { name: 'bare LF as line ends', bytes: latin1('Subject: lf\nFrom: a@x.test\n\nline\n.dot\nend\n') },
    {
      name: 'CRLF and bare LF mixed',
      bytes: latin1('Subject: mixed\r\nFrom: a@x.test\n\r\none\ntwo\r\nthree\n'),
    },
    simple('control bytes', ['\x01\x02\x03\x07\x08\x0b\x0c\x0e\x1a\x1b[31m\x7f']),
  ];
}

function sizeCases(): HardCase[] {
  const folded = Array.from({ length: 2_500 }, (_, n) => `X-Long-${n}: ${'h'.repeat(68)}\r\n`).join('');
  const manyFolds = Array.from({ length: 2_000 }, (_, n) => `\r\n recipient${n}@example.test,`).join('');
  return [
    simple('a line of 100 kB', ['L'.repeat(100_000)]),
    simple('a line of 100 kB that begins with a dot', [`.${'L'.repeat(100_000)}`, '.']),
    simple('lines of 998 and 1,000 bytes', ['a'.repeat(996), 'b'.repeat(998), 'c'.repeat(1_000)]),
    { name: 'a header of 200 kB', bytes: latin1(`${header('long header')}${folded}\r\nbody\r\n`) },
    {
      name: 'one header field folded over 2,000 lines',
      bytes: latin1(`To:${manyFolds}\r\n e@x.test\r\n\r\nbody\r\n`),
    },
    {
      name: 'one header field of 50 kB in one line',
      bytes: latin1(`X-Field: ${'v'.repeat(50_000)}\r\n\r\nbody\r\n`),
    },
    simple(
      '100,000 empty lines',
      Array.from({ length: 100_000 }, () => ''),
    ),
  ];
}

function structureCases(): HardCase[] {
  const nested = Array.from(
    { length: 60 },
    (_, n) => `Content-Type: multipart/mixed; boundary=b${n}\r\n\r\n--b${n}\r\n`,
  );
  return [
    { name: 'no header', bytes: latin1('\r\njust a body\r\n') },
    { name: 'no header and no empty line', bytes: latin1('just text without any header\r\nmore text\r\n') },
    { name: 'no body', bytes: latin1(`${header('no body')}\r\n`) },
    { name: 'no body and no empty line', bytes: latin1(header('header only')) },
    { name: 'one byte', bytes: latin1('x') },
    { name: 'one empty line', bytes: latin1('\r\n') },
    { name: 'no final newline', bytes: latin1(`${header('no newline')}\r\nthe end`) },
    { name: 'no final newline after the header', bytes: latin1('Subject: cut off') },
    { name: 'a multipart without its end', bytes: latin1(`${header('cut')}${nested[0]}\r\npart\r\n`) },
    { name: 'sixty nested multiparts', bytes: latin1(`${header('nested')}${nested.join('')}\r\n`) },
    {
      name: 'a header line without a colon',
      bytes: latin1('Subject: odd\r\nthis is no header\r\nTo: x\r\n\r\nbody\r\n'),
    },
    { name: 'spaces before the colon', bytes: latin1('Subject : odd\r\nFrom\t: a@x.test\r\n\r\nbody\r\n') },
    { name: 'a first line that is a continuation', bytes: latin1(' folded\r\nSubject: odd\r\n\r\nbody\r\n') },
  ];
}

function identityCases(): HardCase[] {
  const shared = 'Message-ID: <shared@example.test>\r\nDate: Mon, 3 Mar 2014 10:00:00 +0000\r\n';
  const equal = `${header('equal')}Message-ID: <equal@example.test>\r\n\r\n`;
  return [
    { name: 'no Message-ID', bytes: latin1('Subject: none\r\nFrom: a@x.test\r\n\r\nbody\r\n') },
    { name: 'an empty Message-ID', bytes: latin1('Message-ID:\r\nSubject: empty id\r\n\r\nbody\r\n') },
    { name: 'two Message-IDs', bytes: latin1('Message-ID: <a@x>\r\nMessage-ID: <b@x>\r\n\r\nbody\r\n') },
    { name: 'a shared Message-ID, first body', bytes: latin1(`${shared}Subject: one\r\n\r\nfirst\r\n`) },
    { name: 'a shared Message-ID, second body', bytes: latin1(`${shared}Subject: two\r\n\r\nanother\r\n`) },
    { name: 'equal header and size, body A', bytes: latin1(`${equal}AAAAAAAA\r\n`) },
    { name: 'equal header and size, body B', bytes: latin1(`${equal}BBBBBBBB\r\n`) },
    { name: 'equal in every byte, first', bytes: latin1(`${equal}twins\r\n`) },
    { name: 'equal in every byte, second', bytes: latin1(`${equal}twins\r\n`) },
  ];
}

function protocolCases(): HardCase[] {
  const imap = [
    'a1 DELETE victim',
    'Z3 DELETE victim',
    'A OK done',
    '* BYE',
    '+ go ahead',
    ')',
    '{5}',
    '{5+}',
    '~{5+}',
  ];
  const closing = [
    '" "',
    '(\\Deleted)',
    'a2 LOGOUT',
    'a3 APPEND INBOX {3+}',
    'abc',
    '* 1 EXISTS',
    '3 OK APPEND',
  ];
  const pop3 = [
    '-ERR no such message',
    '+OK',
    '+OK 5 messages',
    'QUIT',
    'DELE 1',
    'RSET',
    '. ',
    '.QUIT',
    'RETR 2',
  ];
  return [
    simple('a body that looks like IMAP', [...imap, ...closing, ...imap]),
    simple('a body that looks like POP3', [...pop3, ...pop3]),
    simple('a line that ends like a literal', ['text {100}', 'text {100+}', 'BODY[] {20}']),
    simple('mbox "From " lines', [
      'From alice@example.test Mon Mar  3 10:00:00 2014',
      '>From quoted',
      '>>From twice',
    ]),
    {
      name: 'an mbox "From " line first',
      bytes: latin1(`From alice Mon Mar  3 10:00:00 2014\r\n${header('mbox')}\r\nx\r\n`),
    },
    {
      name: 'a subject that closes quotes',
      bytes: latin1('Subject: ") {3}\\" (\r\nFrom: "a\\" <a@x>\r\n\r\nbody\r\n'),
    },
    { name: 'a header that looks like POP3', bytes: latin1('-ERR: gone\r\n+OK: here\r\n\r\nbody\r\n') },
  ];
}

function dateCases(): HardCase[] {
  const dates: [string, string][] = [
    ['a Date of 1955', 'Sat, 5 Nov 1955 06:00:00 -0800'],
    ['a Date of 2072', 'Fri, 1 Jan 2072 00:00:00 +0000'],
    ['a Date of 31 December 2037, far west', 'Thu, 31 Dec 2037 23:59:59 -1200'],
    ['a Date of 31 February', 'Wed, 31 Feb 2010 10:00:00 +0000'],
    ['a Date of the year 0', 'Sat, 1 Jan 0000 00:00:00 +0000'],
    ['a Date with a two-digit year', 'Mon, 3 Mar 97 10:00:00 EST'],
    ['a Date with an absurd zone', 'Mon, 3 Mar 2014 10:00:00 +9999'],
    ['a Date of words', 'yesterday, about noon'],
    ['an empty Date', ''],
    ['a Date with comments', 'Mon, 3 Mar (spring) 2014 10:00:00 +0100 (CET)'],
  ];
  const received =
    'Received: from a.test (a.test [192.0.2.1])\r\n\tby b.test with ESMTP id 1; \r\n\tTue, 4 Mar 2014\r\n 11:22:33 +0100 (CET)';
  const older = 'Received: from c.test by a.test; Mon, 3 Mar 2014 09:00:00 +0000';
  const date = 'Date: Sun, 2 Mar 2014 08:00:00 +0000';
  return [
    ...dates.map(([name, value]) => ({
      name,
      bytes: latin1(`Date: ${value}\r\nSubject: date\r\n\r\nbody\r\n`),
    })),
    { name: 'a folded Received', bytes: latin1(`${received}\r\n${older}\r\n${date}\r\n\r\nbody\r\n`) },
    { name: 'a Received without a date', bytes: latin1(`Received: by b.test\r\n${date}\r\n\r\nbody\r\n`) },
    {
      name: 'a Received of 2120',
      bytes: latin1(`Received: by b.test; 1 Jan 2120 00:00:00 +0000\r\n${date}\r\n\r\nbody\r\n`),
    },
  ];
}

function latin1(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** A plain header without its empty line; `subject` makes it one of a kind. */
function header(subject: string): string {
  return `From: Alice <alice@example.test>\r\nTo: bob@example.test\r\nSubject: ${subject}\r\nDate: Mon, 3 Mar 2014 10:00:00 +0000\r\n`;
}

function simple(name: string, lines: readonly string[]): HardCase {
  return { name, bytes: latin1(`${header(name.replaceAll('"', ''))}\r\n${lines.join('\r\n')}\r\n`) };
}

function around(subject: string, body: Buffer, fields = ''): Buffer {
  return Buffer.concat([latin1(`${header(subject)}${fields}\r\n`), body, latin1('\r\n')]);
}

export { variedMailbox } from './mailbox.ts';
