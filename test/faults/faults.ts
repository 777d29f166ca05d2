import assert from 'node:assert/strict';
import { migrationKey } from '../../src/store/keys.ts';
import { readFolder } from '../support/imap-reader.ts';
import { Random } from '../support/random.ts';
import { forgetLast } from './aof.ts';
import { sha256 } from './compare.ts';
import { MAX_MAIL_BYTES } from './mailbox.ts';
import type { Round } from './round.ts';
import { TENANT } from './settings.ts';
import { Standby } from './standby.ts';
import type { Held, World } from './world.ts';

/** What is left to do once the migration has ended in other hands. */
export type Afterwards = () => Promise<void>;

export interface Fault {
  name: string;
  /** Where it makes sense; default: everywhere. */
  at?(step: string): boolean;
  /** Before the migration is made. */
  prepare?(world: World, seed: number): Promise<void>;
  /** At the step. Lets it go. */
  strike(round: Round, held: Held): Promise<Afterwards | undefined>;
  /** Default: assertExact. */
  check?(round: Round): Promise<void>;
  /** The world is not fit for another round. */
  spoils?: true;
}

/** SIGKILL; what was on its way arrives, or does not. */
const kill: Fault = {
  name: 'kill',
  strike: async ({ seed }, held) => {
    await held.seat.worker.kill();
    held.go(seed % 2 === 0);
    return undefined;
  },
};

function thawed(held: Held): Afterwards {
  return async () => {
    held.seat.worker.thaw();
    await held.seat.worker.idle();
  };
}

/** SIGSTOP until another worker has done the rest. */
const freeze: Fault = {
  name: 'freeze',
  strike: async (_round, held) => {
    held.seat.worker.freeze();
    held.go();
    return thawed(held);
  },
};

/** SIGSTOP until another worker is in the middle of it. */
const freezeBriefly: Fault = {
  name: 'freeze-briefly',
  strike: async ({ world }, held) => {
    const { worker } = held.seat;
    worker.freeze();
    held.go();
    void world.arm('imap:append-announced', { except: held.seat }).then((other) => {
      worker.thaw();
      other.go();
    });
    return thawed(held);
  },
};

function reset(wire: 'pop3' | 'imap'): Fault {
  return {
    name: `${wire}-reset`,
    strike: async (_round, held) => {
      held.seat.taps[wire].reset();
      held.go();
      return undefined;
    },
  };
}

/** The server has stored the group, and nobody hears of it. */
const storedThenCut: Fault = {
  name: 'imap-stored-then-cut',
  at: (step) => /^imap:(append|literal|sync|last|ok)/.test(step),
  strike: async ({ world }, held) => {
    if (held.step === 'imap:ok-before-client') {
      held.go(false);
      return undefined;
    }
    void world.arm('imap:ok-before-client').then((answer) => answer.go(false));
    held.go();
    return undefined;
  },
};

/** Redis dies and comes back without its last writes. */
const redisCrash: Fault = {
  name: 'redis-crash',
  strike: async ({ world, watch, seed, floor }, held) => {
    const random = new Random(seed);
    await watch.blink(async () => {
      await world.redis.kill();
      await forgetLast(world.redis, floor, (writes) => random.int(Math.min(1, writes), Math.min(writes, 12)));
      await world.redis.restart();
    });
    held.go();
    return undefined;
  },
};

/** A replica that is behind takes over; the old worker is frozen meanwhile and still holds the old master's hand. */
const failover: Fault = {
  name: 'redis-failover',
  spoils: true,
  prepare: Standby.begin,
  strike: async (round, held) => {
    held.seat.worker.freeze();
    await round.watch.blink(() => Standby.of(round.world).takeOver([held.seat]));
    held.go();
    return thawed(held);
  },
};

/** The same, but the old worker goes on, and the old master takes a last write of it. */
const failoverAlive: Fault = {
  name: 'redis-failover-alive',
  spoils: true,
  prepare: Standby.begin,
  strike: async (round, held) => {
    const { seat } = held;
    const lastWrite = round.world.arm('redis:intent-commit-applied', { seat });
    const standby = Standby.of(round.world);
    await round.watch.blink(() => standby.takeOver([seat]));
    held.go();
    const last = await Promise.race([lastWrite, seat.worker.idle()]);
    await standby.cutOff(seat);
    last?.go();
    return undefined;
  },
};

/** Redis has done it; the answer is lost with the connection, and the client sends the same again. */
const replyLost: Fault = {
  name: 'reply-lost',
  at: (step) => /^redis:.*-applied$/.test(step),
  strike: async (_round, held) => {
    held.go(false);
    return undefined;
  },
};

/** The queue gives the same job to a second worker. */
const doubleStart: Fault = {
  name: 'double-start',
  strike: async ({ world, job }, held) => {
    const other = world.seats.find((seat) => seat !== held.seat && seat.isFree);
    assert.ok(other !== undefined);
    await (await other.fill()).run(job);
    held.go();
    return undefined;
  },
};

/** The worker is dead, and its last octets land between two looks of the next one. */
const late: Fault = {
  name: 'late-octets',
  at: (step) => step === 'imap:last-octets-before',
  strike: async ({ world, seed }, held) => {
    await held.seat.worker.kill();
    void world.arm('imap:scan', { nth: 1 + (seed % 2) }).then((scan) => landBefore(world, scan, held));
    return undefined;
  },
};

/** They land later than anybody waits: the next worker has sent them again, and says so. */
const tooLate: Fault = {
  name: 'late-octets-beyond',
  at: (step) => step === 'imap:last-octets-before',
  strike: async ({ world }, held) => {
    await held.seat.worker.kill();
    void world.arm('imap:ok-before-client').then((answer) => landBefore(world, answer, held));
    return undefined;
  },
  check: assertDuplicatesReported,
};

/** Lets the octets of a dead worker land, and what is held now go on when the server has stored them. */
async function landBefore(world: World, now: Held, octets: Held): Promise<void> {
  const stored = world.arm('imap:ok-before-client');
  octets.go();
  (await stored).go();
  now.go();
}

async function assertDuplicatesReported(round: Round): Promise<void> {
  const { world, source, target, id } = round;
  const taken = source.filter(({ bytes }) => bytes.length <= MAX_MAIL_BYTES);
  const extra = (await readFolder(world.dovecot, target)).map(({ bytes }) => sha256(bytes));
  for (const { bytes } of taken) {
    const at = extra.indexOf(sha256(bytes));
    assert.notEqual(at, -1, 'each message is there');
    extra.splice(at, 1);
  }
  assert.notEqual(extra.length, 0, 'some are there twice');
  const details = await world.store.redis.hvals(migrationKey(TENANT, id, 'details'));
  const reported = details
    .map((json) => JSON.parse(json) as { uidl: string; reason: { code: string } | null })
    .filter(({ reason }) => reason?.code === 'duplicate')
    .map(({ uidl }) => source.find((each) => each.uidl === uidl)?.bytes ?? Buffer.alloc(0))
    .map(sha256);
  assert.deepEqual([...new Set(reported)].toSorted(), [...new Set(extra)].toSorted(), 'and reported, each');
}

export const FAULTS: readonly Fault[] = [
  kill,
  freeze,
  freezeBriefly,
  reset('pop3'),
  reset('imap'),
  storedThenCut,
  late,
  tooLate,
  redisCrash,
  failover,
  failoverAlive,
  replyLost,
  doubleStart,
];
