import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { SourceEntry } from '../../src/domain/ports.ts';
import { isBridgeError, never, pop3Source } from '../support/pop3-client.ts';
import { listing, type Say, startPop3Server } from '../support/pop3-server.ts';

async function list(uidl: readonly string[] | Say, sizes: readonly string[]): Promise<SourceEntry[]> {
  const say = Array.isArray(uidl) ? listing(uidl) : (uidl as Say);
  await using server = await startPop3Server({ on: { UIDL: () => say, LIST: () => listing(sizes) } });
  const session = await pop3Source(server).open(never);
  try {
    return await session.list(never);
  } finally {
    session.destroy();
  }
}

suite('a POP3 listing', () => {
  test('joins UIDL with LIST, in the order of LIST', async () => {
    assert.deepEqual(await list(['1 a', '2 b', '10 c'], ['10 300', '1 100', '2 200']), [
      { number: 10, uidl: 'c', size: 300 },
      { number: 1, uidl: 'a', size: 100 },
      { number: 2, uidl: 'b', size: 200 },
    ]);
  });

  test('keeps a unique id octet by octet', async () => {
    const [entry] = await list(['1 \xe9\xff~!..x y'], ['1 5']);
    assert.equal(entry?.uidl, '\xe9\xff~!..x y');
  });

  test('takes more text behind a size, and more blanks', async () => {
    assert.deepEqual(await list(['1  a '], ['1  100 bytes']), [{ number: 1, uidl: 'a', size: 100 }]);
  });

  test('lets two messages have one unique id', async () => {
    const entries = await list(['1 same', '2 same'], ['1 1', '2 2']);
    assert.deepEqual(
      entries.map(({ uidl }) => uidl),
      ['same', 'same'],
    );
  });

  test('says uidl_missing where UIDL is refused, or leaves messages out', async () => {
    await assert.rejects(list('-ERR unknown command\r\n', ['1 100']), isBridgeError('uidl_missing'));
    await assert.rejects(list([], ['1 100']), isBridgeError('uidl_missing'));
    await assert.rejects(list(['1 a'], ['1 100', '2 100']), isBridgeError('uidl_missing'));
  });

  const nonsense: [string, string[], string[]][] = [
    ['UIDL without an id', ['1'], ['1 100']],
    ['UIDL with a control character', ['1 a\x07'], ['1 100']],
    ['UIDL without a number', ['x a'], ['1 100']],
    ['UIDL with number zero', ['0 a'], ['1 100']],
    ['UIDL with a number twice', ['1 a', '1 b'], ['1 100']],
    ['UIDL of a message that LIST does not know', ['1 a', '2 b'], ['1 100']],
    ['LIST without a size', ['1 a'], ['1']],
    ['LIST with a size that is no number', ['1 a'], ['1 -5']],
    ['LIST with a number twice', ['1 a'], ['1 100', '1 100']],
    ['LIST with words', ['1 a'], ['hello world']],
  ];
  for (const [what, uidl, sizes] of nonsense) {
    test(`refuses ${what}`, async () => {
      await assert.rejects(list(uidl, sizes), isBridgeError('protocol_error'));
    });
  }

  test('does not take a good-bye for a server without UIDL', async () => {
    const on = {
      UIDL: (_: string, peer: { socket: { end(text: string): unknown } }) => {
        peer.socket.end('-ERR Disconnected for inactivity.\r\n');
        return null;
      },
    };
    await using server = await startPop3Server({ on });
    const session = await pop3Source(server).open(never);
    await assert.rejects(session.list(never), isBridgeError('connection_lost'));
  });
});
