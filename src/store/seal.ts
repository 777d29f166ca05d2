import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** What a sealed text belongs to: it opens nowhere else. */
export interface SealContext {
  tenant: string;
  migrationId: string;
  purpose: 'source' | 'destination';
}

export interface Sealer {
  /** `1.keyId.base64url(nonce, ciphertext, tag)` */
  seal(plain: string, context: SealContext): string;
  /** @throws SealError */
  open(sealed: string, context: SealContext): string;
}

/** Says why a sealed text does not open, never what stands in it. */
export class SealError extends Error {
  override readonly name = 'SealError';
}

/**
 * AES-256-GCM under a ring of keys, `id:base64(32 bytes),…`: the first seals, all open. Tenant, migration and
 * purpose are associated data.
 * @throws RangeError for a ring that is none; never repeats a key
 */
export function createSealer(ring: string): Sealer {
  const keys = parseRing(ring);
  const [first] = keys;
  if (first === undefined) throw new RangeError('the ring of secret keys is empty');
  const [sealingId, sealingKey] = first;
  return {
    seal: (plain, context) => {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(CIPHER, sealingKey, nonce);
      cipher.setAAD(associatedData(sealingId, context));
      const sealed = Buffer.concat([
        nonce,
        cipher.update(plain, 'utf8'),
        cipher.final(),
        cipher.getAuthTag(),
      ]);
      return `1.${sealingId}.${sealed.toString('base64url')}`;
    },
    open: (sealed, context) => open(keys, sealed, context),
  };
}

function parseRing(ring: string): Map<string, Buffer> {
  const keys = new Map<string, Buffer>();
  for (const [at, entry] of ring.split(',').entries()) {
    const match = /^([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/_-]{43}=?)$/.exec(entry.trim());
    const key = Buffer.from(match?.[2] ?? '', 'base64');
    if (match?.[1] === undefined || key.length !== KEY_BYTES)
      throw new RangeError(`secret key ${at + 1} is not id:base64(32 bytes)`);
    if (keys.has(match[1])) throw new RangeError(`secret key ${at + 1} has the id of another one`);
    keys.set(match[1], key);
  }
  return keys;
}

function open(keys: ReadonlyMap<string, Buffer>, sealed: string, context: SealContext): string {
  const [version, keyId = '', body = ''] = sealed.split('.');
  if (version !== '1') throw new SealError(`sealed in format ${version}, which this version does not know`);
  const key = keys.get(keyId);
  if (key === undefined) throw new SealError(`sealed with the key "${keyId}", which is not in the ring`);
  const bytes = Buffer.from(body, 'base64url');
  if (bytes.length < NONCE_BYTES + TAG_BYTES) throw new SealError('the sealed text is cut short');
  const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(associatedData(keyId, context));
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  try {
    const plain = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES));
    return Buffer.concat([plain, decipher.final()]).toString('utf8');
  } catch {
    throw new SealError('the sealed text was changed, or belongs elsewhere');
  }
}

function associatedData(keyId: string, { tenant, migrationId, purpose }: SealContext): Buffer {
  return Buffer.from(JSON.stringify(['popbridge', 1, keyId, tenant, migrationId, purpose]));
}
