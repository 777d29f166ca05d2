import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseDate } from '../../src/domain/dates.ts';
import {
  digestOfAltered,
  isAlterationOf,
  keyedDigests,
  nomination,
  sha256,
} from '../../src/domain/fingerprint.ts';
import { headerBlock, topmostFields } from '../../src/domain/header.ts';
import { placement } from '../../src/domain/placement.ts';
import { repairsFor } from '../../src/domain/repair.ts';

const bytes = (text: string) => Buffer.from(text, 'latin1');

describe('headerBlock', () => {
  const cases: [string, string, string][] = [
    ['ends before the first empty line', 'A: 1\r\nB: 2\r\n\r\nbody\r\n\r\n', 'A: 1\r\nB: 2\r\n'],
    ['takes bare line feeds', 'A: 1\n\nbody', 'A: 1\n'],
    ['takes mixed line ends', 'A: 1\n\r\nbody', 'A: 1\n'],
    ['is empty where the message begins with an empty line', '\r\nbody', ''],
    ['is all of a message without an empty line', 'A: 1\r\nB: 2\r\n', 'A: 1\r\nB: 2\r\n'],
    ['is empty for an empty message', '', ''],
  ];
  for (const [name, message, header] of cases)
    it(name, () => assert.equal(headerBlock(bytes(message)).toString('latin1'), header));

  it('agrees with what TOP 0 shows: header and body make the message', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (name, body) => {
        const header = bytes(`X: ${name.replace(/[\r\n]/g, '')}\r\n`);
        const message = Buffer.concat([header, bytes('\r\n'), bytes(body)]);
        assert.deepEqual(headerBlock(message), header);
      }),
    );
  });
});

describe('topmostFields', () => {
  it('takes the topmost of each name, unfolded, whatever its case', () => {
    const header = bytes('RECEIVED: one;\r\n\tdate\r\nReceived: two\r\nDate : x\r\n');
    const fields = topmostFields(header, ['received', 'date']);
    assert.deepEqual(
      [...fields],
      [
        ['received', 'one;\tdate'],
        ['date', 'x'],
      ],
    );
  });
  it('passes lines over that are no field', () => {
    assert.deepEqual(
      [...topmostFields(bytes('From x Mon\r\nnonsense\r\nDate: d\r\n'), ['date'])],
      [['date', 'd']],
    );
  });
});

describe('parseDate', () => {
  const cases: [string, string | null][] = [
    ['Mon, 2 Jan 2023 10:20:30 +0200', '2023-01-02T08:20:30.000Z'],
    ['2 Jan 2023 10:20 -0500', '2023-01-02T15:20:00.000Z'],
    ['Mon, 02 Jan 23 10:20:30 EST (comment)', '2023-01-02T15:20:30.000Z'],
    ['Mon, 02 Jan 95 10:20:30 GMT', '1995-01-02T10:20:30.000Z'],
    ['Sat, 31 Dec 2016 23:59:60 +0000', '2016-12-31T23:59:59.000Z'],
    ['Thursday, 29-Feb-24 00:00:00 GMT', '2024-02-29T00:00:00.000Z'],
    ['31 Feb 2020 10:00:00 +0000', null],
    ['31 Dec 2037 23:00:00 -1200', null],
    ['1 Jan 2072 00:00:00 +0000', null],
    ['1 Jan 1955 00:00:00 +0000', null],
    ['1 Jan 2020 25:00:00 +0000', null],
    ['1 Jan 2020 10:00:00 +9999', null],
    ['1 Foo 2020 10:00:00 +0000', null],
    ['', null],
    ['yesterday', null],
  ];
  for (const [text, instant] of cases)
    it(`reads "${text}" as ${instant}`, () => assert.equal(parseDate(text)?.toISOString() ?? null, instant));

  it('never throws', () => {
    fc.assert(fc.property(fc.string(), (text) => void parseDate(text)));
  });
});

describe('placement', () => {
  const now = new Date('2026-11-01T12:00:00.500Z');
  const received = bytes(
    'Received: from a by b\r\n\tid 1; Mon, 2 Jan 2023 10:00:00 +0000\r\nReceived: c; Sun, 1 Jan 2023 10:00:00 +0000\r\n' +
      'Date: Sat, 31 Dec 2022 10:00:00 +0000\r\n\r\n',
  );
  const place = (message: Buffer, internalDate: 'received' | 'date' | 'now', days?: number) =>
    placement(
      message,
      { internalDate, seen: days === undefined ? { policy: 'none' } : { policy: 'olderThanDays', days } },
      now,
    );

  it('takes the topmost Received, else Date, else the time of the run in whole seconds', () => {
    assert.equal(place(received, 'received').internalDate.toISOString(), '2023-01-02T10:00:00.000Z');
    assert.equal(place(received, 'date').internalDate.toISOString(), '2022-12-31T10:00:00.000Z');
    assert.equal(place(received, 'now').internalDate.toISOString(), '2026-11-01T12:00:00.000Z');
    const absurd = bytes(
      'Received: x; 1 Jan 2072 00:00:00 +0000\r\nDate: Sat, 31 Dec 2022 10:00:00 +0000\r\n\r\n',
    );
    assert.equal(place(absurd, 'received').internalDate.toISOString(), '2022-12-31T10:00:00.000Z');
    assert.equal(
      place(bytes('no header'), 'received').internalDate.toISOString(),
      '2026-11-01T12:00:00.000Z',
    );
  });
  it('marks as seen by age', () => {
    assert.deepEqual(place(received, 'received', 30).flags, ['\\Seen']);
    assert.deepEqual(place(received, 'now', 30).flags, []);
  });
});

describe('fingerprints', () => {
  it('nominate a copy whose headers were munged or folded otherwise', () => {
    const sent = bytes('Subject: caf\xe9\r\n  noir\r\nMessage-ID: <1>\r\n\r\nb');
    const munged = bytes('Subject: cafX noir\r\nMessage-ID: <1>\r\n\r\nb');
    assert.equal(nomination(sent), nomination(munged));
    assert.notEqual(nomination(sent), nomination(bytes('Subject: other\r\nMessage-ID: <1>\r\n\r\nb')));
  });
  const sent = bytes('Subject: caf\xe9\r\n\r\na\0b\r\r\nc\n\xe9');
  it('confirm each alteration that servers were seen to make', () => {
    for (const copy of [
      'Subject: cafX\r\n\r\na\0b\r\r\nc\n\xe9',
      'Subject: caf\xe9\r\n\r\na\x80b\r\r\nc\n\xe9',
      'Subject: caf\xe9\r\n\r\na\0b\r\nc\r\n\xe9\r\n',
    ]) {
      assert.equal(digestOfAltered(bytes(copy)), digestOfAltered(sent), copy);
      assert.ok(isAlterationOf(sent, bytes(copy)), copy);
    }
  });
  it('confirm no other one, nor the same one the other way round', () => {
    for (const [message, copy] of [
      [sent, bytes('Subject: caf\xe9\r\n\r\na\0b\r\r\nc\n\xe8')],
      [bytes('Subject: cafX\r\n\r\n'), bytes('Subject: caf\xe9\r\n\r\n')],
      [bytes('Subject: caf\xe8\r\n\r\n'), bytes('Subject: caf\xe9\r\n\r\n')],
      [bytes('A: 1\r\n\r\n\x80'), bytes('A: 1\r\n\r\n\0')],
      [bytes('A: 1\r\n\r\nb\r\n'), bytes('A: 1\r\n\r\nb')],
      [bytes('A: 1\r\n\r\nb\r\n'), bytes('A: 1\r\n\r\nb\r\n\r\n')],
      [bytes('A: 1\r\n\r\nb'), bytes('A: 1\r\n\r\nbc')],
    ] as const)
      assert.ok(
        !isAlterationOf(message, copy),
        `${message.toString('latin1')} as ${copy.toString('latin1')}`,
      );
  });
  it('never call two equal messages different', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (octets) => {
        assert.ok(isAlterationOf(Buffer.from(octets), Buffer.from(octets)));
      }),
    );
  });
  it('depend on the key of the migration', () => {
    const one = keyedDigests(Buffer.alloc(32, 1));
    const two = keyedDigests(Buffer.alloc(32, 2));
    assert.notEqual(one.uidl('a'), two.uidl('a'));
    assert.match(one.uidl('a'), /^[0-9a-f]{24}$/);
    assert.match(one.fingerprint(bytes('A: 1\r\n\r\n')), /^[0-9a-f]{16}$/);
  });
  it('take the header alone, so that TOP gives the same as RETR', () => {
    const { fingerprint } = keyedDigests(Buffer.alloc(32, 1));
    assert.equal(fingerprint(bytes('A: 1\r\n\r\nbody')), fingerprint(bytes('A: 1\r\n\r\n')));
  });
});

describe('repairsFor', () => {
  const nul = bytes('A: 1\r\n\r\n\0\nx\ry');
  it('climbs only the rungs that are allowed, offered and of use', () => {
    const rungs = (allowed: ('literal8' | 'lineEndings')[], literal8: boolean, message = nul) =>
      repairsFor(message, allowed, { literal8 }).map((form) => [form.repair, form.literal8]);
    assert.deepEqual(rungs(['literal8', 'lineEndings'], true), [
      ['literal8', true],
      ['lineEndings', true],
    ]);
    assert.deepEqual(rungs(['lineEndings'], true), [['lineEndings', false]]);
    assert.deepEqual(rungs(['literal8', 'lineEndings'], false), [['lineEndings', false]]);
    assert.deepEqual(rungs(['literal8', 'lineEndings'], true, bytes('A: 1\r\n\r\nx\r\n')), []);
    assert.deepEqual(rungs([], true), []);
  });
  it('turns bare line ends into CRLF and nothing else', () => {
    const [form] = repairsFor(nul, ['lineEndings'], { literal8: false });
    assert.deepEqual(form?.bytes, bytes('A: 1\r\n\r\n\0\r\nx\r\ny'));
    assert.equal(sha256(nul), sha256(bytes('A: 1\r\n\r\n\0\nx\ry')), 'the message itself is left as it was');
  });
});
