import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { AppendLiteral } from '../../src/imap/frames.ts';
import { clientOn, plantedMessage } from '../support/imap-planted.ts';
import { startImapServer } from '../support/imap-server.ts';

const MESSAGE: AppendLiteral = {
  flags: [],
  internalDate: new Date(0),
  octets: plantedMessage(),
  literal8: false,
};

describe('one IMAP connection', () => {
  it('is destroyed the moment a command ends that still owes announced octets', async () => {
    await using server = await startImapServer({
      append: ({ at }) => (at === 'announced' ? { say: '+ go\r\nTAG NO changed my mind' } : undefined),
    });
    const client = await clientOn(server);
    const command = client.appendGroup('"INBOX"', [MESSAGE]);
    assert.equal(await command.accepted, true);
    assert.equal((await command.end).kind, 'refused');
    assert.equal(client.isClosed, true);
    command.sendLast();
    assert.equal((await command.end).kind, 'refused');
  });

  it('stays when the server refuses before it asked for octets', async () => {
    await using server = await startImapServer({
      append: ({ at }) => (at === 'announced' ? { no: 'no' } : undefined),
    });
    const client = await clientOn(server);
    const command = client.appendGroup('"INBOX"', [MESSAGE]);
    assert.equal(await command.accepted, false);
    assert.equal((await command.end).kind, 'refused');
    assert.equal(client.isClosed, false);
    assert.equal(await client.inStep(), true);
    client.close();
  });

  for (const [what, line] of Object.entries({
    'a "+" that nobody waits for': '+ late',
    'an untagged BAD': '* BAD what was that',
    'an answer to an unknown tag': 'Z3 OK DELETE completed',
  }))
    it(`is not in step, and closed, after ${what}`, async () => {
      await using server = await startImapServer({
        respond: ({ name }) => (name === 'NOOP' ? [line, 'TAG OK noop'] : undefined),
      });
      const client = await clientOn(server);
      assert.equal(await client.inStep(), false);
      assert.equal(client.isClosed, true);
    });

  it('hands octets over in one step, and none of them once it is closed', async () => {
    await using server = await startImapServer();
    const client = await clientOn(server);
    client.close();
    assert.throws(() => client.hand([Buffer.from('x')]), { code: 'connection_lost' });
    const end = await client.appendGroup('"INBOX"', [MESSAGE]).end;
    assert.deepEqual([end.kind, end.kind === 'lost' && end.sent], ['lost', false]);
  });
});
