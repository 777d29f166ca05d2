import type { MigrationState } from './migration.ts';

/** The state machine of the REST contract: from each state, where it may go. */
export const TRANSITIONS: Readonly<Record<MigrationState, readonly MigrationState[]>> = {
  queued: ['running', 'paused', 'canceled'],
  running: [
    'waiting',
    'pausing',
    'canceling',
    'scheduled',
    'completed',
    'completedWithFailures',
    'failed',
    // A worker that shuts down hands its job back.
    'queued',
  ],
  waiting: ['running', 'paused', 'canceled', 'failed', 'queued'],
  scheduled: ['running', 'paused', 'canceled', 'completed'],
  pausing: ['paused', 'canceling', 'canceled', 'completed', 'completedWithFailures', 'failed'],
  canceling: ['canceled'],
  paused: ['queued', 'canceled'],
  completed: ['queued'],
  completedWithFailures: ['queued'],
  failed: ['queued'],
  canceled: ['queued'],
};

export type MigrationAction = 'pause' | 'resume' | 'cancel' | 'retry';

/** What an action makes of a state; `null`: the action is illegal there (409 `illegal_transition`). */
export function applyAction(state: MigrationState, action: MigrationAction): MigrationState | null {
  return ACTIONS[action][state] ?? null;
}

const ACTIONS: Record<MigrationAction, Partial<Record<MigrationState, MigrationState>>> = {
  pause: { queued: 'paused', waiting: 'paused', scheduled: 'paused', running: 'pausing' },
  resume: { paused: 'queued' },
  cancel: {
    queued: 'canceled',
    waiting: 'canceled',
    scheduled: 'canceled',
    paused: 'canceled',
    running: 'canceling',
    pausing: 'canceling',
  },
  retry: { completed: 'queued', completedWithFailures: 'queued', failed: 'queued', canceled: 'queued' },
};

export function isEnded(state: MigrationState): boolean {
  return (
    state === 'completed' || state === 'completedWithFailures' || state === 'failed' || state === 'canceled'
  );
}
