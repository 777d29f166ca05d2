import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { BridgeError } from '../../src/domain/errors.ts';
import type { JobRef } from '../../src/domain/ports.ts';
import { createQueue, createWorker, type MigrationQueue, type WorkerOptions } from '../../src/queue/index.ts';
import { QUEUE_NAME, QUEUE_PREFIX } from '../../src/queue/payload.ts';
import { until } from '../support/net.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';

const ref = (migrationId: string, job = 1): JobRef => ({ version: 1, tenant: 'default', migrationId, job });

describe('the queue', () => {
  let server: RedisServer;
  let connection: Redis;
  let queue: MigrationQueue;
  const errors: string[] = [];
  const onError = (error: Error) => void errors.push(error.message);
  before(async () => {
    server = await startRedis();
    connection = new Redis(server.url, { maxRetriesPerRequest: null, commandTimeout: 2_000 });
    connection.on('error', onError);
    queue = createQueue({ connection, onError });
  });
  beforeEach(async () => {
    errors.length = 0;
    await connection.flushall();
  });
  after(async () => {
    await queue?.close();
    connection?.disconnect();
    await server?.stop();
  });

  /** A worker on a connection of its own, which goes with it. */
  function work(handler: WorkerOptions['handler'], options: Partial<WorkerOptions> = {}) {
    const own = new Redis(server.url, { maxRetriesPerRequest: null });
    own.on('error', onError);
    const worker = createWorker({ connection: own, concurrency: 4, handler, onError, ...options });
    return {
      close: () => worker.close(),
      [Symbol.asyncDispose]: async () => {
        await worker.close();
        own.disconnect();
      },
    };
  }

  it('brings each job to a worker once, as it was given, and keeps nothing of it', async () => {
    const seen: JobRef[] = [];
    await using worker = work(async (job) => void seen.push(job));
    for (let n = 0; n < 10; n++) await queue.enqueue(ref(`mig_${n}`), null);
    await until(() => seen.length === 10, { what: 'all jobs' });
    assert.deepEqual(
      seen.map(({ migrationId }) => migrationId).sort(),
      Array.from({ length: 10 }, (_, n) => `mig_${n}`),
    );
    assert.deepEqual(seen[0], ref(seen[0]?.migrationId ?? ''));
    await until(async () => (await connection.keys(`${QUEUE_PREFIX}:${QUEUE_NAME}:mig_*`)).length === 0, {
      what: 'the jobs to be removed',
    });
    assert.deepEqual(await queue.depth(), { waiting: 0, active: 0, delayed: 0 });
    assert.deepEqual(errors, []);
    assert.ok(worker);
  });

  it('ignores a job that it already has, and takes the same again when that is done', async () => {
    await queue.enqueue(ref('mig_a'), null);
    await queue.enqueue(ref('mig_a'), null);
    await queue.enqueue(ref('mig_a', 2), null);
    assert.equal((await queue.depth()).waiting, 2);
    let done = 0;
    await using _worker = work(async () => void done++);
    await until(async () => done === 2 && (await queue.depth()).active === 0, { what: 'both jobs' });
    await queue.enqueue(ref('mig_a'), null);
    await until(() => done === 3, { what: 'the job that came again' });
  });

  it('keeps a job back until its time', async () => {
    const notBefore = new Date(Date.now() + 700);
    await queue.enqueue(ref('mig_later'), notBefore);
    assert.deepEqual(await queue.depth(), { waiting: 0, active: 0, delayed: 1 });
    let at = 0;
    await using _worker = work(async () => {
      at = Date.now();
    });
    await until(() => at > 0, { what: 'the job' });
    assert.ok(at >= notBefore.getTime() - 5, `${notBefore.getTime() - at} ms early`);
  });

  it('runs no more jobs at once than it may', async () => {
    let now = 0;
    let most = 0;
    let done = 0;
    const gate = Promise.withResolvers<void>();
    await using _worker = work(
      async () => {
        most = Math.max(most, ++now);
        if (now === 2) gate.resolve();
        await gate.promise;
        now--;
        done++;
      },
      { concurrency: 2 },
    );
    for (let n = 0; n < 6; n++) await queue.enqueue(ref(`mig_${n}`), null);
    await until(() => done === 6, { what: 'all jobs' });
    assert.equal(most, 2);
  });

  it('tells running jobs of its end, waits for them, and takes no more', async () => {
    const started: string[] = [];
    let finished = 0;
    const worker = work(
      async ({ migrationId }, closing) => {
        started.push(migrationId);
        await new Promise((resolve) => closing.addEventListener('abort', resolve, { once: true }));
        finished++;
      },
      { concurrency: 1 },
    );
    await queue.enqueue(ref('mig_1'), null);
    await queue.enqueue(ref('mig_2'), null);
    await until(() => started.length === 1, { what: 'the first job' });
    await Promise.all([worker.close(), worker.close()]);
    assert.equal(finished, 1);
    assert.deepEqual(started, ['mig_1']);
    assert.equal((await queue.depth()).waiting, 1);
    await worker[Symbol.asyncDispose]();
  });

  it('ends in bounded time even when a job does not', async () => {
    const never = Promise.withResolvers<void>();
    const worker = work(() => never.promise, { closeMs: 300 });
    await queue.enqueue(ref('mig_stuck'), null);
    await until(async () => (await queue.depth()).active === 1, { what: 'the job to start' });
    const since = performance.now();
    await worker.close();
    assert.ok(performance.now() - since < 2_000);
    never.resolve();
    await worker[Symbol.asyncDispose]();
  });

  it('drops a job whose handler fails, and says so', async () => {
    await using _worker = work(async () => {
      throw new Error('no store');
    });
    await queue.enqueue(ref('mig_failing'), null);
    await until(() => errors.length > 0, { what: 'the fault to be told' });
    assert.deepEqual(errors, ['no store']);
    assert.deepEqual(await connection.keys(`${QUEUE_PREFIX}:${QUEUE_NAME}:mig_*`), []);
  });

  it('leaves a job of a newer version to a newer worker, and drops what is no job', async () => {
    const raw = new Queue(QUEUE_NAME, { connection, prefix: QUEUE_PREFIX });
    let handled = 0;
    await using _worker = work(async () => void handled++);
    await raw.add('migrate', { ...ref('mig_new'), version: 2, more: true }, { jobId: 'mig_new-1' });
    for (const [n, data] of [
      null,
      { version: 1 },
      { ...ref('mig_x'), job: '1' },
      { ...ref('mig_x'), job: 0 },
    ].entries())
      await raw.add('migrate', data, { jobId: `bad-${n}`, removeOnFail: true });
    await until(() => errors.length === 5, { what: 'five refusals' });
    assert.ok(errors.some((message) => /mig_new-1 has version 2/.test(message)));
    await until(async () => (await queue.depth()).delayed === 1, { what: 'the newer job to be put off' });
    assert.deepEqual((await raw.getJob('mig_new-1'))?.data.version, 2);
    assert.equal(handled, 0);
    await raw.close();
  });

  it('goes on after a restart of Redis', async () => {
    const seen: string[] = [];
    await using _worker = work(async ({ migrationId }) => void seen.push(migrationId));
    await queue.enqueue(ref('mig_before'), null);
    await until(() => seen.length === 1, { what: 'the first job' });
    await server.restart();
    await queue.enqueue(ref('mig_after'), null);
    await until(() => seen.includes('mig_after'), { what: 'the job after the restart', timeoutMs: 20_000 });
  });

  it('keeps all its keys in one slot of a cluster', async () => {
    await queue.enqueue(ref('mig_slot'), null);
    for (const key of await connection.keys('*')) assert.ok(key.startsWith('{popbridge}:'), key);
  });

  it('fails in bounded time when Redis is away', async () => {
    await using own = await startRedis();
    const away = new Redis(own.url, { maxRetriesPerRequest: null, commandTimeout: 500 });
    away.on('error', () => {});
    const cut = createQueue({ connection: away, onError: () => {} });
    await cut.enqueue(ref('mig_1'), null);
    await own.kill();
    await assert.rejects(
      cut.enqueue(ref('mig_2'), null),
      (error) => error instanceof BridgeError && error.code === 'store_unavailable',
    );
    away.disconnect();
    await cut.close();
  });
});
