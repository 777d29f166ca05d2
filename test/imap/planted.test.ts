import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { TargetSession } from '../../src/domain/ports.ts';
import type { AppendCommand, AppendEnd } from '../../src/imap/client.ts';
import type { AppendLiteral } from '../../src/imap/frames.ts';
import { type Dovecot, startDovecot } from '../support/dovecot.ts';
import { clientOn, plantedMessage, speak } from '../support/imap-planted.ts';
import { ALWAYS, append, openOn, outgoing, uid } from '../support/imap-target.ts';

const CRLF = Buffer.from('\r\n');
const LITERALS = {
  'LITERAL+': '',
  'no LITERAL+': 'imap_capability = IMAP4rev1 MULTIAPPEND UIDPLUS NAMESPACE',
};

for (const [literals, extra] of Object.entries(LITERALS)) {
  describe(`a body of IMAP commands, and a Dovecot with ${literals} that says NO early`, () => {
    let dovecot: Dovecot;

    before(async () => {
      dovecot = await startDovecot({ quota: { storage: '1M', maxMailSize: '100k' }, extra });
      await dovecot.doveadm('mailbox', 'create', '-u', 'alice', 'victim', 'gone');
    });
    after(() => dovecot.stop());

    /** Nothing of the body was taken for a command, and the folder holds nothing. */
    const unharmed = async () => {
      const folders = (await dovecot.doveadm('mailbox', 'list', '-u', 'alice')).split('\n');
      assert.ok(folders.includes('victim'), 'victim is still there');
      assert.ok(!folders.includes('planted'), 'planted was not made');
    };

    for (const [where, sizes] of Object.entries({
      'the first of three': [150_000, 500, 500],
      'the middle one of three': [500, 150_000, 500],
      'the last of three': [500, 500, 150_000],
      'the only one': [150_000],
    }))
      it(`stays in step when a message is over size: ${where}`, async () => {
        await using session = await openOn(dovecot, { path: [`size ${where} ${literals}`] });
        await takeOne(session);
        const outcome = await append(
          session,
          sizes.map((size) => outgoing(plantedMessage(size))),
        );
        assert.equal(outcome.kind === 'refused' && outcome.error.code, 'message_too_large');
        await takeOne(session);
        assert.equal((await session.scan(uid(1), null, ALWAYS)).length, 2);
        await unharmed();
      });

    it('stays in step when the quota is exceeded', async () => {
      await using session = await openOn(dovecot, { path: ['INBOX'] }, { username: 'full' });
      await takeOne(session);
      const group = Array.from({ length: 14 }, () => outgoing(plantedMessage(90_000)));
      const outcome = await append(session, group);
      assert.equal(outcome.kind === 'refused' && outcome.error.code, 'over_quota');
      await takeOne(session);
      assert.equal((await session.scan(uid(1), null, ALWAYS)).length, 2);
      const folders = await dovecot.doveadm('mailbox', 'list', '-u', 'full');
      assert.doesNotMatch(folders, /planted/);
    });

    it('stays in step when the folder has gone meanwhile', async () => {
      await using session = await openOn(dovecot, { path: ['gone'] });
      await takeOne(session);
      await dovecot.doveadm('mailbox', 'delete', '-u', 'alice', 'gone');
      const group = [500, 5_000, 500].map((size) => outgoing(plantedMessage(size)));
      const outcome = await append(session, group);
      assert.equal(outcome.kind === 'refused' && outcome.error.code, 'folder_unavailable');
      await unharmed();
    });

    it('is in step after a folder that it never saw, whatever the literals', async () => {
      const client = await clientOn(dovecot);
      // As if it had seen it, so that it sends octets that nobody asked for.
      client.taken.add('"nowhere" ()');
      for (const sizes of [[3_000], [3_000, 50_000, 3_000]]) {
        const group = sizes.map((size) => literal(plantedMessage(size)));
        const end = await whole(client.appendGroup('"nowhere"', group));
        assert.equal(end.kind === 'refused' && end.error.code, 'folder_unavailable');
        assert.ok(await client.inStep());
      }
      assert.equal((await whole(client.appendGroup('"INBOX"', [literal(plantedMessage())]))).kind, 'ok');
      await client.logout();
      await unharmed();
    });
  });
}

describe('why octets are counted and what precedes them is never new to the server', () => {
  const body = plantedMessage();
  const foldersAfter = async (dovecot: Dovecot, ...pieces: Buffer[]) => {
    await dovecot.doveadm('mailbox', 'create', '-u', 'alice', 'victim');
    await speak(dovecot.ports.imap, ['a1 LOGIN alice secret\r\n', ...pieces]);
    return (await dovecot.doveadm('mailbox', 'list', '-u', 'alice')).split('\n');
  };

  it('a client that stops in the middle of announced octets makes Dovecot run the next message', async () => {
    await using dovecot = await startDovecot();
    const begun = [Buffer.from(`a2 APPEND nowhere {${body.length}+}\r\n`), body.subarray(0, 100)];
    // The NO has come, and the rest is dropped for the next command, whose head is taken for the missing octets.
    const next = [Buffer.alloc(body.length - 100, 'x'), CRLF, body, Buffer.from('a9 LOGOUT\r\n')];
    const folders = await foldersAfter(dovecot, Buffer.concat(begun), Buffer.concat(next));
    assert.ok(folders.includes('planted'));
    assert.ok(!folders.includes('victim'));
  });

  it('a flag that Dovecot dislikes before a {n+} makes it run the very message', async () => {
    await using dovecot = await startDovecot();
    const head = Buffer.from(`a2 APPEND INBOX (\\Recent) {${body.length}+}\r\n`);
    const folders = await foldersAfter(
      dovecot,
      Buffer.concat([head, body, Buffer.from('\r\na9 LOGOUT\r\n')]),
    );
    assert.ok(folders.includes('planted'));
    assert.ok(!folders.includes('victim'));
  });
});

/** From then on the lane sends literals without asking, where the server has LITERAL+. */
async function takeOne(session: TargetSession): Promise<void> {
  assert.equal((await append(session, [outgoing('Subject: small\r\n\r\n')])).kind, 'appended');
}

function literal(octets: Buffer | string): AppendLiteral {
  return { flags: [], internalDate: new Date(0), octets: Buffer.from(octets), literal8: false };
}

async function whole(command: AppendCommand): Promise<AppendEnd> {
  if (await command.accepted) command.sendLast();
  return command.end;
}
