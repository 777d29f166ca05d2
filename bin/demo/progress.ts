import { setTimeout as delay } from 'node:timers/promises';
import type { Migration } from '../../src/domain/migration.ts';
import { isEnded } from '../../src/domain/state.ts';
import type { Service, Update } from './service.ts';

const WIDTH = 32;
const POLL_MS = 500;
const LIMIT_MS = 300_000;

/**
 * Follows a migration to its end and shows it: one moving line on a terminal, a line each tenth elsewhere. The
 * picture comes from the events; the end is asked for as well, because a stream may break.
 * @throws Error when it has not ended within five minutes
 */
export async function follow(service: Service, id: string, signal: AbortSignal): Promise<Migration> {
  const show = process.stdout.isTTY ? movingLine : lineEachTenth();
  const stop = new AbortController();
  const live = watch(service.updates(id, AbortSignal.any([signal, stop.signal])), show).catch(
    () => undefined,
  );
  try {
    return await untilEnded(service, id, show, signal);
  } finally {
    stop.abort();
    await live;
    if (process.stdout.isTTY) process.stdout.write('\n');
  }
}

async function untilEnded(
  service: Service,
  id: string,
  show: (update: Update) => void,
  signal: AbortSignal,
): Promise<Migration> {
  const deadline = performance.now() + LIMIT_MS;
  for (;;) {
    const migration = await service.get<Migration>(`/v1/migrations/${id}`);
    show(migration);
    if (isEnded(migration.state)) return migration;
    if (performance.now() > deadline) throw new Error(`no end in sight: ${describe(migration)}`);
    await delay(POLL_MS, undefined, { signal });
  }
}

/** Returns when the migration has ended or the stream has. */
async function watch(updates: AsyncGenerator<Update>, show: (update: Update) => void): Promise<void> {
  for await (const update of updates) {
    show(update);
    if (isEnded(update.state)) return;
  }
}

function share({ progress }: Update): number | null {
  const { total, remaining } = progress.messages;
  if (total === null || remaining === null) return null;
  return total === 0 ? 1 : (total - remaining) / total;
}

function describe(update: Update): string {
  const { messages, messagesPerSecond, bytesPerSecond } = update.progress;
  const state = update.stateReason === null ? update.state : `${update.state}: ${update.stateReason}`;
  if (messages.total === null || messages.remaining === null) return state;
  const rate = messagesPerSecond === null ? '' : `  ${messagesPerSecond.toFixed(0)} msg/s`;
  const flow = bytesPerSecond === null ? '' : `  ${(bytesPerSecond / 1e6).toFixed(1)} MB/s`;
  return `${messages.total - messages.remaining}/${messages.total} messages${rate}${flow}  ${state}`;
}

function movingLine(update: Update): void {
  const filled = Math.round((share(update) ?? 0) * WIDTH);
  const bar = '█'.repeat(filled) + '░'.repeat(WIDTH - filled);
  process.stdout.write(`\r\x1b[K  ${bar}  ${describe(update)}`);
}

function lineEachTenth(): (update: Update) => void {
  let last = '';
  return (update) => {
    const key = `${update.state} ${Math.floor((share(update) ?? -1) * 10)}`;
    if (key !== last) console.log(`  ${describe(update)}`);
    last = key;
  };
}
