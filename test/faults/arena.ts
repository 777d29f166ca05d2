import { type Dovecot, startDovecot } from '../support/dovecot.ts';
import { MAX_MAIL_BYTES } from './mailbox.ts';
import { WorkerPool } from './pool.ts';
import { World } from './world.ts';

/** Several worlds on one mail server and one pool of workers, each with one round at a time. */
export class Arena implements AsyncDisposable {
  readonly #dovecot: Dovecot;
  readonly #pool: WorkerPool;
  readonly #worlds: World[];

  private constructor(dovecot: Dovecot, pool: WorkerPool, worlds: World[]) {
    this.#dovecot = dovecot;
    this.#pool = pool;
    this.#worlds = worlds;
  }

  static async open(worlds: number): Promise<Arena> {
    const dovecot = await startDovecot({
      quota: { maxMailSize: `${MAX_MAIL_BYTES}B` },
      // A session that was cut may hold its lock for minutes, which is Dovecot's affair and not what is tested.
      extra: 'protocol pop3 {\n  pop3_lock_session = no\n}\n',
    });
    const pool = new WorkerPool(worlds + 2);
    const opened = Array.from({ length: worlds }, () => World.open(dovecot, pool));
    return new Arena(dovecot, pool, await Promise.all(opened));
  }

  /** Plays each case in whichever world is free; `play` must not throw. */
  async playAll<T>(cases: readonly T[], play: (world: World, each: T) => Promise<void>): Promise<void> {
    const left = [...cases];
    await Promise.all(
      this.#worlds.map(async (world) => {
        for (let next = left.shift(); next !== undefined; next = left.shift()) await play(world, next);
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const world of this.#worlds) await world[Symbol.asyncDispose]();
    await this.#pool[Symbol.asyncDispose]();
    await this.#dovecot.stop();
  }
}
