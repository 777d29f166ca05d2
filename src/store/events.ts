import { setTimeout as sleep } from 'node:timers/promises';
import type { EventFeed, FeedEvent } from '../domain/migrations.ts';
import { guarded } from './db.ts';
import { tenantKeys } from './keys.ts';
import type { RedisClient } from './redis.ts';
import { compareIds, fromStream, isStreamId, type StreamRow, streamInfo } from './stream.ts';

const PAGE = 200;
/** What a slow subscriber may have waiting before it is sent to read from the stream by itself. */
const BUFFER = 1_000;
const BLOCK_MS = 5_000;
const RETRY_MS = 250;

/** Events of a tenant. All subscribers of a process share one reader, on a connection of its own, per tenant. */
export class RedisEventFeed implements EventFeed {
  readonly #redis: RedisClient;
  readonly #warn: (message: string) => void;
  readonly #readers = new Map<string, Reader>();
  readonly #closing = new AbortController();

  constructor(redis: RedisClient, warn: (message: string) => void) {
    this.#redis = redis;
    this.#warn = warn;
  }

  /** "From now" is the time of this call. The iterator ends with `signal`, or when the feed closes. */
  subscribe(tenant: string, lastEventId: string | null, signal: AbortSignal): AsyncIterable<FeedEvent> {
    const ending = AbortSignal.any([signal, this.#closing.signal]);
    const start = this.#start(tenant, lastEventId);
    // Told to whoever iterates.
    start.catch(() => {});
    const tail = new Tail();
    const attached = ending.aborted ? Promise.resolve() : this.#attach(tenant, tail, ending);
    return this.#follow(tenant, start, attached, tail, ending);
  }

  /** Ends all subscriptions. */
  close(): void {
    this.#closing.abort();
  }

  async *#follow(
    tenant: string,
    start: Promise<Start>,
    attached: Promise<void>,
    tail: Tail,
    ending: AbortSignal,
  ): AsyncGenerator<FeedEvent, void> {
    let { last, reset } = await start;
    await attached;
    while (!ending.aborted) {
      if (reset) yield resetAt(last);
      // The tail was attached before: whatever comes while this catches up is in both, and told once.
      for await (const event of this.#catchUp(tenant, last, ending)) {
        yield event;
        last = event.id;
      }
      while (!tail.overflowed && !ending.aborted) {
        for (const event of tail.take()) {
          if (compareIds(event.id, last) <= 0) continue;
          yield event;
          if (ending.aborted) return;
          last = event.id;
        }
        await tail.more(ending);
      }
      tail.restart();
      if (!ending.aborted) ({ last, reset } = await this.#start(tenant, last));
    }
  }

  /** From where to go on: behind `lastEventId`, or, if not all that followed it is kept, from now. */
  async #start(tenant: string, lastEventId: string | null): Promise<Start> {
    const info = await streamInfo(this.#redis, tenantKeys(tenant).events);
    if (lastEventId === null) return { last: info.last, reset: false };
    const known = isStreamId(lastEventId) && compareIds(lastEventId, info.last) <= 0;
    if (known && (!info.trimmed || compareIds(lastEventId, info.first) >= 0))
      return { last: lastEventId, reset: false };
    return { last: info.last, reset: true };
  }

  async *#catchUp(tenant: string, after: string, ending: AbortSignal) {
    let from = after;
    while (!ending.aborted) {
      const key = tenantKeys(tenant).events;
      const page = await guarded(() => this.#redis.xrange(key, `(${from}`, '+', 'COUNT', PAGE));
      for (const row of page) {
        if (ending.aborted) return;
        yield fromStream(row);
        from = row[0];
      }
      if (page.length < PAGE) return;
    }
  }

  /** Resolves when all that comes from then on reaches the tail, or with the signal. */
  #attach(tenant: string, tail: Tail, ending: AbortSignal): Promise<void> {
    const reader = this.#readers.get(tenant) ?? this.#open(tenant);
    reader.tails.add(tail);
    const detach = () => {
      reader.tails.delete(tail);
      if (reader.tails.size > 0) return;
      reader.close();
      if (this.#readers.get(tenant) === reader) this.#readers.delete(tenant);
    };
    ending.addEventListener('abort', detach, { once: true });
    const ended = new Promise<void>((resolve) => {
      ending.addEventListener('abort', () => resolve(), { once: true });
    });
    return Promise.race([reader.positioned, ended]);
  }

  #open(tenant: string): Reader {
    const reader = new Reader(this.#redis, tenantKeys(tenant).events, this.#warn);
    this.#readers.set(tenant, reader);
    return reader;
  }
}

interface Start {
  last: string;
  reset: boolean;
}

function resetAt(id: string): FeedEvent {
  return { id, type: 'reset', migrationId: null, data: {} };
}

/** One subscriber's share of what the reader read. */
class Tail {
  #waiting: FeedEvent[] = [];
  #overflowed = false;
  #wake: () => void = () => {};

  get overflowed(): boolean {
    return this.#overflowed;
  }

  push(events: readonly FeedEvent[]): void {
    if (this.#waiting.length + events.length > BUFFER) {
      this.#overflowed = true;
      this.#waiting = [];
    }
    if (!this.#overflowed) this.#waiting.push(...events);
    this.#wake();
  }

  take(): FeedEvent[] {
    const taken = this.#waiting;
    this.#waiting = [];
    return taken;
  }

  restart(): void {
    this.#overflowed = false;
  }

  /** Resolves when there is something to take, or the signal ends it all. */
  more(ending: AbortSignal): Promise<void> {
    if (this.#waiting.length > 0 || this.#overflowed || ending.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        ending.removeEventListener('abort', done);
        this.#wake = () => {};
        resolve();
      };
      this.#wake = done;
      ending.addEventListener('abort', done, { once: true });
    });
  }
}

/** Blocks on a stream for as long as it has subscribers. */
class Reader {
  readonly tails = new Set<Tail>();
  /** Whatever is written from then on is read. */
  readonly positioned: Promise<void>;
  #setPositioned: () => void = () => {};
  readonly #connection: RedisClient;
  readonly #main: RedisClient;
  readonly #key: string;
  readonly #closing = new AbortController();

  constructor(redis: RedisClient, key: string, warn: (message: string) => void) {
    this.#main = redis;
    this.#key = key;
    this.positioned = new Promise((resolve) => {
      this.#setPositioned = resolve;
    });
    this.#connection = blockingConnection(redis);
    this.#connection.on('error', (error: Error) => warn(`event reader: ${error.message}`));
    void this.#read();
  }

  close(): void {
    this.#closing.abort();
    this.#connection.disconnect();
  }

  async #read(): Promise<void> {
    let last: string | null = null;
    while (!this.#closing.signal.aborted) {
      try {
        last ??= (await streamInfo(this.#main, this.#key)).last;
        this.#setPositioned();
        const rows = await this.#next(last);
        last = rows.at(-1)?.[0] ?? last;
        const events = rows.map(fromStream);
        if (events.length > 0) for (const tail of this.tails) tail.push(events);
      } catch {
        await sleep(RETRY_MS, undefined, { signal: this.#closing.signal }).catch(() => {});
      }
    }
  }

  async #next(last: string): Promise<StreamRow[]> {
    const reply = await this.#connection.xread('COUNT', PAGE, 'BLOCK', BLOCK_MS, 'STREAMS', this.#key, last);
    return reply?.[0]?.[1] ?? [];
  }
}

// A command that blocks has its own time limit; a dead connection is noticed a little later.
function blockingConnection(redis: RedisClient): RedisClient {
  const options = { commandTimeout: undefined, blockingTimeout: 2 * BLOCK_MS };
  return 'nodes' in redis ? redis.duplicate([], { redisOptions: options }) : redis.duplicate(options);
}
