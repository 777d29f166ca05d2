import { Redis } from 'ioredis';
import { until } from '../support/net.ts';
import type { RedisServer } from '../support/redis.ts';
import { type Reader, Tap } from './tap.ts';
import { type Seat, startOwnRedis, type World } from './world.ts';

const raw = (): Reader => ({
  toServer: (bytes) => [{ bytes }],
  toClient: (bytes) => [{ bytes, before: 'writes' }],
});

const standbys = new WeakMap<World, Standby>();

/** A replica of a world's Redis that falls behind from some write on, and then takes over. */
export class Standby {
  readonly #world: World;
  readonly #link: Tap;
  readonly #replica: RedisServer;
  #isBehind = false;

  private constructor(world: World, link: Tap, replica: RedisServer) {
    this.#world = world;
    this.#link = link;
    this.#replica = replica;
  }

  static of(world: World): Standby {
    const standby = standbys.get(world);
    if (standby === undefined) throw new Error('the world has no standby');
    return standby;
  }

  /**
   * For the next migration of this world: before it is made, as a Redis that gets its first replica changes its
   * replication id. The replica misses all from one of the first intents on, by the seed; perhaps from the claim.
   */
  static async begin(world: World, seed: number): Promise<void> {
    const never = new Promise<boolean>(() => {});
    let isShut = () => false;
    const gate = () => (isShut() ? never : (true as const));
    const link = await Tap.open({ target: world.redis.port, reader: raw, gate });
    const replica = await startOwnRedis('--replicaof', '127.0.0.1', `${link.port}`);
    const own = new Standby(world, link, replica);
    isShut = () => own.#isBehind;
    standbys.set(world, own);
    await ask(replica, (client) =>
      until(async () => /master_link_status:up/.test(await client.info('replication')), {
        what: 'the replica to be in step',
      }),
    );
    const intents = seed % 4;
    const behind = intents === 0 ? 'redis:claim-sent' : 'redis:intent-commit-sent';
    void world.arm(behind, { nth: Math.max(1, intents) }).then(async (held) => {
      // The migration itself it must know. Where the takeover comes first, that one waits for it.
      const isKnown = await world.store.redis.wait(1, 5_000).catch(() => null);
      if (isKnown !== null) own.#isBehind = true;
      held.go();
    });
  }

  /** It is the master now for all but these seats; the old master knows nothing of it. */
  async takeOver(staying: readonly Seat[]): Promise<void> {
    if (!this.#isBehind) await this.#world.store.redis.wait(1, 5_000);
    await ask(this.#replica, (client) => client.replicaof('NO', 'ONE'));
    await this.#link.close();
    await this.#world.promote(this.#replica, staying);
  }

  /** This seat, too, has to do with the new master from now on. */
  async cutOff(seat: Seat): Promise<void> {
    seat.taps.redis.target = this.#replica.port;
    seat.taps.redis.reset();
  }
}

async function ask<T>({ url }: RedisServer, work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url);
  try {
    return await work(client);
  } finally {
    client.disconnect();
  }
}
