import type { Repair, RepairRung } from './migration.ts';

/** What a message is sent as on a rung of the ladder. */
export interface Repaired {
  repair: Repair;
  bytes: Buffer;
  literal8: boolean;
}

export function asIs(message: Buffer): Repaired {
  return { repair: null, bytes: message, literal8: false };
}

/**
 * The rungs that may help a message that was refused as it is, mildest first: those that the options allow, that
 * the server can take, and that change how the message is sent. Deterministic, so that a resumed run sends the
 * same bytes.
 */
export function repairsFor(
  message: Buffer,
  allowed: readonly RepairRung[],
  server: { literal8: boolean },
): Repaired[] {
  // RFC 3516: only a literal8 may hold NUL.
  const literal8 = server.literal8 && allowed.includes('literal8') && message.includes(0);
  const rungs: Repaired[] = literal8 ? [{ repair: 'literal8', bytes: message, literal8 }] : [];
  const bytes = withCrlf(message);
  if (allowed.includes('lineEndings') && !bytes.equals(message))
    rungs.push({ repair: 'lineEndings', bytes, literal8 });
  return rungs;
}

/** What a message was sent as when its record names this rung. */
export function formSent(message: Buffer, repair: Repair): Repaired {
  const rungs = repairsFor(message, ['literal8', 'lineEndings'], { literal8: true });
  return rungs.find((form) => form.repair === repair) ?? asIs(message);
}

/** Bare LF and bare CR become CRLF (RFC 5322 section 2.3). */
export function withCrlf(message: Buffer): Buffer {
  return Buffer.from(message.toString('latin1').replace(/\r\n|\r|\n/g, '\r\n'), 'latin1');
}
