import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { stopChild } from '../support/child.ts';
import { type Dovecot, startDovecot } from '../support/dovecot.ts';
import { readFolder } from '../support/imap-reader.ts';
import { variedMailbox } from '../support/messages.ts';
import { until } from '../support/net.ts';
import { readPop3 } from '../support/pop3-reader.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { killNow, migrationBody, Service } from '../support/service.ts';

const MESSAGES = 5000;
const LEASE_SECONDS = 3;

const digests = (messages: readonly { bytes: Buffer }[]) =>
  messages.map(({ bytes }) => createHash('sha256').update(bytes).digest('hex'));

describe('after kill -9 in the middle of 5,000 messages', () => {
  let from: Dovecot;
  let to: Dovecot;
  let redis: RedisServer;
  let service: Service;

  before(async () => {
    [from, to, redis] = await Promise.all([startDovecot(), startDovecot(), startRedis()]);
    service = await Service.start({
      redisUrl: redis.url,
      env: { POPBRIDGE_LEASE_SECONDS: `${LEASE_SECONDS}` },
    });
    await from.deliver('source', variedMailbox(MESSAGES, 11));
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await Promise.all([from?.stop(), to?.stop(), redis?.stop()]);
  });

  const start = async (target: string) => {
    const body = migrationBody(from, to, 'source');
    Object.assign(body.destination as object, { username: target });
    const { id } = await service.create(body);
    await until(async () => ((await service.get(id)).progress.messages.copied ?? 0) > 500, {
      what: 'some copies',
      timeoutMs: 30_000,
    });
    return id;
  };

  const assertExact = async (target: string) => {
    const { host, password, caFile } = from;
    const ca = await readFile(caFile);
    const sent = await readPop3({ host, port: from.ports.pop3s, ca, username: 'source', password });
    const held = await readFolder(to, target);
    assert.equal(held.length, MESSAGES);
    assert.deepEqual(digests(held), digests(sent), 'the same messages in the same order');
  };

  it('of the worker, another resumes within 15 seconds of the lease and ends with each once', async () => {
    const id = await start('worker-killed');
    const [victim] = service.workers.splice(0, 1);
    service.addWorker();
    await killNow(victim as NonNullable<typeof victim>);
    const killed = performance.now();
    const before = await service.get(id);
    assert.equal(before.state, 'running', 'it was in the middle');
    await until(async () => (await service.get(id)).runs > before.runs, {
      what: 'another worker to take over',
      timeoutMs: 30_000,
    });
    assert.ok(performance.now() - killed < (LEASE_SECONDS + 15) * 1000);
    const migration = await service.ended(id);
    assert.equal(migration.state, 'completed', JSON.stringify(migration));
    assert.equal(migration.progress.messages.copied, MESSAGES);
    await assertExact('worker-killed');
    const runs = await service.call<{ items: { outcome: string }[] }>('GET', `/v1/migrations/${id}/runs`);
    assert.deepEqual(runs.body.items.map(({ outcome }) => outcome).sort(), ['completed', 'lost']);
  });

  it('of Redis, the work goes on when it is back and ends with each once', async () => {
    const id = await start('redis-killed');
    await redis.kill();
    await redis.restart();
    const migration = await service.ended(id, 90_000);
    assert.equal(migration.state, 'completed', JSON.stringify(migration));
    assert.equal(migration.progress.messages.copied, MESSAGES);
    await assertExact('redis-killed');
  });

  it('is not needed: SIGTERM hands the job back, and another worker goes on at once', async () => {
    const id = await start('worker-stopped');
    const [leaving] = service.workers.splice(0, 1);
    service.addWorker();
    await stopChild(leaving as NonNullable<typeof leaving>, 'SIGTERM', 20_000);
    assert.equal(leaving?.exitCode, 0);
    const migration = await service.ended(id);
    assert.equal(migration.progress.messages.copied, MESSAGES);
    await assertExact('worker-stopped');
    const runs = await service.call<{ items: { outcome: string }[] }>('GET', `/v1/migrations/${id}/runs`);
    assert.deepEqual(runs.body.items.map(({ outcome }) => outcome).sort(), ['completed', 'released']);
  });
});
