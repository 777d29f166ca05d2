import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { suite, test } from 'node:test';
import { TLSSocket } from 'node:tls';
import { SharedBudget } from '../../src/domain/budget.ts';
import type { ErrorCode } from '../../src/domain/errors.ts';
import { freePort, tempDir } from '../support/net.ts';
import { entry, isBridgeError, never, pop3Source, takeAll } from '../support/pop3-client.ts';
import { listing, type Pop3ServerOptions, startPop3Server } from '../support/pop3-server.ts';
import { createAuthority } from '../support/tls.ts';

const messages = Array.from({ length: 3 }, () => Buffer.from('x\r\n'));
const sizes = listing(['1 3', '2 3', '3 3']);
const quick = { connectMs: 40, greetingMs: 40, replyMs: 40, idleMs: 40, quitMs: 40 };
const hangUp: NonNullable<Pop3ServerOptions['on']>[string] = (_, { socket }) => {
  socket.end();
  return null;
};
const reset: typeof hangUp = (_, { socket }) => {
  socket.resetAndDestroy();
  return null;
};

/** Signs in, lists and takes everything. */
async function run(options: Pop3ServerOptions): Promise<void> {
  await using server = await startPop3Server({ messages, ...options });
  const session = await pop3Source(server, { timeouts: quick }).open(never);
  const budget = new SharedBudget(1_000);
  try {
    await takeAll(session.retrieve(await session.list(never), budget, never));
  } finally {
    session.destroy();
    assert.equal(budget.used, 0);
  }
}

suite('a POP3 server at its worst', () => {
  const faults: [string, Pop3ServerOptions, ErrorCode][] = [
    ['never greets', { greeting: null }, 'timeout'],
    ['stops in the middle of its greeting', { greeting: '+OK re' }, 'timeout'],
    ['never answers PASS', { on: { PASS: () => null } }, 'timeout'],
    ['never answers LIST', { on: { LIST: () => null } }, 'timeout'],
    ['stops in the middle of UIDL', { on: { UIDL: () => '+OK\r\n1 id' } }, 'timeout'],
    ['stops in the middle of a message', { on: { RETR: () => '+OK\r\nx\r\n.' } }, 'timeout'],
    ['hangs up at PASS', { on: { PASS: hangUp } }, 'connection_lost'],
    ['hangs up at UIDL', { on: { UIDL: hangUp } }, 'connection_lost'],
    ['resets the connection at UIDL', { on: { UIDL: reset } }, 'connection_lost'],
    ['resets the connection at RETR', { on: { RETR: reset } }, 'connection_lost'],
    ['answers RETR with garbage', { on: { RETR: () => 'HTTP/1.1 400\r\n' } }, 'protocol_error'],
    ['answers RETR as SASL', { on: { RETR: () => '+ \r\n' } }, 'protocol_error'],
    ['answers twice', { on: { LIST: () => `${sizes}+OK\r\n` } }, 'protocol_error'],
    ['says good-bye unasked', { on: { LIST: () => `${sizes}-ERR bye\r\n` } }, 'connection_lost'],
  ];

  for (const [what, options, code] of faults) {
    test(`that ${what} ends in ${code}`, async () => {
      const error = await run({ ...options }).then(
        async () => null,
        (thrown: unknown) => thrown,
      );
      assert.ok(isBridgeError(code)(error), `${error}`);
      assert.equal(error.side, 'source');
    });
  }

  test('that is slow is waited for as long as bytes keep coming', async () => {
    const text = `+OK\r\n${'slow\r\n'.repeat(6)}.\r\n`;
    const on: Pop3ServerOptions['on'] = {
      RETR: (_, { socket }) => {
        let at = 0;
        const dripping = setInterval(() => {
          socket.write(text.charAt(at++));
          if (at === text.length) clearInterval(dripping);
        }, 15);
        return null;
      },
    };
    await using server = await startPop3Server({ on });
    const session = await pop3Source(server, { timeouts: { replyMs: 300, idleMs: 300 } }).open(never);
    const [message] = await takeAll(session.retrieve([entry(1)], new SharedBudget(1_000), never));
    assert.equal(message?.bytes.toString(), 'slow\r\n'.repeat(6));
    session.destroy();
  });

  test('that breaks while nothing is asked fails the next command', async () => {
    await using server = await startPop3Server({ messages });
    const session = await pop3Source(server).open(never);
    const socket = server.peers[0]?.socket;
    socket?.end('-ERR Disconnected for inactivity.\r\n');
    assert.ok(socket !== undefined);
    await once(socket, 'close');
    await assert.rejects(session.list(never), (error) => {
      assert.ok(isBridgeError('connection_lost')(error));
      assert.equal(error.detail, 'Disconnected for inactivity.');
      return true;
    });
    await session.quit();
  });

  test('that is not there is unreachable', async () => {
    const source = pop3Source({ host: '127.0.0.1', port: await freePort() });
    await assert.rejects(source.open(never), isBridgeError('unreachable'));
  });

  test('that never answers QUIT is left all the same', async () => {
    await using server = await startPop3Server({ on: { QUIT: () => null } });
    const session = await pop3Source(server, { timeouts: quick }).open(never);
    await session.quit();
    assert.equal(server.lines.at(-1), 'QUIT');
    await assert.rejects(session.list(never), isBridgeError('timeout'));
  });

  test('that never answers is left at once on abort, wherever it is', async () => {
    for (const verb of ['CAPA', 'PASS', 'UIDL', 'LIST', 'RETR']) {
      const abort = new AbortController();
      const reason = new Error('stop');
      const on = {
        [verb]: () => {
          abort.abort(reason);
          return null;
        },
      };
      await using server = await startPop3Server({ messages, on });
      const taking = async () => {
        const session = await pop3Source(server).open(abort.signal);
        const entries = await session.list(abort.signal);
        await takeAll(session.retrieve(entries, new SharedBudget(1_000), abort.signal));
      };
      await assert.rejects(taking, reason);
    }
  });
});

suite('STLS', () => {
  const account = { host: 'localhost', security: 'starttls' } as const;

  test('forgets nothing and falls back to nothing where the server refuses it', async () => {
    await using server = await startPop3Server();
    const source = pop3Source({ ...account, port: server.port });
    await assert.rejects(source.open(never), isBridgeError('starttls_unavailable'));
    assert.deepEqual(server.lines, ['STLS']);
  });

  for (const injected of ['+OK injected\r\n', '-ERR injected\r\n', '+OK without an end', '\r\n']) {
    test(`refuses bytes that came before the handshake: ${JSON.stringify(injected)}`, async () => {
      await using server = await startPop3Server({ on: { STLS: () => `+OK begin\r\n${injected}` } });
      const source = pop3Source({ ...account, port: server.port });
      await assert.rejects(source.open(never), (error) => {
        assert.ok(isBridgeError('protocol_error')(error));
        assert.match(error.detail, /between STLS and the TLS handshake/);
        return true;
      });
      assert.deepEqual(server.lines, ['STLS']);
    });
  }

  test('takes no plain bytes for the handshake either', async () => {
    const on: Pop3ServerOptions['on'] = {
      STLS: (_, { socket }) => {
        socket.write('+OK begin\r\n');
        setImmediate(() => socket.write('+OK injected\r\n'.repeat(100)));
        return null;
      },
    };
    await using server = await startPop3Server({ on });
    const opening = pop3Source({ ...account, port: server.port }, { timeouts: quick }).open(never);
    await assert.rejects(opening, (error) => {
      // By its own segment it is no TLS record; in one segment with the answer it is refused before.
      return isBridgeError('tls_failed')(error) || isBridgeError('protocol_error')(error);
    });
    assert.ok(!server.lines.includes('PASS secret'));
  });

  test('gives a handshake up that does not come about', async () => {
    const on: Pop3ServerOptions['on'] = {
      STLS: (_, { socket }) => {
        // The client's handshake is no command line, whatever octets it holds.
        socket.removeAllListeners('data').resume();
        return '+OK begin\r\n';
      },
    };
    await using server = await startPop3Server({ on });
    const source = pop3Source({ ...account, port: server.port }, { timeouts: quick });
    await assert.rejects(source.open(never), isBridgeError('timeout'));
  });

  test('trusts nothing that was said before the handshake', async () => {
    await using dir = await tempDir();
    const authority = await createAuthority(dir.path);
    const { certFile, keyFile } = await authority.issue('server');
    const [cert, key, ca] = await Promise.all(
      [certFile, keyFile, authority.caFile].map((file) => readFile(file)),
    );
    const secured: string[] = [];
    const on: Pop3ServerOptions['on'] = {
      STLS: (_, { socket }) => {
        socket.removeAllListeners('data');
        socket.write('+OK begin\r\n');
        const tls = new TLSSocket(socket as Socket, { isServer: true, cert, key });
        tls.on('error', () => {});
        tls.on('data', (chunk) => {
          secured.push(chunk.toString());
          tls.write(chunk.toString() === 'CAPA\r\n' ? '+OK\r\nUSER\r\n.\r\n' : '+OK\r\n');
        });
        return null;
      },
    };
    await using server = await startPop3Server({ on });
    const session = await pop3Source({ ...account, port: server.port, ca: String(ca) }).open(never);
    assert.deepEqual(server.lines, ['STLS']);
    assert.deepEqual(secured, ['CAPA\r\n', 'USER anna\r\n', 'PASS secret\r\n', 'CAPA\r\n']);
    assert.deepEqual([...session.capabilities.keys()], ['USER']);
    session.destroy();
  });
});
