import { createHash } from 'node:crypto';
import type { MessageDetail } from '../../src/domain/migration.ts';
import type { ReadMessage } from '../../test/support/pop3-reader.ts';
import type { StoredMessage } from './destination.ts';

/** What came of each message, found by comparing both mailboxes from outside. */
export interface Proof {
  messages: number;
  bytes: number;
  /** Copies with the same SHA-256. */
  equal: number;
  /** Messages that the service named as altered by the destination, and whose copy is there. */
  altered: string[];
  /** Messages without any copy. */
  missing: string[];
  /** Copies that no message accounts for: duplicates, or strangers. */
  surplus: number;
  /** UIDs ascend in the order of the source. */
  inOrder: boolean;
}

/**
 * Pairs messages and copies one to one, by the SHA-256 of all bytes. What the service named as altered is paired
 * by the UID that it named.
 */
export function prove(
  source: readonly ReadMessage[],
  copies: readonly StoredMessage[],
  altered: readonly MessageDetail[],
  names: readonly string[],
): Proof {
  const unclaimed = new Map(copies.map((copy) => [copy.uid, copy]));
  const byDigest = Map.groupBy(copies, ({ bytes }) => sha256(bytes));
  const namedUid = new Map(altered.map(({ uidl, uid }) => [uidl, uid]));
  const proof: Proof = {
    messages: source.length,
    bytes: 0,
    equal: 0,
    altered: [],
    missing: [],
    surplus: 0,
    inOrder: true,
  };
  let lastUid = 0;
  for (const [index, message] of source.entries()) {
    const name = names[index] ?? `message ${index + 1}`;
    const same = byDigest.get(sha256(message.bytes))?.shift()?.uid;
    const uid = same ?? namedUid.get(message.uidl) ?? null;
    proof.bytes += message.bytes.length;
    if (uid === null || !unclaimed.delete(uid)) proof.missing.push(name);
    else if (same === undefined) proof.altered.push(name);
    else proof.equal++;
    proof.inOrder &&= uid === null || uid > lastUid;
    lastUid = uid ?? lastUid;
  }
  proof.surplus = unclaimed.size;
  return proof;
}

/** True when every message is there exactly once, and what is not equal was named by the service, and only that. */
export function holds(proof: Proof, altered: readonly MessageDetail[]): boolean {
  const { messages, equal, missing, surplus } = proof;
  return (
    messages > 0 &&
    missing.length === 0 &&
    surplus === 0 &&
    proof.altered.length === altered.length &&
    equal + altered.length === messages
  );
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
