import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { connect } from 'node:tls';
import { Redis } from 'ioredis';
import { type Dovecot, startDovecot } from './dovecot.ts';
import { hardCases, hugeMessage, variedMailbox } from './messages.ts';
import { freePort, until } from './net.ts';
import { type ReadMessage, readPop3 } from './pop3-reader.ts';
import { startRedis } from './redis.ts';

describe('a private Dovecot', () => {
  it('delivers what was put into it over POP3, in order and byte for byte', async () => {
    await using dovecot = await startDovecot();
    const messages = variedMailbox(60, 7);
    await dovecot.deliver('alice', messages.slice(0, 40));
    await dovecot.deliver('alice', messages.slice(40));
    assert.deepEqual(bytesOf(await read(dovecot, 'alice')), messages);
  });

  it('delivers each hard case as it is, but for line ends', async () => {
    await using dovecot = await startDovecot();
    const cases = hardCases();
    await dovecot.deliver(
      'alice',
      cases.map(({ bytes }) => bytes),
    );
    const delivered = await read(dovecot, 'alice');
    assert.equal(delivered.length, cases.length);
    for (const [index, { name, bytes }] of cases.entries())
      assert.deepEqual(delivered[index]?.bytes, asServed(bytes), name);
  });

  it('keeps order and bytes in sdbox, and a 20 MB message whole', async () => {
    await using dovecot = await startDovecot({ storage: 'sdbox' });
    const messages = [...variedMailbox(5, 3), hugeMessage()];
    await dovecot.deliver('bob', messages);
    assert.deepEqual(bytesOf(await read(dovecot, 'bob')), messages);
  });

  it('runs beside another one, with other ports and other mail', async () => {
    await using first = await startDovecot();
    await using second = await startDovecot({ quota: { storage: '20M', maxMailSize: '8M' } });
    await first.deliver('alice', variedMailbox(2, 1));
    assert.equal((await read(second, 'alice')).length, 0);
    assert.match(await second.doveadm('quota', 'get', '-u', 'alice'), /STORAGE\s+0\s+20480/);
  });

  it('leaves nothing behind when it stops, and stops twice', async () => {
    const dovecot = await startDovecot();
    await dovecot.stop();
    await dovecot.stop();
    assert.throws(() => process.kill(dovecot.pid, 0), { code: 'ESRCH' });
    await assert.rejects(readFile(dovecot.caFile), { code: 'ENOENT' });
  });

  it('shows an expired certificate, or one of another name, when asked to', async () => {
    await using expired = await startDovecot({ certificate: { expired: true } });
    await using other = await startDovecot({ certificate: { names: ['DNS:elsewhere.test'] } });
    await assert.rejects(handshake(expired), { code: 'CERT_HAS_EXPIRED' });
    await assert.rejects(handshake(other), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  });

  it('says what is wrong when it cannot start', async () => {
    await assert.rejects(startDovecot({ extra: 'no_such_setting = 1' }), /no_such_setting/);
  });
});

describe('a private Redis', () => {
  it('never evicts, and comes back with its data after a kill', async () => {
    await using server = await startRedis();
    await using client = disposable(server.url);
    assert.deepEqual(await client.redis.config('GET', 'maxmemory-policy'), [
      'maxmemory-policy',
      'noeviction',
    ]);
    await client.redis.set('key', 'value');
    await until(async () => /aof_pending_bio_fsync:0/.test(await client.redis.info('persistence')), {
      what: 'the append-only file to be written',
    });
    const pid = server.pid;
    await server.kill();
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
    await server.restart();
    assert.equal(await client.redis.get('key'), 'value');
  });
});

describe('generated mail', () => {
  it('is the same for the same seed and another for another', () => {
    assert.deepEqual(variedMailbox(20, 5), variedMailbox(20, 5));
    assert.notDeepEqual(variedMailbox(20, 5), variedMailbox(20, 6));
  });

  it('names each hard case once', () => {
    const names = hardCases().map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
  });
});

describe('until', () => {
  it('fails by name, with what the condition threw last', async () => {
    const never = () => Promise.reject(new Error('not yet'));
    await assert.rejects(until(never, { what: 'the moon', timeoutMs: 30 }), (error: Error) => {
      assert.match(error.message, /the moon/);
      assert.match(`${error.cause}`, /not yet/);
      return true;
    });
  });

  it('gives ports that can be listened on', async () => {
    const ports = await Promise.all([freePort(), freePort(), freePort()]);
    assert.ok(ports.every((port) => port > 1_024 && port < 32_768));
  });
});

async function read(dovecot: Dovecot, username: string): Promise<ReadMessage[]> {
  const { host, ports, password, caFile } = dovecot;
  return readPop3({ host, port: ports.pop3s, ca: await readFile(caFile), username, password });
}

function bytesOf(messages: readonly ReadMessage[]): Buffer[] {
  return messages.map(({ bytes }) => bytes);
}

/**
 * Dovecot's POP3 ends every line with CRLF, the last one too. It does not double a dot that begins the very first
 * line (seen on 2.3.19), which every client must then take away.
 */
function asServed(bytes: Buffer): Buffer {
  const text = bytes.toString('latin1').replaceAll(/\r?\n/g, '\r\n').replace(/^\./, '');
  return Buffer.from(text.endsWith('\r\n') ? text : `${text}\r\n`, 'latin1');
}

async function handshake(dovecot: Dovecot): Promise<void> {
  const ca = await readFile(dovecot.caFile);
  const socket = connect({ host: dovecot.host, port: dovecot.ports.imaps, ca, servername: 'localhost' });
  try {
    await once(socket, 'secureConnect');
  } finally {
    socket.destroy();
  }
}

function disposable(url: string): { redis: Redis } & AsyncDisposable {
  const redis = new Redis(url);
  // Expected while the server is down; commands wait for it to come back.
  redis.on('error', () => undefined);
  return {
    redis,
    async [Symbol.asyncDispose]() {
      redis.disconnect();
    },
  };
}
