import { ProblemError } from './problems.ts';

/** A page, where the store throws RangeError for a cursor that it did not give out. @throws ProblemError 400 */
export async function checkedCursor<T>(page: Promise<T>): Promise<T> {
  try {
    return await page;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const detail = 'is not a nextCursor of this list';
    const errors = [{ pointer: '/query/cursor', code: 'invalid_value', detail }];
    throw new ProblemError('invalid_request', `/query/cursor ${detail}.`, { errors, cause: error });
  }
}
