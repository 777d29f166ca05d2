import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ImapFlow } from 'imapflow';
import { ImapClient } from '../../src/imap/client.ts';
import { clientOn } from '../support/imap-planted.ts';
import { startImapServer } from '../support/imap-server.ts';

describe("imapflow's internals that the append relies on", () => {
  it('are those of the version that was read', () => {
    assert.equal(ImapFlow.version, '2.10.2', 'read client.ts against the new version, then change this line');
  });

  for (const method of [
    'exec',
    'send',
    'trySend',
    'throttleWait',
    'countUnknownTag',
    'failProtocol',
    'close',
  ])
    it(`has the method ${method}`, () => {
      assert.equal(typeof Reflect.get(ImapFlow.prototype, method), 'function');
    });

  it('has the members of a connection, and lets go of the socket when it closes', async () => {
    await using server = await startImapServer();
    const client = await clientOn(server);
    assert.ok(client instanceof ImapFlow);
    assert.equal(client.socket, client.writeSocket);
    assert.equal(client.socket?.destroyed, false);
    assert.equal(client.currentRequest, false);
    assert.equal(client.authCapabilities.get('AUTH=PLAIN'), true);
    assert.equal(client.signedInWith, 'AUTH=PLAIN');
    const { socket } = client;
    client.close();
    assert.equal(socket?.destroyed, true);
    assert.equal(client.socket, null);
    assert.equal(client.writeSocket, null);
    assert.equal(client.isClosed, true);
  });

  it('hands send() the tag, the command and the options of exec()', async () => {
    await using server = await startImapServer();
    const client = await clientOn(server);
    const sent: unknown[] = [];
    const send = ImapClient.prototype.send;
    client.send = (command) => {
      sent.push(command);
      return send.call(client, command);
    };
    const options = { untagged: {} };
    (await client.exec('NOOP', [], options)).next();
    assert.equal(sent.length, 1);
    assert.partialDeepStrictEqual(sent[0], { command: 'NOOP', attributes: [], options });
    assert.match((sent[0] as { tag: string }).tag, /^[0-9A-F]+$/);
    client.close();
  });

  it('gives a "+" to onPlusTag, and reads on meanwhile', async () => {
    await using server = await startImapServer({
      respond: ({ name }) => (name === 'XPLUS' ? ['+ one', '+ two', 'TAG OK three'] : undefined),
    });
    const client = await clientOn(server);
    let plus = 0;
    const reply = await client.exec('XPLUS', [], {
      onPlusTag: () => {
        plus++;
      },
    });
    reply.next();
    assert.equal(plus, 2);
    client.close();
  });

  it('rejects what waits, and tells why, when the server says BYE', async () => {
    await using server = await startImapServer({
      respond: ({ name }) => (name === 'NOOP' ? ['* BYE for the night'] : undefined),
    });
    const client = await clientOn(server);
    await assert.rejects(client.exec('NOOP', []), { code: 'NoConnection', reason: 'for the night' });
    assert.equal(client.isClosed, true);
  });
});
