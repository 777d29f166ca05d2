import { connect, type Socket } from 'node:net';

/** RFC 8305 section 5: "Connection Attempt Delay", recommended 250 ms. */
const ATTEMPT_DELAY_MS = 250;
/** Finds dead peers through NATs that forget idle connections after a minute. */
const KEEP_ALIVE_MS = 30_000;

/**
 * Connects to the first of the addresses that answers: one after the other, the next one when the last failed or
 * is slow (RFC 8305, without its racing of the lookups). What comes second is destroyed. The socket has an `error` listener
 * that does nothing, so that an error before the taker adds its own ends in `close` only.
 * @throws AggregateError of Node's errors when every address failed; the signal's reason
 */
export function connectAny(addresses: readonly string[], port: number, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const pending = new Set<Socket>();
    const failures: Error[] = [];
    let next = 0;
    let timer: NodeJS.Timeout | undefined;

    const settle = (act: () => void) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      for (const socket of pending) socket.destroy();
      pending.clear();
      act();
    };
    const onAbort = () => settle(() => reject(signal.reason));
    const attempt = () => {
      clearTimeout(timer);
      const host = addresses[next++];
      if (host === undefined) return;
      const keep = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS };
      const socket = connect({ host, port, ...keep });
      pending.add(socket);
      socket.once('connect', () => {
        pending.delete(socket);
        settle(() => resolve(socket));
      });
      socket.on('error', (error) => {
        if (!pending.delete(socket)) return;
        failures.push(error);
        if (next < addresses.length) attempt();
        else if (pending.size === 0) settle(() => reject(new AggregateError(failures)));
      });
      if (next < addresses.length) timer = setTimeout(attempt, ATTEMPT_DELAY_MS);
    };

    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    attempt();
  });
}

/** The families in turn, IPv6 first, each in the resolver's order (RFC 8305 section 4). */
export function interleave(addresses: readonly string[]): string[] {
  const six = addresses.filter((address) => address.includes(':'));
  const four = addresses.filter((address) => !address.includes(':'));
  const longer = Math.max(six.length, four.length);
  return Array.from({ length: longer }, (_, index) => [six[index], four[index]])
    .flat()
    .filter((address) => address !== undefined);
}
