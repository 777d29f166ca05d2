import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { startDovecot } from '../support/dovecot.ts';
import { readFolder } from '../support/imap-reader.ts';
import { variedMailbox } from '../support/messages.ts';
import { type TempDir, tempDir } from '../support/net.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { migrationBody, Service } from '../support/service.ts';

const run = promisify(execFile);
const SHIPPED = ['package.json', 'package-lock.json', '.npmrc', 'openapi.yaml', 'src', 'workers'];

describe('what is shipped, without what only developers need', () => {
  let dir: TempDir;
  let redis: RedisServer;

  before(async () => {
    [dir, redis] = await Promise.all([tempDir(), startRedis()]);
    for (const name of SHIPPED) await cp(name, join(dir.path, name), { recursive: true });
    const install = [
      'ci',
      '--omit=dev',
      '--ignore-scripts',
      '--prefer-offline',
      '--no-audit',
      '--loglevel=error',
    ];
    await run('npm', install, { cwd: dir.path });
  });
  after(async () => {
    await redis?.stop();
    await dir?.[Symbol.asyncDispose]();
  });

  it('moves a mailbox as API and as worker with NODE_ENV=production', async () => {
    await using from = await startDovecot();
    await using to = await startDovecot();
    await from.deliver('alice', variedMailbox(20, 1));
    const env = { NODE_ENV: 'production' };
    await using service = await Service.start({ redisUrl: redis.url, cwd: dir.path, env });
    const { id } = await service.create(migrationBody(from, to, 'alice'));
    assert.equal((await service.ended(id)).state, 'completed');
    assert.equal((await readFolder(to, 'alice')).length, 20);
  });

  for (const script of ['src/main.ts', 'workers/main.ts'])
    it(`${script} refuses to run on generated secrets, in one line`, async () => {
      const env = { NODE_ENV: 'production', REDIS_URL: redis.url, PATH: process.env.PATH };
      const failed = await run(process.execPath, [script], { cwd: dir.path, env }).then(
        () => assert.fail('it started'),
        (error: { code: number; stderr: string }) => error,
      );
      assert.equal(failed.code, 1);
      assert.match(failed.stderr, /^POPBRIDGE_SECRET_KEYS must be set when NODE_ENV=production[^\n]*\n$/);
    });
});
