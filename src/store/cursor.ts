/** Where a page ended. `sort` is the order it belongs to. */
export interface Position {
  id: string;
  key: string | number;
}

export function toCursor(sort: string, { id, key }: Position): string {
  return Buffer.from(JSON.stringify([sort, key, id])).toString('base64url');
}

/** @throws RangeError for what `toCursor` did not make, or made for another order */
export function parseCursor(cursor: string, sort: string): Position {
  const [ofSort, key, id] = decoded(cursor);
  if (ofSort !== sort || (typeof key !== 'string' && typeof key !== 'number') || typeof id !== 'string')
    throw new RangeError('the cursor is none that this list gave out');
  return { id, key };
}

function decoded(cursor: string): unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    return Array.isArray(value) && value.length === 3 ? value : [];
  } catch {
    return [];
  }
}
