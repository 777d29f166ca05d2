import { Random } from '../support/random.ts';

/** The destination takes no message larger than this. */
export const MAX_MAIL_BYTES = 20_000;

/**
 * A small mailbox with all that makes identity hard: twins, equal headers and sizes with other bodies, messages
 * without Message-ID, 8-bit octets, dots, and one message that the destination refuses. Line ends are CRLF.
 */
export function trickyMailbox(seed: number): Buffer[] {
  const random = new Random(seed);
  const twin = message({ id: `twin.${seed}`, subject: 'twin', body: 'the same to the last octet' });
  const same = { id: `same.${seed}`, subject: 'same header' };
  const tricky = [
    twin,
    twin,
    twin,
    message({ ...same, body: 'body 1' }),
    message({ ...same, body: 'body 2' }),
    message({ ...same, body: 'body 1' }),
    message({ id: null, subject: 'no id', body: 'a' }),
    message({ id: null, subject: 'no id', body: 'b' }),
    message({ id: `dots.${seed}`, subject: 'dots', body: '.\r\n..\r\n.x' }),
    message({ id: `8bit.${seed}`, subject: 'Gr\xfc\xdfe', body: '\xe4\xf6\xfc\x80\xff' }),
    message({ id: `large.${seed}`, subject: 'too large', body: 'L'.repeat(998).concat('\r\n').repeat(24) }),
    message({ id: `long.${seed}`, subject: 'longer', body: 'word '.repeat(1_500) }),
  ];
  const plain = Array.from({ length: random.int(3, 7) }, (_, n) =>
    message({ id: `${n}.${seed}`, subject: `message ${n}`, body: 'line\r\n'.repeat(random.int(1, 60)) }),
  );
  return shuffled([...tricky, ...plain], random);
}

interface Parts {
  id: string | null;
  subject: string;
  body: string;
}

export function message({ id, subject, body }: Parts): Buffer {
  const identity = id === null ? '' : `Message-ID: <${id}@example.test>\r\n`;
  const head = `From: a@example.test\r\nDate: Mon, 5 Feb 2024 10:11:12 +0000\r\nSubject: ${subject}\r\n`;
  return Buffer.from(`${identity}${head}\r\n${body}\r\n`, 'latin1');
}

function shuffled<T>(items: T[], random: Random): T[] {
  for (let at = items.length - 1; at > 0; at--) {
    const other = random.int(0, at);
    [items[at], items[other]] = [items[other] as T, items[at] as T];
  }
  return items;
}
