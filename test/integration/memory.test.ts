import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { it } from 'node:test';
import { startDovecot } from '../support/dovecot.ts';
import { hugeMessage, variedMailbox } from '../support/messages.ts';
import { startRedis } from '../support/redis.ts';
import { migrationBody, Service } from '../support/service.ts';

const MAILBOXES = 8;

/** Peak resident memory of a process, bytes (Linux: VmHWM). */
async function peakMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}

it('one worker with 8 mailboxes at once stays under 250 MB', async () => {
  await using from = await startDovecot();
  await using to = await startDovecot();
  await using redis = await startRedis();
  await using service = await Service.start({ redisUrl: redis.url });
  const users = Array.from({ length: MAILBOXES }, (_, n) => `user${n}`);
  for (const [n, user] of users.entries())
    await from.deliver(user, [hugeMessage(2 << 20), ...variedMailbox(400, n)]);
  const created = await Promise.all(users.map((user) => service.create(migrationBody(from, to, user))));
  const ended = await Promise.all(created.map(({ id }) => service.ended(id, 120_000)));
  for (const { state, progress } of ended) {
    assert.equal(state, 'completed');
    assert.equal(progress.messages.copied, 401);
  }
  const peak = await peakMemory(service.workers[0]?.pid ?? 0);
  assert.ok(peak > 0 && peak < 250e6, `peak was ${Math.round(peak / 1e6)} MB`);
});
