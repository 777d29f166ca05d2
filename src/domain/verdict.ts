import type { BridgeError, ErrorCode } from './errors.ts';
import type { Progress, WaitReason } from './migration.ts';
import type { RunEnd, Wanted } from './ports.ts';
import type { TransferResult } from './transfer.ts';

const FIRST_WAIT_MS = 15_000;
const LONGEST_WAIT_MS = 15 * 60_000;
/** About a day of waiting for a server that never answers. */
const MOST_WAITS = 100;

const WAIT_REASONS: Partial<Record<ErrorCode, WaitReason>> = {
  mailbox_locked: 'mailbox_locked',
  login_delay: 'login_delay',
  over_quota: 'over_quota',
  throttled: 'throttled',
  destination_busy: 'destination_busy',
};

const NEEDS_CREDENTIALS: readonly ErrorCode[] = [
  'authentication_failed',
  'invalid_credentials',
  'credentials_required',
];

/** How a run that came to its own end, or was asked to stop, leaves the migration. */
export function endOfTransfer(result: TransferResult, wanted: Wanted): RunEnd {
  const progress = atRest(result.progress);
  if (result.kind === 'complete') {
    const state = result.failed > 0 ? 'completedWithFailures' : 'completed';
    return { state, stateReason: null, nextRunAt: null, error: null, progress, passComplete: true };
  }
  // Neither paused nor canceled: the worker shuts down and hands the job back.
  const state = wanted === 'pause' ? 'paused' : wanted === 'run' ? 'queued' : 'canceled';
  return { state, stateReason: null, nextRunAt: null, error: null, progress, passComplete: false };
}

/**
 * How a fault leaves the migration.
 * @param waits runs in a row before this one that ended waiting and settled nothing
 */
export function endOfFault(error: BridgeError, waits: number, now: Date): RunEnd {
  const base = { error: error.report(), progress: null, passComplete: false };
  if (NEEDS_CREDENTIALS.includes(error.code))
    return { ...base, state: 'waiting', stateReason: 'credentials_required', nextRunAt: null };
  if (error.recovery === 'final' || waits >= MOST_WAITS)
    return { ...base, state: 'failed', stateReason: null, nextRunAt: null };
  const wait = error.waitMs ?? Math.min(FIRST_WAIT_MS * 2 ** Math.min(waits, 16), LONGEST_WAIT_MS);
  return {
    ...base,
    state: 'waiting',
    stateReason: WAIT_REASONS[error.code] ?? 'unreachable',
    nextRunAt: new Date(now.getTime() + wait),
  };
}

/** Nothing moves any more: no rate and no time to go. */
function atRest(progress: Progress): Progress {
  return { ...progress, messagesPerSecond: null, bytesPerSecond: null, etaSeconds: null };
}
