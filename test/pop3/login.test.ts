import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { inspect } from 'node:util';
import { BridgeError, type ErrorCode, type Recovery } from '../../src/domain/errors.ts';
import type { Auth } from '../../src/domain/migration.ts';
import { isBridgeError, never, pop3Source } from '../support/pop3-client.ts';
import { CAPABILITIES, listing, type Pop3Server, type Say, startPop3Server } from '../support/pop3-server.ts';

const PLAIN = (response: string) => Buffer.from(response).toString('base64');
const without = (...gone: string[]) => CAPABILITIES.filter((line) => !gone.includes(line));

async function signIn(server: Pop3Server, auth: Partial<Auth> = {}): Promise<void> {
  const session = await pop3Source({ ...address(server), auth }).open(never);
  await session.quit();
}

function address({ host, port }: Pop3Server): { host: string; port: number } {
  return { host, port };
}

suite('signing in to POP3', () => {
  test('asks CAPA before and after, and waits for each answer', async () => {
    await using server = await startPop3Server();
    await signIn(server);
    assert.deepEqual(server.lines, ['CAPA', 'USER anna', 'PASS secret', 'CAPA', 'QUIT']);
    assert.equal(server.mostPending, 1);
  });

  test('knows what the server can do for this user', async () => {
    let asked = 0;
    const capa = () => listing(asked++ === 0 ? ['USER'] : ['top', 'Expire 30 USER', 'PIPELINING']);
    await using server = await startPop3Server({ on: { CAPA: capa } });
    const session = await pop3Source(address(server)).open(never);
    assert.deepEqual(
      [...session.capabilities],
      [
        ['TOP', []],
        ['EXPIRE', ['30', 'USER']],
        ['PIPELINING', []],
      ],
    );
    session.destroy();
  });

  test('needs no CAPA', async () => {
    await using server = await startPop3Server({ on: { CAPA: () => '-ERR what?\r\n' } });
    await signIn(server);
    assert.deepEqual(server.lines, ['CAPA', 'USER anna', 'PASS secret', 'CAPA', 'QUIT']);
  });

  test('sends UTF8 once where it is offered before', async () => {
    await using server = await startPop3Server({ capabilities: [...CAPABILITIES, 'UTF8 USER'] });
    await signIn(server);
    assert.deepEqual(server.lines, ['CAPA', 'UTF8', 'USER anna', 'PASS secret', 'CAPA', 'QUIT']);
  });

  test('sends UTF8 after where it was not taken before, and lives without it', async () => {
    const on = { UTF8: () => '-ERR not now\r\n' };
    await using server = await startPop3Server({ capabilities: [...CAPABILITIES, 'UTF8'], on });
    await signIn(server);
    assert.deepEqual(server.lines, ['CAPA', 'UTF8', 'USER anna', 'PASS secret', 'CAPA', 'UTF8', 'QUIT']);
  });

  test('sends a password as it is, blanks at both ends included', async () => {
    await using server = await startPop3Server({ on: { PASS: () => '+OK\r\n' } });
    await signIn(server, { password: '  s ü p  ' });
    assert.ok(server.lines.includes('PASS   s ü p  '));
  });

  test('uses SASL PLAIN in one line where an authorization id is given', async () => {
    await using server = await startPop3Server({ on: { AUTH: () => '+OK\r\n' } });
    await signIn(server, { authorizationId: 'berta' });
    assert.deepEqual(server.lines, ['CAPA', `AUTH PLAIN ${PLAIN('berta\0anna\0secret')}`, 'CAPA', 'QUIT']);
  });

  test('uses SASL PLAIN where USER is not offered', async () => {
    await using server = await startPop3Server({ capabilities: without('USER') });
    await signIn(server);
    assert.ok(server.lines.includes(`AUTH PLAIN ${PLAIN('\0anna\0secret')}`));
  });

  test('uses SASL PLAIN in two lines where it is long, or where the server asks again', async () => {
    const on = { AUTH: () => '+ \r\n', [PLAIN('\0anna\0secret')]: () => '+OK\r\n' };
    await using asking = await startPop3Server({ capabilities: without('USER'), on });
    await signIn(asking);
    const password = 'x'.repeat(300);
    const long = PLAIN(`\0anna\0${password}`);
    await using server = await startPop3Server({
      capabilities: without('USER'),
      on: { AUTH: () => '+ \r\n', [long]: () => '+OK\r\n' },
    });
    await signIn(server, { password });
    assert.deepEqual(server.lines.slice(1, 3), ['AUTH PLAIN', long]);
  });

  test('cancels a SASL exchange that goes on and on', async () => {
    const on = { AUTH: () => '+ \r\n', [PLAIN('\0anna\0secret')]: () => '+ \r\n', '*': () => '-ERR off\r\n' };
    await using server = await startPop3Server({ capabilities: without('USER'), on });
    await assert.rejects(signIn(server), isBridgeError('authentication_failed'));
    assert.equal(server.lines.at(-1), '*');
  });

  test('sends no password where the server offers no way to take it', async () => {
    for (const auth of [{}, { authorizationId: 'berta' }]) {
      await using server = await startPop3Server({ capabilities: ['UIDL', 'SASL GSSAPI'] });
      await assert.rejects(signIn(server, auth), isBridgeError('authentication_unsupported'));
      assert.deepEqual(server.lines, ['CAPA']);
    }
  });

  test('lets no line break and no NUL reach the wire', async () => {
    await using server = await startPop3Server();
    for (const poison of ['a\rb', 'a\nDELE 1', 'a\0b', 'a\r\nQUIT']) {
      const accounts = [
        { username: poison },
        { auth: { password: poison } },
        { auth: { authorizationId: poison } },
      ];
      for (const account of accounts) {
        const opening = pop3Source({ ...address(server), ...account }).open(never);
        await assert.rejects(opening, isBridgeError('invalid_credentials'));
      }
    }
    assert.equal(server.peers.length, 0);
  });
});

suite('what -ERR at the door means', () => {
  const cases: { say: string; code: ErrorCode; recovery: Recovery }[] = [
    { say: '[IN-USE] Do you have another POP session running?', code: 'mailbox_locked', recovery: 'wait' },
    { say: '[LOGIN-DELAY] minimum time between logins', code: 'login_delay', recovery: 'wait' },
    { say: '[AUTH] no', code: 'authentication_failed', recovery: 'final' },
    { say: '[auth/expired] no', code: 'authentication_failed', recovery: 'final' },
    { say: '[SYS/TEMP] later', code: 'server_refused', recovery: 'wait' },
    { say: '[SYS/TEMP/DISK] later', code: 'server_refused', recovery: 'wait' },
    { say: '[SYS/PERM] never', code: 'server_refused', recovery: 'final' },
    { say: '[NEW-CODE] no', code: 'authentication_failed', recovery: 'final' },
    { say: 'bad password', code: 'authentication_failed', recovery: 'final' },
    { say: '', code: 'authentication_failed', recovery: 'final' },
  ];

  for (const { say, code, recovery } of cases) {
    test(`to PASS: "${say}" is ${code}, ${recovery}`, async () => {
      await using server = await startPop3Server({
        capabilities: [...CAPABILITIES, 'LOGIN-DELAY 12'],
        on: { PASS: () => `-ERR ${say}\r\n` },
      });
      const error = await failure(server);
      assert.deepEqual(
        [error.code, error.recovery, error.side, error.detail],
        [code, recovery, 'source', say],
      );
      assert.equal(error.waitMs, code === 'login_delay' ? 12_000 : undefined);
    });
  }

  test('as a greeting: the server refuses for now, for every mailbox on it', async () => {
    await using server = await startPop3Server({ greeting: '-ERR too many connections\r\n' });
    const error = await failure(server);
    assert.deepEqual([error.code, error.scope, error.recovery], ['server_refused', 'host', 'wait']);
    assert.equal(error.detail, 'too many connections');
    assert.deepEqual(server.lines, []);
  });

  for (const greeting of [
    '220 mail.test ESMTP\r\n',
    '* OK IMAP4rev1\r\n',
    '\x00\x01',
    `+OK${'x'.repeat(9000)}`,
  ]) {
    test(`as a greeting, ${JSON.stringify(greeting.slice(0, 20))} is no POP3`, async () => {
      await using server = await startPop3Server({ greeting });
      const error = await failure(server);
      assert.equal(error.code, 'protocol_error');
      if (greeting.endsWith('\r\n')) assert.ok(error.detail.includes(greeting.trim()));
    });
  }

  test('shows the words without control characters and cut', async () => {
    const say = `-ERR \x1b[31mno\x07 \u202e${'long '.repeat(200)}\r\n`;
    await using server = await startPop3Server({ on: { PASS: () => say } });
    const { detail } = await failure(server);
    assert.ok(detail.startsWith('[31mno long long'));
    assert.ok(detail.length <= 300);
  });
});

suite('a server that repeats what it was told', () => {
  const password = 'correct horse\tbattery';
  const echoes: Record<string, (line: string) => Say> = {
    'as -ERR': (line) => `-ERR cannot do ${line}\r\n`,
    'as garbage': (line) => `${line}\r\n`,
    'as -ERR nobody asked for': (line) => `+OK\r\n-ERR ${line}\r\n`,
    'as +OK nobody asked for': (line) => `+OK\r\n+OK ${line}\r\n`,
    'in pieces': (line) => line.slice(0, 18),
  };

  for (const [how, echo] of Object.entries(echoes)) {
    for (const capabilities of [CAPABILITIES, without('USER')]) {
      const verb = capabilities === CAPABILITIES ? 'PASS' : 'AUTH';
      test(`${how} after ${verb} gets no secret into an error`, async () => {
        await using server = await startPop3Server({ capabilities, on: { [verb]: echo } });
        const error = await failure(server, { password });
        const shown = inspect(error, { depth: 10 }) + JSON.stringify(error) + JSON.stringify(error.report());
        for (const secret of ['correct', 'horse', 'battery', PLAIN(`\0anna\0${password}`).slice(0, 24)]) {
          assert.ok(!shown.includes(secret), `${secret} in ${shown}`);
        }
      });
    }
  }

  test('and an open session shows none either', async () => {
    await using server = await startPop3Server({ on: { PASS: () => '+OK\r\n' } });
    const session = await pop3Source({ ...address(server), auth: { password } }).open(never);
    assert.ok(!inspect(session, { depth: 20, showHidden: true }).includes('horse'));
    session.destroy();
  });
});

/** The error of signing in and listing: some of these servers spoil the command after the one at fault. */
async function failure(server: Pop3Server, auth: Partial<Auth> = {}): Promise<BridgeError> {
  try {
    const session = await pop3Source({ ...address(server), auth }).open(never);
    await session.list(never);
  } catch (error) {
    if (error instanceof BridgeError) return error;
    throw error;
  }
  throw new Error('nothing failed');
}
