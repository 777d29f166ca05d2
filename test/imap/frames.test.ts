import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type AppendLiteral, appendFrames, permits, quoted } from '../../src/imap/frames.ts';
import { parseUidSet, uidSets } from '../../src/imap/uid-set.ts';
import { uid } from '../support/imap-target.ts';

const DATE = new Date('2014-03-03T10:20:30.999Z');
const HEAD = '() "03-Mar-2014 10:20:30 +0000"';

function literal(text: string, more: Partial<AppendLiteral> = {}): AppendLiteral {
  return { octets: Buffer.from(text), flags: [], internalDate: DATE, literal8: false, ...more };
}

function textOf(parts: Buffer[][]): string[] {
  return parts.map((part) => Buffer.concat(part).toString('latin1'));
}

describe('the octets of an APPEND', () => {
  it('hold back the last message only, where the others may run', () => {
    const group = [literal('one'), literal('two', { literal8: true, flags: ['\\Seen'] }), literal('{4+}')];
    assert.deepEqual(textOf(appendFrames('A APPEND "x"', group, () => true)), [
      `A APPEND "x" ${HEAD} {3+}\r\none (\\Seen) "03-Mar-2014 10:20:30 +0000" ~{3+}\r\ntwo ${HEAD} {4}\r\n`,
      '{4+}\r\n',
    ]);
  });

  it('stop at each message that must wait for the server', () => {
    const group = [literal('one'), literal('two'), literal('three')];
    assert.deepEqual(textOf(appendFrames('A', group, ({ octets }) => octets.toString() === 'two')), [
      `A ${HEAD} {3}\r\n`,
      `one ${HEAD} {3+}\r\ntwo ${HEAD} {5}\r\n`,
      'three\r\n',
    ]);
  });

  it('are the same octets whoever waits where, counted by their announcements', () => {
    const message = fc.record({
      octets: fc.uint8Array({ minLength: 1, maxLength: 50 }),
      waits: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 9 }), (messages) => {
        const group = messages.map(({ octets }) => literal('', { octets: Buffer.from(octets) }));
        const parts = appendFrames('A', group, (one) => messages[group.indexOf(one)]?.waits === false);
        assert.deepEqual(
          read(Buffer.concat(parts.flat())),
          group.map(({ octets }) => octets),
        );
        for (const part of parts.slice(0, -1)) assert.match(part.at(-1)?.toString() ?? '', /\{\d+\}\r\n$/);
        assert.deepEqual(parts.at(-1), [group.at(-1)?.octets, Buffer.from('\r\n')]);
      }),
    );
  });

  it('are not made of what a server could refuse before it has read them', () => {
    for (const bad of [
      literal(''),
      literal('x', { flags: ['\\Recent'] }),
      literal('x', { internalDate: new Date(-1) }),
    ])
      assert.throws(() => appendFrames('A', [literal('x'), bad], () => true), RangeError);
  });

  it('run by themselves up to what the extension allows', () => {
    assert.deepEqual(
      (['all', 'small', 'none'] as const).map((kind) => [1, 4_096, 4_097].map((size) => permits(kind, size))),
      [
        [true, true, true],
        [true, true, false],
        [false, false, false],
      ],
    );
  });

  it('quote names', () => {
    assert.equal(quoted('a "b" \\c'), '"a \\"b\\" \\\\c"');
  });
});

describe('UID sets', () => {
  it('name each UID once and no other, in lines of bounded length', () => {
    const uids = fc.array(fc.integer({ min: 1, max: 300 }).map(uid));
    fc.assert(
      fc.property(uids, fc.integer({ min: 7, max: 40 }), (wanted, bytes) => {
        const sets = uidSets(wanted, bytes);
        for (const set of sets) assert.ok(set.length <= bytes);
        const named = sets.flatMap(expand);
        assert.deepEqual(
          named,
          [...new Set(wanted)].sort((a, b) => a - b),
        );
      }),
    );
    assert.deepEqual(uidSets([3, 1, 2, 7, 9, 10].map(uid)), ['1:3,7,9:10']);
  });

  it('of an APPENDUID are read as the server ordered them, and only when they can be the answer', () => {
    assert.deepEqual(parseUidSet('5:7', 3), [5, 6, 7]);
    assert.deepEqual(parseUidSet('7:5', 3), [5, 6, 7]);
    assert.deepEqual(parseUidSet('1,3:4', 3), [1, 3, 4]);
    for (const odd of [
      '',
      '0',
      '5:8',
      '5:6',
      '5,5,6',
      '6,5,7',
      'x',
      '1:4294967296',
      '1:99999999999',
      '5:6:7',
    ])
      assert.equal(parseUidSet(odd, 3), null, odd);
  });
});

/** As a server reads: announcements are counted, never searched. */
function read(wire: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  let at = 0;
  for (;;) {
    const end = wire.indexOf('\r\n', at);
    const count = /\{(\d+)\+?\}$/.exec(wire.toString('latin1', at, end))?.[1];
    at = end + 2;
    if (count === undefined) break;
    messages.push(wire.subarray(at, at + Number(count)));
    at += Number(count);
  }
  assert.equal(at, wire.length);
  return messages;
}

function expand(set: string): number[] {
  return set.split(',').flatMap((range) => {
    const [low = 0, high = low] = range.split(':').map(Number);
    return Array.from({ length: high - low + 1 }, (_, n) => low + n);
  });
}
