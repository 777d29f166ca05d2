import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { holds, type Proof, prove } from '../../bin/demo/proof.ts';
import type { MessageDetail } from '../../src/domain/migration.ts';

const names = ['first', 'second', 'third'];
const source = ['one', 'twin', 'twin'].map((text, index) => ({
  uidl: `u${index + 1}`,
  size: text.length,
  bytes: Buffer.from(text),
}));

describe('the proof of the demo', () => {
  it('holds when every message is there once, twins included', () => {
    const { proof, good } = judge(['one', 'twin', 'twin']);
    assert.deepEqual(
      { equal: proof.equal, inOrder: proof.inOrder, good },
      { equal: 3, inOrder: true, good: true },
    );
  });

  it('names a message that is missing', () => {
    const { proof, good } = judge(['one', 'twin']);
    assert.deepEqual({ missing: proof.missing, good }, { missing: ['third'], good: false });
  });

  it('counts a copy too many', () => {
    const { proof, good } = judge(['one', 'twin', 'twin', 'one']);
    assert.deepEqual({ surplus: proof.surplus, good }, { surplus: 1, good: false });
  });

  it('does not accept other bytes that nobody reported', () => {
    const { proof, good } = judge(['One', 'twin', 'twin']);
    assert.deepEqual({ missing: proof.missing, good }, { missing: ['first'], good: false });
  });

  it('accepts other bytes that the service reported under this UID', () => {
    const { proof, good } = judge(['One', 'twin', 'twin'], [{ uidl: 'u1', uid: 1 }]);
    assert.deepEqual({ altered: proof.altered, good }, { altered: ['first'], good: true });
  });

  it('does not accept a report of alteration where the bytes are equal', () => {
    assert.equal(judge(['one', 'twin', 'twin'], [{ uidl: 'u1', uid: 1 }]).good, false);
  });

  it('sees that copies lie in another order', () => {
    assert.equal(judge(['twin', 'one', 'twin']).proof.inOrder, false);
  });

  it('does not hold for an empty mailbox', () => {
    assert.equal(holds(prove([], [], [], []), []), false);
  });
});

function judge(
  copies: string[],
  reported: { uidl: string; uid: number }[] = [],
): { proof: Proof; good: boolean } {
  const stored = copies.map((text, index) => ({ uid: index + 1, bytes: Buffer.from(text) }));
  const altered = reported.map(detail);
  const proof = prove(source, stored, altered, names);
  return { proof, good: holds(proof, altered) };
}

function detail({ uidl, uid }: { uidl: string; uid: number }): MessageDetail {
  const nothing = { reason: null, repair: null, folder: null, sha256: null };
  const header = { subject: null, from: null, date: null, messageId: null };
  return { uidl, uid, size: 3, outcome: 'copied', altered: true, ...nothing, ...header };
}
