import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Migration } from '../../src/domain/migration.ts';
import { type Dovecot, startDovecot } from '../support/dovecot.ts';
import { readFolder } from '../support/imap-reader.ts';
import { variedMailbox } from '../support/messages.ts';
import { freePort } from '../support/net.ts';
import { startPop3Server } from '../support/pop3-server.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { migrationBody, Service } from '../support/service.ts';

type Body = ReturnType<typeof migrationBody>;

describe('what goes wrong is told with what to do', () => {
  let from: Dovecot;
  let to: Dovecot;
  let redis: RedisServer;
  let service: Service;

  before(async () => {
    [from, to, redis] = await Promise.all([
      startDovecot({ certificate: { names: ['DNS:pop.example.net'] } }),
      startDovecot({ certificate: { expired: true } }),
      startRedis(),
    ]);
    const trusted = join(from.dir, 'trusted.pem');
    await writeFile(
      trusted,
      await Promise.all([readFile(from.caFile), readFile(to.caFile)]).then(Buffer.concat),
    );
    service = await Service.start({ redisUrl: redis.url, env: { POPBRIDGE_TLS_CA_FILE: trusted } });
    await from.deliver('alice', variedMailbox(3, 1));
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await Promise.all([from?.stop(), to?.stop(), redis?.stop()]);
  });

  /** Runs a migration with one end changed, until it rests. */
  const outcome = async (
    end: 'source' | 'destination',
    change: object,
    user = 'alice',
  ): Promise<Migration> => {
    const body: Body = migrationBody(from, to, user);
    Object.assign(body[end] as object, change);
    const { id } = await service.create(body);
    const rested = await service.reach(id, ['waiting', 'failed', 'completed']);
    await service.call('POST', `/v1/migrations/${id}/cancel`);
    return rested;
  };

  const assertError = (migration: Migration, code: string, side: string, words: RegExp) => {
    assert.equal(migration.error?.code, code, JSON.stringify(migration.error));
    assert.equal(migration.error?.side, side);
    assert.match(migration.error?.detail ?? '', words);
    assert.ok((migration.error?.hint ?? '').length > 20);
  };

  for (const [end, words] of [
    ['source', /authentication failed/i],
    ['destination', /authentication failed/i],
  ] as const)
    it(`a wrong password at the ${end} waits for credentials and goes on when it gets them`, async () => {
      const body: Body = migrationBody(from, to, 'alice');
      Object.assign(body[end] as object, { auth: { type: 'password', password: 'wrong-5up3r' } });
      const { id } = await service.create(body);
      const waiting = await service.reach(id, ['waiting', 'failed', 'completed']);
      assert.equal(waiting.state, 'waiting');
      assert.equal(waiting.stateReason, 'credentials_required');
      assertError(waiting, 'authentication_failed', end, words);
      assert.ok(!service.output.includes('wrong-5up3r'), 'the password stands in no log');
      const auth = { type: 'password', password: 'secret' };
      const put = await service.call('PUT', `/v1/migrations/${id}/credentials`, { [end]: { auth } });
      assert.equal(put.status, 200, JSON.stringify(put.body));
      assert.equal((await service.ended(id)).state, 'completed');
      assert.equal((await readFolder(to, 'alice')).length, 3);
    });

  it('a host that does not exist', async () => {
    const migration = await outcome('source', { host: 'pop.does-not-exist.invalid' });
    assert.equal(migration.state, migration.error?.code === 'host_not_found' ? 'failed' : 'waiting');
    assert.match(migration.error?.detail ?? '', /pop\.does-not-exist\.invalid/);
  });

  it('a port that refuses', async () => {
    const port = await freePort();
    const migration = await outcome('destination', { port });
    assert.equal(migration.state, 'waiting');
    assert.equal(migration.stateReason, 'unreachable');
    assert.ok(Date.parse(migration.nextRunAt ?? '') > Date.now());
    assertError(migration, 'unreachable', 'destination', new RegExp(`127\\.0\\.0\\.1.*${port}`));
  });

  it('a certificate for another name', async () => {
    const migration = await outcome('source', { port: from.ports.pop3s, security: 'tls' });
    assert.equal(migration.state, 'failed');
    assertError(migration, 'tls_name_mismatch', 'source', /pop\.example\.net/);
  });

  it('is mended by tls.serverName', async () => {
    const tls = { serverName: 'pop.example.net' };
    const migration = await outcome('source', { port: from.ports.pop3s, security: 'tls', tls });
    assert.equal(migration.state, 'completed', JSON.stringify(migration.error));
  });

  it('a certificate that has expired', async () => {
    const migration = await outcome('destination', { port: to.ports.imaps, security: 'tls' });
    assert.equal(migration.state, 'failed');
    assertError(migration, 'tls_certificate_expired', 'destination', /expired/i);
  });

  it('a certificate of an authority that nobody trusts', async () => {
    await using stranger = await startDovecot();
    const migration = await outcome('destination', { port: stranger.ports.imaps, security: 'tls' });
    assert.equal(migration.state, 'failed');
    assertError(migration, 'tls_untrusted', 'destination', /./);
  });

  it('a mailbox that somebody else has open', async () => {
    await using locked = await startPop3Server({
      on: { PASS: () => '-ERR [IN-USE] Do you have another POP session running?\r\n' },
    });
    const migration = await outcome('source', { port: locked.port });
    assert.equal(migration.state, 'waiting');
    assert.equal(migration.stateReason, 'mailbox_locked');
    assertError(migration, 'mailbox_locked', 'source', /another POP session/);
  });

  it('a server that speaks something else', async () => {
    await using smtp = await startPop3Server({ greeting: '220 mail.example.net ESMTP\r\n' });
    const migration = await outcome('source', { port: smtp.port });
    assert.equal(migration.state, 'waiting');
    assertError(migration, 'protocol_error', 'source', /220 mail\.example\.net ESMTP/);
  });

  it('a folder whose name holds the delimiter of the server', async () => {
    const migration = await outcome('destination', { folder: { path: ['a/b'] } });
    assert.equal(migration.state, 'failed');
    assertError(migration, 'folder_unavailable', 'destination', /a\/b/);
  });
});

describe('what is not allowed is refused at the door', () => {
  let redis: RedisServer;
  let service: Service;

  before(async () => {
    redis = await startRedis();
    const env = { POPBRIDGE_ALLOW_NETWORKS: '', POPBRIDGE_ALLOW_PLAINTEXT: 'false' };
    service = await Service.start({ redisUrl: redis.url, env, workers: 0 });
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await redis?.stop();
  });

  const auth = { type: 'password', password: 'secret' };
  const end = (change: object) => ({
    host: 'mail.example.net',
    security: 'tls',
    username: 'a',
    auth,
    ...change,
  });
  const refused = async (source: object, code: string, pointer: string) => {
    const body = {
      label: 'x',
      source: end(source),
      destination: { ...end({}), folder: { path: ['INBOX'] } },
    };
    const answer = await service.call<{ code: string; errors?: { pointer: string; code: string }[] }>(
      'POST',
      '/v1/migrations',
      body,
    );
    assert.equal(answer.status, 422, JSON.stringify(answer.body));
    assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json/);
    assert.equal(answer.body.code, code);
    assert.equal(answer.body.errors?.[0]?.pointer, pointer);
  };

  it('plaintext', () => refused({ security: 'none' }, 'plaintext_not_allowed', '/source/security'));
  it('a private address', () => refused({ host: '10.1.2.3' }, 'address_not_allowed', '/source/host'));
  it('this machine', () => refused({ host: 'localhost' }, 'address_not_allowed', '/source/host'));
  it('the metadata service', () =>
    refused({ host: '169.254.169.254' }, 'address_not_allowed', '/source/host'));
});
