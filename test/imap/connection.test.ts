import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import type { BridgeError } from '../../src/domain/errors.ts';
import { startDovecot } from '../support/dovecot.ts';
import { type ImapServerOptions, startImapServer } from '../support/imap-server.ts';
import { type Account, ALWAYS, appendAll, openOn, outgoing, targetOn } from '../support/imap-target.ts';

const INBOX = { path: ['INBOX'] };
const SHORT = { greetingMs: 500, replyMs: 500 };

/** What opening fails with. */
async function failure(options: ImapServerOptions, account: Partial<Account> = {}): Promise<BridgeError> {
  await using server = await startImapServer(options);
  const target = await targetOn(server, account);
  const error = await target.open(INBOX, ALWAYS).then(
    () => assert.fail('it opened'),
    (thrown) => thrown,
  );
  assert.equal(error.name, 'BridgeError', inspect(error));
  assert.equal(error.side, 'destination');
  return error;
}

/** A server that answers this command so. */
function answering(command: string, ...lines: string[]): ImapServerOptions {
  return { respond: ({ name }) => (name === command ? lines : undefined) };
}

describe('signing in to a real Dovecot', () => {
  for (const security of ['none', 'starttls', 'tls'] as const)
    it(`works with security ${security}`, async () => {
      await using dovecot = await startDovecot();
      await using session = await openOn(dovecot, INBOX, { security });
      assert.equal((await appendAll(session, [outgoing('Subject: x\r\n\r\n')])).length, 1);
    });

  it('refuses a certificate of another name, also after STARTTLS', async () => {
    await using dovecot = await startDovecot({ certificate: { names: ['DNS:elsewhere.test'] } });
    for (const security of ['starttls', 'tls'] as const) {
      const target = await targetOn(dovecot, { security });
      await assert.rejects(target.open(INBOX, ALWAYS), { code: 'tls_name_mismatch', side: 'destination' });
    }
  });

  it('refuses a certificate that has expired, after STARTTLS', async () => {
    await using dovecot = await startDovecot({ certificate: { expired: true } });
    const target = await targetOn(dovecot, { security: 'starttls' });
    await assert.rejects(target.open(INBOX, ALWAYS), { code: 'tls_certificate_expired' });
  });

  it('puts mail into the mailbox of the authorization identity', async () => {
    const master = ['passdb {', 'driver = static', 'args = password=master', 'master = yes', '}'];
    const extra = [...master, 'auth_username_chars =', 'auth_master_user_separator = *'].join('\n');
    await using dovecot = await startDovecot({ extra });
    const account = { username: 'admin/x', password: 'master', authorizationId: 'carol' };
    await using session = await openOn(dovecot, INBOX, account);
    await appendAll(session, [outgoing('Subject: for carol\r\n\r\n')]);
    assert.match(await dovecot.doveadm('fetch', '-u', 'carol', 'hdr.subject', 'all'), /for carol/);
  });

  it('says authentication_failed in the words of the server', async () => {
    await using dovecot = await startDovecot();
    const target = await targetOn(dovecot, { password: 'not-it' });
    await assert.rejects(target.open(INBOX, ALWAYS), {
      code: 'authentication_failed',
      recovery: 'final',
      detail: 'NO [AUTHENTICATIONFAILED] Authentication failed.',
    });
  });
});

describe('a server that does not let us in', () => {
  it('has no STARTTLS, and no password is sent', async () => {
    await using server = await startImapServer();
    const target = await targetOn(server, { security: 'starttls' });
    await assert.rejects(target.open(INBOX, ALWAYS), { code: 'starttls_unavailable' });
    assert.deepEqual(
      server.commands.map(({ line }) => line),
      ['CAPABILITY'],
    );
  });

  it('refuses STARTTLS, or says more than its answer to it', async () => {
    const capabilities = ['IMAP4rev1', 'STARTTLS', 'AUTH=PLAIN'];
    const refused = await failure(
      { capabilities, ...answering('STARTTLS', 'TAG NO no') },
      { security: 'starttls' },
    );
    assert.equal(refused.code, 'starttls_unavailable');
    const injected = await failure(
      { capabilities, ...answering('STARTTLS', 'TAG OK go\r\n* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN]') },
      { security: 'starttls' },
    );
    assert.equal(injected.code, 'tls_failed');
  });

  it('has signed us in already, as somebody', async () => {
    const error = await failure(answering('', '* PREAUTH hello'));
    assert.equal(error.code, 'authentication_unsupported');
    assert.match(error.detail, /PREAUTH/);
    const secure = await failure(answering('', '* PREAUTH hello'), { security: 'starttls' });
    assert.equal(secure.code, 'starttls_unavailable');
  });

  it('takes no passwords', async () => {
    const error = await failure({ capabilities: ['IMAP4rev1', 'LOGINDISABLED'] });
    assert.equal(error.code, 'authentication_unsupported');
  });

  it('has no SASL PLAIN for an authorization identity', async () => {
    const error = await failure({ capabilities: ['IMAP4rev1'] }, { authorizationId: 'carol' });
    assert.equal(error.code, 'authentication_unsupported');
    assert.match(error.detail, /authorizationId/);
  });

  it('has too many of us already', async () => {
    for (const options of [
      answering('AUTHENTICATE', '+ ', 'TAG NO [LIMIT] Maximum number of connections exceeded'),
      answering('', '* BYE Too many simultaneous connections', 'CLOSE'),
    ]) {
      const error = await failure(options);
      assert.equal(error.code, 'throttled');
      assert.equal(error.recovery, 'wait');
      assert.equal(error.scope, 'mailbox');
    }
  });

  it('is not ready for now', async () => {
    const error = await failure(answering('AUTHENTICATE', '+ ', 'TAG NO [UNAVAILABLE] backend is down'));
    assert.deepEqual([error.code, error.recovery], ['unreachable', 'wait']);
    assert.equal(error.detail, 'NO [UNAVAILABLE] backend is down');
  });

  it('says nothing, at the greeting or later', async () => {
    for (const step of ['', 'AUTHENTICATE', 'EXAMINE'])
      assert.equal((await failure(answering(step), { timeouts: SHORT })).code, 'timeout');
  });

  it('closes, at the greeting or later', async () => {
    assert.equal((await failure(answering('', 'CLOSE'))).code, 'connection_lost');
    assert.equal((await failure(answering('AUTHENTICATE', 'CLOSE'))).code, 'connection_lost');
  });

  it('repeats the password, which the error does not', async () => {
    const base64 = Buffer.from('my:secret').toString('base64');
    const options = answering('LOGIN', `TAG BAD what is "LOGIN alice my:secret" or ${base64}?`);
    const error = await failure({ capabilities: ['IMAP4rev1'], ...options }, { password: 'my:secret' });
    assert.equal(error.code, 'authentication_failed');
    assert.equal(error.detail, 'BAD what is "LOGIN alice ***" or ***?');
    assert.doesNotMatch(inspect(error, { depth: 9 }), /my:secret|bXk6c2VjcmV0/);
  });

  it('speaks another protocol', async () => {
    const server = createServer((socket) =>
      socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const target = await targetOn({ port }, { timeouts: SHORT });
    await assert.rejects(target.open(INBOX, ALWAYS), { name: 'BridgeError' });
    server.close();
  });
});

describe('credentials that cannot be sent', () => {
  for (const account of [
    { username: 'a\r\nb' },
    { password: 'a\nb' },
    { password: 'a\0b' },
    { authorizationId: 'a\0b' },
  ])
    it(`are refused before a connection is made: ${JSON.stringify(account)}`, async () => {
      await using server = await startImapServer();
      const target = await targetOn(server, account);
      await assert.rejects(target.open(INBOX, ALWAYS), { code: 'invalid_credentials' });
      assert.equal(server.connections.made, 0);
    });
});

describe('an abort while connecting', () => {
  for (const step of ['', 'AUTHENTICATE', 'EXAMINE', 'SUBSCRIBE'])
    it(`drops the connection, at ${step || 'the greeting'}`, async () => {
      const stop = new AbortController();
      const reason = new Error('enough');
      await using server = await startImapServer({
        respond: ({ name }) => {
          if (name !== step) return undefined;
          setImmediate(() => stop.abort(reason));
          return [];
        },
      });
      const target = await targetOn(server);
      await assert.rejects(target.open(INBOX, stop.signal), reason);
    });
});
