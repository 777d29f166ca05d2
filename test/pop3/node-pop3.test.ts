import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { suite, test } from 'node:test';
import Pop3Command from 'node-pop3';
import { Pop3Session } from '../../src/pop3/session.ts';
import { isBridgeError, never, pop3Source } from '../support/pop3-client.ts';
import { startPop3Server } from '../support/pop3-server.ts';

/** node-pop3 as Pop3Session uses it, with nothing of ours in between. */
class Bare extends Pop3Command {
  readonly written: string[] = [];
  connected = 0;

  constructor() {
    super({ user: '', password: '', host: 'pop.test', port: 1 });
    this._socket = { write: (line: string) => this.written.push(line) } as unknown as Socket;
  }

  override async _connect(): Promise<string> {
    this.connected++;
    return this._PASSInfo;
  }
}

/** Lets node-pop3 get from `_connect` to the socket. */
const written = () => new Promise((resolve) => setImmediate(resolve));

suite('what src/pop3/session.ts relies on in node-pop3', () => {
  for (const name of ['_socket', '_stream', '_PASSInfo', '_command', 'user', 'password'] as const) {
    test(`the field ${name}`, () => assert.ok(name in new Bare(), `node-pop3 has no ${name} any more`));
  }

  const commands: [string, (client: Bare) => Promise<unknown>, string][] = [
    ['UIDL', (client) => client.UIDL(), 'UIDL\r\n'],
    ['LIST', (client) => client.LIST(), 'LIST\r\n'],
    ['STAT', (client) => client.STAT(), 'STAT\r\n'],
    ['NOOP', (client) => client.NOOP(), 'NOOP\r\n'],
    ['RSET', (client) => client.RSET(), 'RSET\r\n'],
    ['DELE', (client) => client.DELE(3), 'DELE 3\r\n'],
    ['TOP', (client) => client.TOP(3, 0), 'TOP 3 0\r\n'],
  ];
  for (const [name, call, line] of commands) {
    test(`${name} calls this._connect, then writes one line to this._socket`, async () => {
      const client = new Bare();
      const answer = call(client);
      await written();
      client.emit('response', '', Readable.from([]));
      await answer;
      assert.deepEqual(client.written, [line]);
      assert.equal(client.connected, 1);
    });
  }

  test('QUIT writes without connecting, as long as this._socket is set', async () => {
    const client = new Bare();
    const answer = client.QUIT();
    await written();
    client.emit('response', 'bye', null);
    assert.equal(await answer, 'bye');
    assert.deepEqual(client.written, ['QUIT\r\n']);
  });

  test('the event "response" settles a command, with a stream read as UTF-8 and cut at blanks', async () => {
    const client = new Bare();
    const answer = client.UIDL();
    await written();
    client.emit('response', '', Readable.from([Buffer.from('1 ü  x\r\n2 b\r\n')]));
    assert.deepEqual(await answer, [
      ['1', 'ü', '', 'x'],
      ['2', 'b'],
    ]);
  });

  test('the event "error" fails a command with that very error', async () => {
    const client = new Bare();
    const reason = new Error('no');
    const answer = client.NOOP();
    await written();
    client.emit('error', reason);
    await assert.rejects(answer, reason);
  });

  test('our connect and _connect stand in for its own', () => {
    for (const name of ['connect', '_connect'] as const) {
      assert.equal(typeof Object.getPrototypeOf(Pop3Session.prototype)[name], 'function', `${name} is gone`);
      assert.ok(Object.hasOwn(Pop3Session.prototype, name));
    }
  });
});

suite("node-pop3's commands on our wire", () => {
  async function open(on: NonNullable<Parameters<typeof startPop3Server>[0]>['on'] = {}) {
    const messages = [Buffer.from('.a \xff\r\n', 'latin1'), Buffer.from('b\r\n')];
    const server = await startPop3Server({ messages, on });
    const session = await pop3Source(server).open(never);
    assert.ok(session instanceof Pop3Session);
    return { server, session };
  }

  test('give the octets of the server as latin1, dot-unstuffed', async () => {
    const { server, session } = await open({
      STAT: () => '+OK 2 9\r\n',
      LIST: (line) => (line === 'LIST 2' ? '+OK 2 3\r\n' : undefined),
      TOP: () => Buffer.from('+OK\r\n..x \xe9\r\n.\r\n', 'latin1'),
    });
    assert.equal(await session.STAT(), '2 9');
    assert.deepEqual(await session.LIST(2), ['2', '3']);
    assert.deepEqual(await session.UIDL(), [
      ['1', 'id-1'],
      ['2', 'id-2'],
    ]);
    assert.equal(await session.RETR(1), '.a \xff\r\n');
    assert.equal(await session.TOP(1), '.x \xe9\r\n');
    assert.equal(await session.RSET(), '');
    assert.equal(await session.QUIT(), 'bye');
    await server[Symbol.asyncDispose]();
  });

  test('fail with a BridgeError, as often as the server refuses, and the session goes on', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on('warning', onWarning);
    const { server, session } = await open({ DELE: () => '-ERR read-only\r\n' });
    for (let n = 0; n < 20; n++) await assert.rejects(session.DELE(1), isBridgeError('server_refused'));
    await session.NOOP();
    session.destroy();
    await assert.rejects(session.NOOP(), isBridgeError('connection_lost'));
    await server[Symbol.asyncDispose]();
    process.off('warning', onWarning);
    assert.deepEqual(warnings, []);
  });
});
