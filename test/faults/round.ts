import { readFile } from 'node:fs/promises';
import type { Migration, MigrationDraft, MigrationOptions } from '../../src/domain/migration.ts';
import { DEFAULT_OPTIONS } from '../../src/domain/migration.ts';
import type { JobRef } from '../../src/domain/ports.ts';
import { isEnded } from '../../src/domain/state.ts';
import { DueIndex } from '../../src/store/due.ts';
import { migrationKey } from '../../src/store/keys.ts';
import { until } from '../support/net.ts';
import { type ReadMessage, readPop3 } from '../support/pop3-reader.ts';
import { written } from './aof.ts';
import { trickyMailbox } from './mailbox.ts';
import { TENANT } from './settings.ts';
import { Watch } from './watch.ts';
import type { Seat, World } from './world.ts';

export interface RoundOptions {
  seed: number;
  mailbox?: readonly Buffer[];
  options?: Partial<MigrationOptions>;
  /** Path of the destination folder. */
  folder?: string[];
}

const PATIENCE_MS = 30_000;
let users = 0;

/** One mailbox on its way through a world: a migration, watched, until it has ended. */
export class Round {
  readonly world: World;
  readonly user: string;
  readonly seed: number;
  /** What the source held when the round began. */
  readonly source: readonly ReadMessage[];
  readonly watch: Watch;
  readonly folder: string[];
  readonly #draft: MigrationDraft;
  id = '';
  /** Bytes that Redis had written of its append-only file when the migration was made. */
  floor = 0;
  /** The first one. */
  job: JobRef = { version: 1, tenant: TENANT, migrationId: '', job: 0 };

  private constructor(
    world: World,
    user: string,
    source: ReadMessage[],
    { seed, options, folder = ['INBOX'] }: RoundOptions,
  ) {
    this.world = world;
    this.user = user;
    this.seed = seed;
    this.source = source;
    this.folder = folder;
    this.#draft = draftOf(world, user, folder, { ...DEFAULT_OPTIONS, ...options });
    this.watch = new Watch(() => world.store.migrations.get(TENANT, this.id));
  }

  static async begin(world: World, options: RoundOptions): Promise<Round> {
    const { dovecot } = world;
    const user = `u${++users}`;
    await dovecot.deliver(user, options.mailbox ?? trickyMailbox(options.seed));
    const round = new Round(world, user, await readSource(world, user), options);
    await round.create();
    return round;
  }

  /** The account in the destination; the same server, another name. */
  get target(): string {
    return `${this.user}-to`;
  }

  get isDeleting(): boolean {
    return this.#draft.options.sourceDeletion.policy === 'delete';
  }

  /** A journal that was lost is not made anew for what has left the source. */
  get mayHaveForgotten(): boolean {
    return this.isDeleting && this.watch.hasForgotten;
  }

  async create(): Promise<void> {
    const { password } = this.world.dovecot;
    const auth = { type: 'password', password } as const;
    const creation = await this.world.store.migrations.create(TENANT, this.#draft, {
      source: auth,
      destination: auth,
    });
    if (creation.kind !== 'created') throw new Error(`not created: ${creation.kind}`);
    this.id = creation.migration.id;
    this.job = creation.job;
    this.floor = await written(this.world.redis);
  }

  /** Gives the first job to the first worker. Resolves when that has left off. */
  async start(): Promise<void> {
    const [seat] = this.world.seats as [Seat];
    await (await seat.fill()).run(this.job);
  }

  migration(): Promise<Migration | null> {
    return this.world.store.migrations.get(TENANT, this.id);
  }

  /** Waits, and brings every job that the sweep hands out to a free worker meanwhile, as the product does. */
  async until<T>(
    condition: (migration: Migration | null) => T | Promise<T>,
    what: string,
    meanwhile: () => Promise<void> = async () => {},
  ): Promise<T> {
    let result: T | undefined;
    await until(
      async () => {
        result = await condition(await this.migration());
        if (!result) await meanwhile();
        if (!result) await this.#sweep();
        return result;
      },
      { what, timeoutMs: PATIENCE_MS, everyMs: 20 },
    );
    return result as T;
  }

  /** Waits for the end, whichever, and for all workers that are not frozen to have left off. */
  async ended(): Promise<Migration> {
    const migration = await this.until(
      (now) => now !== null && isEnded(now.state) && now,
      `${this.id} to end`,
    );
    for (const { worker } of this.world.taken) if (worker.isAlive && !worker.isFrozen) await worker.idle();
    return migration as Migration;
  }

  /** No worker is at it that is not frozen. */
  get isQuiet(): boolean {
    return this.world.taken.every((seat) => seat.isFree || seat.worker.isFrozen);
  }

  async #sweep(): Promise<void> {
    const { store } = this.world;
    await this.#hurry();
    await new DueIndex(store.redis).schedule(TENANT, this.id, 'work', 0);
    for (const { job } of await store.runs.sweep(50)) {
      const seat = this.world.seats.find((each) => each.isFree);
      // Where nobody is free, the sweep hands it out again.
      if (job.migrationId === this.id && seat !== undefined) void (await seat.fill()).run(job);
    }
  }

  /** A wait of seconds is over at once. */
  async #hurry(): Promise<void> {
    const key = migrationKey(TENANT, this.id, 'record');
    const { redis } = this.world.store;
    const [state, at] = await redis.hmget(key, 'state', 'nextRunAt');
    if (state === 'waiting' && Number(at || 0) > Date.now()) await redis.hset(key, 'nextRunAt', Date.now());
  }

  async close(): Promise<void> {
    this.world.disarm();
    await this.watch.stop();
  }
}

/** What the source holds now. */
export async function readSource({ dovecot }: World, username: string): Promise<ReadMessage[]> {
  const { host, ports, password, caFile } = dovecot;
  return readPop3({ host, port: ports.pop3s, ca: await readFile(caFile), username, password });
}

function draftOf(
  { dovecot }: World,
  user: string,
  path: string[],
  options: MigrationOptions,
): MigrationDraft {
  const { host, ports } = dovecot;
  const account = { host, security: 'none', auth: { type: 'password' } } as const;
  return {
    label: user,
    source: { ...account, port: ports.pop3, username: user },
    destination: { ...account, port: ports.imap, username: `${user}-to`, folder: { path } },
    options,
  };
}
