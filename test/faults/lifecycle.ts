import assert from 'node:assert/strict';
import type { Migration } from '../../src/domain/migration.ts';
import { DEFAULT_OPTIONS } from '../../src/domain/migration.ts';
import { isEnded, type MigrationAction } from '../../src/domain/state.ts';
import type { Fault } from './faults.ts';
import type { Round } from './round.ts';
import { TENANT } from './settings.ts';

/** Waits until an action has taken effect, or the migration has come to its end before it could. */
async function settled(round: Round, state: Migration['state']): Promise<Migration> {
  const done = (now: Migration | null) => now !== null && (now.state === state || isEnded(now.state)) && now;
  return (await round.until(done, `${round.id} to become ${state}`)) as Migration;
}

export async function act(round: Round, action: MigrationAction): Promise<void> {
  const { kind } = await round.world.store.migrations.act(TENANT, round.id, action);
  if (kind === 'changed') return;
  const now = await round.migration();
  assert.ok(now !== null && isEnded(now.state), `${action}: ${kind} in ${now?.state}`);
}

function password(round: Round): { type: 'password'; password: string } {
  return { type: 'password', password: round.world.dovecot.password };
}

export async function putCredentials(round: Round): Promise<void> {
  const auth = password(round);
  const { migrations } = round.world.store;
  const { kind } = await migrations.putCredentials(TENANT, round.id, { source: auth, destination: auth });
  assert.equal(kind, 'changed');
}

const pause: Fault = {
  name: 'pause, resume',
  strike: async (round, held) => {
    await act(round, 'pause');
    held.go();
    if ((await settled(round, 'paused')).state === 'paused') await act(round, 'resume');
    return undefined;
  },
};

/** The worker dies before it hears of it. */
const pauseKilled: Fault = {
  name: 'pause, kill, resume',
  strike: async (round, held) => {
    await act(round, 'pause');
    await held.seat.worker.kill();
    held.go(false);
    if ((await settled(round, 'paused')).state === 'paused') await act(round, 'resume');
    return undefined;
  },
};

const cancel: Fault = {
  name: 'cancel, retry',
  strike: async (round, held) => {
    await act(round, 'cancel');
    held.go();
    if ((await settled(round, 'canceled')).state !== 'canceled') return undefined;
    await putCredentials(round);
    round.watch.expectRetry();
    await act(round, 'retry');
    return undefined;
  },
};

/** Erased while a worker is at it, and asked for again at once. */
const erase: Fault = {
  name: 'delete, create again',
  strike: async (round, held) => {
    await round.watch.blink(async () => {
      const verdict = await round.world.store.migrations.erase(TENANT, round.id);
      assert.notEqual(verdict, 'unknown');
      await round.create();
    });
    held.go();
    return undefined;
  },
};

/** As above, but the worker is dead, and its last octets come late. */
const eraseKilled: Fault = {
  name: 'delete, kill, create again',
  strike: async (round, held) => {
    await held.seat.worker.kill();
    await round.watch.blink(async () => {
      await round.world.store.migrations.erase(TENANT, round.id);
      await round.create();
    });
    held.go();
    return undefined;
  },
};

const patch: Fault = {
  name: 'patch',
  strike: async (round, held) => {
    const options = { ...((await round.migration())?.options ?? DEFAULT_OPTIONS), manifest: true };
    const { kind } = await round.world.store.migrations.patch(TENANT, round.id, { label: 'new', options });
    assert.equal(kind, 'changed');
    held.go();
    await held.seat.worker.idle();
    assert.equal((await round.migration())?.label, 'new');
    return undefined;
  },
};

/** Wrong ones, which the next worker finds; it waits for right ones. */
const credentials: Fault = {
  name: 'wrong, new credentials',
  strike: async (round, held) => {
    const { migrations } = round.world.store;
    await migrations.putCredentials(TENANT, round.id, { source: { type: 'password', password: 'wrong' } });
    await held.seat.worker.kill();
    held.go(false);
    const reason = (now: Migration | null) =>
      now !== null && (isEnded(now.state) ? 'ended' : now.stateReason === 'credentials_required' && 'asks');
    if ((await round.until(reason, `${round.id} to ask for credentials`)) === 'asks')
      await putCredentials(round);
    return undefined;
  },
};

export const LIFECYCLES: readonly Fault[] = [
  pause,
  pauseKilled,
  cancel,
  erase,
  eraseKilled,
  patch,
  credentials,
];
