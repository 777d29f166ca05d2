import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { BridgeError } from '../../src/domain/errors.ts';
import type { MessageNumber } from '../../src/domain/ports.ts';
import { isBridgeError, never, pop3Source } from '../support/pop3-client.ts';
import { CAPABILITIES, type Pop3Server, type Pop3ServerOptions } from '../support/pop3-server.ts';
import { type OpenSession, openSession } from '../support/pop3-session.ts';

const quick = { quitMs: 40, updateMs: 40 };
/** Never reached: what waits that long has lost. */
const LONG_MS = 60_000;

function mailbox(count: number): Buffer[] {
  return Array.from({ length: count }, (_, n) => Buffer.from(`X: ${n}\r\n\r\nbody\r\n`));
}

/** What a session of its own finds afterwards. */
async function left({ host, port }: Pop3Server): Promise<string[]> {
  const session = await pop3Source({ host, port }).open(never);
  const entries = await session.list(never);
  session.destroy();
  return entries.map(({ uidl }) => uidl);
}

async function assertAllLeft({ server, entries }: OpenSession): Promise<void> {
  assert.deepEqual(
    await left(server),
    entries.map(({ uidl }) => uidl),
  );
}

suite('deleting over POP3', () => {
  test('marks with DELE, many commands in one write, and takes effect with QUIT', async () => {
    await using at = await openSession({ messages: mailbox(500) });
    const before = at.server.peers[0]?.chunks.length ?? 0;
    assert.equal((await at.session.delete(at.entries.slice(1), never)).size, 0);
    assert.equal((at.server.peers[0]?.chunks.length ?? 0) - before, 1);
    assert.equal((await left(at.server)).length, 500);
    assert.equal(await at.session.quit(), true);
    assert.deepEqual(await left(at.server), ['id-1']);
  });

  test('keeps no more commands under way than the window allows', async () => {
    await using at = await openSession({ messages: mailbox(200) }, { limits: { windowCommands: 16 } });
    assert.equal((await at.session.delete(at.entries, never)).size, 0);
    assert.equal(at.server.mostPending, 16);
    assert.equal(at.server.lines.length, 200);
  });

  test('sends one at a time where the server does not say PIPELINING', async () => {
    const capabilities = CAPABILITIES.filter((keyword) => keyword !== 'PIPELINING');
    await using at = await openSession({ messages: mailbox(50), capabilities });
    assert.equal((await at.session.delete(at.entries, never)).size, 0);
    assert.equal(at.server.mostPending, 1);
    assert.equal(at.server.lines.length, 50);
  });

  test('sends nothing where nothing is to be deleted', async () => {
    await using at = await openSession({ messages: mailbox(3) });
    assert.equal((await at.session.delete([], never)).size, 0);
    assert.deepEqual(at.server.lines, []);
  });

  for (const [words, recovery] of [
    ['message locked', 'retry'],
    ['[SYS/TEMP] later', 'retry'],
    ['[SYS/PERM] read-only', 'final'],
    ['[IN-USE] elsewhere', 'retry'],
  ] as const) {
    test(`takes "-ERR ${words}" for one message only, ${recovery}, and deletes the rest`, async () => {
      const on = { DELE: (line: string) => (line === 'DELE 2' ? `-ERR ${words}\r\n` : undefined) };
      for (const windowCommands of [1, 100]) {
        await using at = await openSession({ messages: mailbox(3), on }, { limits: { windowCommands } });
        const refused = await at.session.delete(at.entries, never);
        const error: BridgeError = refused.get(2 as MessageNumber) ?? assert.fail();
        assert.equal(refused.size, 1);
        assert.deepEqual(
          [error.code, error.scope, error.recovery, error.side, error.detail],
          ['server_refused', 'message', recovery, 'source', words],
        );
        assert.equal(await at.session.quit(), true);
        assert.deepEqual(await left(at.server), ['id-2']);
      }
    });
  }

  test('blames no message for the good-bye of a server that hangs up', async () => {
    const on: Pop3ServerOptions['on'] = {
      DELE: (line, { socket }) => {
        if (line !== 'DELE 2') return undefined;
        socket.end('-ERR Disconnected: shutting down\r\n');
        return null;
      },
    };
    for (const count of [2, 5]) {
      await using at = await openSession({ messages: mailbox(count), on });
      await assert.rejects(at.session.delete(at.entries, never), (error) => {
        assert.ok(isBridgeError('connection_lost')(error));
        assert.equal(error.detail, 'Disconnected: shutting down');
        return true;
      });
      assert.equal(await at.session.quit(), false);
      await assertAllLeft(at);
    }
  });

  test('stops with the reason of an abort and removes nothing, not even by a QUIT afterwards', async () => {
    const abort = new AbortController();
    const reason = new Error('stop');
    const on = {
      DELE: (line: string) => {
        if (line !== 'DELE 3') return undefined;
        abort.abort(reason);
        return null;
      },
    };
    await using at = await openSession({ messages: mailbox(5), on });
    await assert.rejects(at.session.delete(at.entries, abort.signal), reason);
    assert.equal(await at.session.quit(), false);
    assert.ok(!at.server.lines.includes('QUIT'));
    await assertAllLeft(at);
  });
});

suite('QUIT after DELE', () => {
  const faults: [string, NonNullable<Pop3ServerOptions['on']>][] = [
    ['is answered -ERR', { QUIT: () => '-ERR some deleted messages not removed\r\n' }],
    ['is answered with garbage', { QUIT: () => 'bye\r\n' }],
    ['is answered in part', { QUIT: () => '+OK by' }],
    ['is never answered', { QUIT: () => null }],
    [
      'ends in a lost connection',
      {
        QUIT: (_, { socket }) => {
          socket.resetAndDestroy();
          return null;
        },
      },
    ],
  ];
  for (const [what, on] of faults) {
    test(`that ${what} confirms nothing`, async () => {
      await using at = await openSession({ messages: mailbox(3), on }, { timeouts: quick });
      assert.equal((await at.session.delete(at.entries, never)).size, 0);
      assert.equal(await at.session.quit(), false);
      assert.equal(at.server.lines.at(-1), 'QUIT');
      await assert.rejects(at.session.list(never));
      assert.equal(await at.session.quit(), false);
    });
  }

  test('is waited for as long as a server may take to remove mail', async () => {
    const on: Pop3ServerOptions['on'] = {
      QUIT: (_, { socket }) => {
        setTimeout(() => socket.end('+OK at last\r\n'), 200);
        return null;
      },
    };
    const timeouts = { quitMs: 40, updateMs: LONG_MS };
    await using at = await openSession({ messages: mailbox(3), on }, { timeouts });
    assert.equal((await at.session.delete(at.entries, never)).size, 0);
    assert.equal(await at.session.quit(), true);
    await using unmarked = await openSession({ messages: mailbox(3), on }, { timeouts });
    assert.equal(await unmarked.session.quit(), false);
  });

  test('is not waited for any longer where the server deleted nothing', async () => {
    const on = { DELE: () => '-ERR read-only\r\n', QUIT: () => null };
    const timeouts = { quitMs: 40, updateMs: LONG_MS };
    await using at = await openSession({ messages: mailbox(3), on }, { timeouts });
    assert.equal((await at.session.delete(at.entries, never)).size, 3);
    const begun = performance.now();
    assert.equal(await at.session.quit(), false);
    assert.ok(performance.now() - begun < LONG_MS / 2);
  });

  test('is sent once, and every caller learns its answer', async () => {
    await using at = await openSession({ messages: mailbox(3) });
    assert.equal((await at.session.delete(at.entries, never)).size, 0);
    assert.deepEqual(await Promise.all([at.session.quit(), at.session.quit()]), [true, true]);
    assert.equal(await at.session.quit(), true);
    assert.equal(at.server.lines.filter((line) => line === 'QUIT').length, 1);
    assert.deepEqual(await left(at.server), []);
  });

  test('confirms nothing when the session is dropped meanwhile', async () => {
    const dropped = Promise.withResolvers<void>();
    const on = {
      QUIT: () => {
        dropped.resolve();
        return null;
      },
    };
    await using at = await openSession({ messages: mailbox(3), on }, { timeouts: { updateMs: LONG_MS } });
    assert.equal((await at.session.delete(at.entries, never)).size, 0);
    const quitting = at.session.quit();
    await dropped.promise;
    at.session.destroy();
    assert.equal(await quitting, false);
    await assertAllLeft(at);
  });
});
