import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createSealer } from '../../src/store/index.ts';
import { SealError } from '../../src/store/seal.ts';

const key = (byte: number) => Buffer.alloc(32, byte).toString('base64');
const CONTEXT = { tenant: 'default', migrationId: 'mig_1', purpose: 'source' } as const;

describe('a sealed secret', () => {
  it('opens with the key that sealed it, wherever that stands in the ring', () => {
    const sealed = createSealer(`old:${key(1)}`).seal('geheim 🔑', CONTEXT);
    assert.equal(createSealer(`new:${key(2)},old:${key(1)}`).open(sealed, CONTEXT), 'geheim 🔑');
    const fresh = createSealer(`new:${key(2)},old:${key(1)}`).seal('x', CONTEXT);
    assert.match(fresh, /^1\.new\./);
  });

  it('does not open for another tenant, migration or purpose', () => {
    const sealer = createSealer(`k:${key(1)}`);
    const sealed = sealer.seal('secret', CONTEXT);
    for (const other of [{ tenant: 'other' }, { migrationId: 'mig_2' }, { purpose: 'destination' as const }])
      assert.throws(() => sealer.open(sealed, { ...CONTEXT, ...other }), SealError);
  });

  it('does not open after any change of any byte', () => {
    const sealer = createSealer(`k:${key(1)}`);
    const [version, id, body = ''] = sealer.seal('secret', CONTEXT).split('.');
    const bytes = Buffer.from(body, 'base64url');
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      const text = [version, id, changed.toString('base64url')].join('.');
      assert.throws(() => sealer.open(text, CONTEXT), SealError);
    }
    assert.throws(() => sealer.open('1.k.', CONTEXT), SealError);
  });

  it('names the key that is missing, and a format that is newer', () => {
    const sealed = createSealer(`old:${key(1)}`).seal('secret', CONTEXT);
    const sealer = createSealer(`new:${key(2)}`);
    assert.throws(() => sealer.open(sealed, CONTEXT), /"old"/);
    assert.throws(() => sealer.open(sealed.replace('1.', '2.'), CONTEXT), /format 2/);
  });

  it('never looks the same twice', () => {
    const sealer = createSealer(`k:${key(1)}`);
    assert.notEqual(sealer.seal('secret', CONTEXT), sealer.seal('secret', CONTEXT));
  });

  it('needs a ring of whole keys with names of their own, and repeats none of them', () => {
    const short = Buffer.alloc(31, 65).toString('base64');
    for (const ring of ['', 'k', `k:${short}`, `:${key(1)}`, `k:${key(1)},k:${key(2)}`, `k:${key(1)},`])
      assert.throws(
        () => createSealer(ring),
        (error) =>
          error instanceof RangeError && !error.message.includes(short) && !error.message.includes(key(1)),
        ring,
      );
  });
});
