import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { MAX_STATUS_BYTES, Pop3Decoder } from '../../src/pop3/decoder.ts';
import { OctetSink } from '../../src/pop3/octets.ts';
import { hardCases, hugeMessage } from '../support/messages.ts';
import { stuffed } from '../support/pop3-server.ts';
import { Random } from '../support/random.ts';

interface Decoded {
  status: string;
  body: Buffer | null;
}

/** Decodes `+OK lines` as a status line with lines behind it, and every other one as a single line. */
function decode(chunks: Iterable<Buffer>, expected = 0): { answers: Decoded[]; garbage: (string | null)[] } {
  const answers: Decoded[] = [];
  const garbage: (string | null)[] = [];
  let sink = new OctetSink(expected, Number.MAX_SAFE_INTEGER);
  const decoder = new Pop3Decoder({
    status(line) {
      const status = line.toString('latin1');
      answers.push({ status, body: null });
      sink = new OctetSink(expected, Number.MAX_SAFE_INTEGER);
      return status === '+OK lines' ? sink : null;
    },
    end() {
      const answer = answers.at(-1);
      if (answer !== undefined) answer.body = sink.take();
    },
    garbage: (line) => garbage.push(line?.toString('latin1') ?? null),
  });
  for (const chunk of chunks) decoder.push(chunk);
  return { answers, garbage };
}

function answerOf(message: Buffer): Buffer {
  return Buffer.concat([Buffer.from('+OK lines\r\n'), stuffed(message), Buffer.from('.\r\n')]);
}

function cutAt(bytes: Buffer, borders: readonly number[]): Buffer[] {
  const all = [0, ...[...borders].sort((a, b) => a - b), bytes.length];
  return all.slice(1).map((to, index) => bytes.subarray(all[index], to));
}

/** What POP3 delivers of these bytes: servers end the last line. */
function delivered(bytes: Buffer): Buffer {
  const ended = bytes.length === 0 || bytes.subarray(-2).equals(Buffer.from('\r\n'));
  return ended ? bytes : Buffer.concat([bytes, Buffer.from('\r\n')]);
}

/** Two answers in a row and a single line behind them, so that an end found too early or late is seen. */
function assertSame(message: Buffer, borders: readonly number[], expected = 0): void {
  const wire = Buffer.concat([answerOf(message), answerOf(message), Buffer.from('+OK bye\r\n')]);
  const { answers, garbage } = decode(cutAt(wire, borders), expected);
  assert.deepEqual(garbage, []);
  assert.deepEqual(
    answers.map(({ status }) => status),
    ['+OK lines', '+OK lines', '+OK bye'],
  );
  for (const { body } of answers.slice(0, 2)) assert.ok(body?.equals(message), 'other bytes');
}

suite('the POP3 decoder', () => {
  const cases = hardCases().map(({ name, bytes }) => ({ name, bytes: delivered(bytes) }));
  const wireLength = (message: Buffer) => 2 * answerOf(message).length + '+OK bye\r\n'.length;

  for (const { name, bytes } of cases) {
    const length = wireLength(bytes);
    if (length <= 4_000) {
      test(`gives the same bytes at every border: ${name}`, () => {
        for (let border = 1; border < length; border++) assertSame(bytes, [border]);
        assertSame(
          bytes,
          Array.from({ length }, (_, n) => n),
        );
      });
    } else {
      test(`gives the same bytes at random borders: ${name}`, () => {
        const border = fc.integer({ min: 0, max: length });
        fc.assert(
          fc.property(
            fc.array(border, { minLength: 50, maxLength: 200 }),
            fc.nat(2 * bytes.length),
            (borders, expected) => assertSame(bytes, borders, expected),
          ),
          { numRuns: 50 },
        );
      });
    }
  }

  test('gives the same bytes of a message of 20 MB at thousands of random borders', () => {
    const message = hugeMessage();
    const random = new Random(1);
    const length = wireLength(message);
    assertSame(
      message,
      Array.from({ length: 5_000 }, () => random.int(0, length)),
      message.length,
    );
  });

  test('gives the same bytes of any octets at any borders', () => {
    const octet = fc.constantFrom(0x0d, 0x0a, 0x2e, 0x2e, 0x00, 0x61, 0xff);
    const message = fc.array(octet, { maxLength: 60 }).map((octets) => delivered(Buffer.from(octets)));
    fc.assert(
      fc.property(message, fc.array(fc.nat(160), { maxLength: 20 }), (bytes, borders) => {
        const length = wireLength(bytes);
        assertSame(
          bytes,
          borders.map((border) => Math.min(border, length)),
        );
      }),
      { numRuns: 5_000 },
    );
  });

  test('strips the first dot of a line even where the server stuffed nothing', () => {
    const { answers } = decode([Buffer.from('+OK lines\r\n.x\r\n.\rx\r\n.\r\r\n.\r\n')]);
    assert.equal(answers[0]?.body?.toString(), 'x\r\n\rx\r\n\r\r\n');
  });

  test('tells an empty message from one of an empty line', () => {
    const { answers } = decode([Buffer.from('+OK lines\r\n.\r\n+OK lines\r\n\r\n.\r\n')]);
    assert.deepEqual(
      answers.map(({ body }) => body?.toString()),
      ['', '\r\n'],
    );
  });

  test('stops at what is no answer and shows the line', () => {
    const { answers, garbage } = decode([Buffer.from('+OK\r\n220 smtp ready\r\n+OK\r\n')]);
    assert.deepEqual(garbage, ['220 smtp ready']);
    assert.equal(answers.length, 1);
  });

  test('does not wait for the end of a line that cannot be an answer', () => {
    assert.deepEqual(decode([Buffer.from('\x16\x03\x01')]).garbage, [null]);
  });

  test('refuses a status line without end', () => {
    const endless = Buffer.from(`+OK ${'x'.repeat(MAX_STATUS_BYTES)}`);
    assert.deepEqual(decode([endless]).garbage, [null]);
    assert.deepEqual(decode([endless.subarray(0, 5000), endless.subarray(5000)]).garbage, [null]);
    assert.deepEqual(decode([Buffer.concat([endless, Buffer.from('\r\n')])]).garbage, [null]);
  });
});

suite('a sink of octets', () => {
  const chunk = Buffer.from('0123456789');

  test('gives what it took, however wrong the expected size was', () => {
    for (const expected of [0, 1, 19, 20, 21, 1_000_000]) {
      const sink = new OctetSink(expected, 1_000_000);
      sink.append(chunk, 0, 10);
      sink.append(chunk, 5, 10);
      sink.append(chunk, 0, 5);
      assert.equal(sink.length, 20);
      assert.equal(sink.take().toString(), '01234567895678901234');
    }
  });

  test('tells when it outgrows what was expected', () => {
    const capacities: number[] = [];
    const sink = new OctetSink(10, 1_000_000, (capacity) => capacities.push(capacity));
    for (let n = 0; n < 10; n++) sink.append(chunk, 0, 10);
    assert.ok((capacities.at(-1) ?? 0) >= 100);
    assert.deepEqual(
      capacities,
      [...capacities].sort((a, b) => a - b),
    );
  });

  test('holds nothing of what is larger than allowed', () => {
    const sink = new OctetSink(10, 25);
    for (let n = 0; n < 3; n++) sink.append(chunk, 0, 10);
    sink.append(chunk, 0, 1);
    assert.equal(sink.overflowed, true);
    assert.equal(sink.length, 0);
    assert.equal(sink.take().length, 0);
  });

  test('does not keep a large buffer for a small message', () => {
    const sink = new OctetSink(1_000_000, 2_000_000);
    sink.append(chunk, 0, 10);
    assert.ok(sink.take().buffer.byteLength < 100_000);
  });
});
