import { BridgeError } from '../domain/errors.ts';

/**
 * Runs `work` with a signal that aborts with `signal`, or after `ms` with a BridgeError `timeout`.
 * @param what for the error's detail
 * @throws the reason of the abort, whatever `work` made of it; else what `work` throws
 */
export async function within<T>(
  ms: number,
  what: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const both = new AbortController();
  const onAbort = () => both.abort(signal.reason);
  const expire = () => {
    both.abort(new BridgeError('timeout', { side: 'source', detail: `${what}: not done in ${ms / 1000} s` }));
  };
  const timer = setTimeout(expire, ms);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await work(both.signal);
  } catch (error) {
    throw both.signal.aborted ? both.signal.reason : error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}
