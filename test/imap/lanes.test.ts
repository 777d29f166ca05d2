import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TargetSession, Upload } from '../../src/domain/ports.ts';
import { type ImapServerOptions, startImapServer } from '../support/imap-server.ts';
import { ALWAYS, append, openOn, outgoing } from '../support/imap-target.ts';
import { until } from '../support/net.ts';

/** The connection that looks is number 0; lanes follow. Those from `refused` on get this answer at sign-in. */
function refusing(refused: (connection: number) => boolean, words: string): ImapServerOptions {
  return {
    respond: ({ name, connection }) =>
      name === 'AUTHENTICATE' && refused(connection) ? ['+ ', `TAG ${words}`] : undefined,
  };
}

function start(session: TargetSession, count: number): Upload[] {
  return Array.from({ length: count }, (_, n) => session.upload([outgoing(`Subject: ${n}\r\n\r\n`)], ALWAYS));
}

async function releaseAll(uploads: readonly Upload[]): Promise<string[]> {
  const kinds: string[] = [];
  for (const upload of uploads) kinds.push(((await upload.ready) ?? (await upload.release())).kind);
  return kinds;
}

describe('the lanes of a target', () => {
  it('are opened when they are needed, four at most, beside the connection that looks', async () => {
    await using server = await startImapServer();
    await using session = await openOn(server);
    assert.equal(server.connections.made, 1);
    await append(session, [outgoing('Subject: x\r\n\r\n')]);
    await append(session, [outgoing('Subject: x\r\n\r\n')]);
    assert.equal(server.connections.made, 2);
    const uploads = start(session, 9);
    await Promise.all(uploads.slice(0, 4).map((upload) => upload.ready));
    assert.equal(server.connections.made, 5);
    const looked = await session.scan(session.folder.uidNext, null, ALWAYS);
    assert.equal(looked.length, 2);
    assert.deepEqual(new Set(await releaseAll(uploads)), new Set(['appended']));
    assert.equal(server.connections.made, 5);
  });

  it('serve uploads in the order in which they were asked for', async () => {
    await using server = await startImapServer();
    await using session = await openOn(server);
    const uploads = start(session, 6);
    const order: number[] = [];
    for (const [index, upload] of uploads.entries()) void upload.ready.then(() => order.push(index));
    await releaseAll(uploads);
    assert.deepEqual(order.slice(4), [4, 5]);
    assert.deepEqual([...order.slice(0, 4)].sort(), [0, 1, 2, 3]);
  });

  it('become fewer where the server lets no more of us in, and all groups arrive', async () => {
    const options = refusing(
      (connection) => connection > 2,
      'NO [LIMIT] Maximum number of connections exceeded',
    );
    await using server = await startImapServer(options);
    await using session = await openOn(server);
    assert.equal(session.lanes, 4);
    assert.deepEqual(new Set(await releaseAll(start(session, 12))), new Set(['appended']));
    assert.equal(session.lanes, 2);
    const made = server.connections.made;
    assert.deepEqual(new Set(await releaseAll(start(session, 12))), new Set(['appended']));
    assert.equal(server.connections.made, made);
  });

  it('fail in the words of the server where not one can be opened', async () => {
    const options = refusing(
      (connection) => connection > 0,
      'NO [LIMIT] Maximum number of connections exceeded',
    );
    await using server = await startImapServer(options);
    await using session = await openOn(server);
    for (const upload of start(session, 6)) {
      const outcome = await upload.ready;
      assert.ok(outcome?.kind === 'unsent');
      assert.deepEqual([outcome.error.code, outcome.error.recovery], ['throttled', 'wait']);
    }
    assert.equal(session.lanes, 1);
  });

  it('come back after a failure that was not for good', async () => {
    let down = true;
    const options = refusing((connection) => connection > 0 && down, 'NO [UNAVAILABLE] later');
    await using server = await startImapServer(options);
    await using session = await openOn(server);
    assert.equal((await append(session, [outgoing('Subject: x\r\n\r\n')])).kind, 'unsent');
    down = false;
    assert.equal((await append(session, [outgoing('Subject: x\r\n\r\n')])).kind, 'appended');
  });

  it('are replaced when the server has dropped one that was idle', async () => {
    let dropped = false;
    await using server = await startImapServer({
      append: ({ at }) => {
        if (at !== 'complete' || dropped) return undefined;
        dropped = true;
        return { no: 'and good bye\r\n* BYE idle for too long' };
      },
    });
    await using session = await openOn(server);
    assert.equal((await append(session, [outgoing('Subject: x\r\n\r\n')])).kind, 'refused');
    await until(() => server.connections.open === 1, { what: 'the lane to be dropped' });
    assert.equal((await append(session, [outgoing('Subject: x\r\n\r\n')])).kind, 'appended');
    assert.equal(server.connections.made, 3);
  });

  it('are let go by an upload that is abandoned before it has one', async () => {
    await using server = await startImapServer();
    await using session = await openOn(server);
    const busy = start(session, 4);
    await Promise.all(busy.map((upload) => upload.ready));
    const [waiting, next] = start(session, 2);
    waiting?.abandon();
    assert.equal((await waiting?.ready)?.kind, 'unsent');
    await releaseAll(busy);
    assert.equal(await next?.ready, null);
    assert.equal((await next?.release())?.kind, 'appended');
  });

  it('say LOGOUT when the session is closed, but one that holds octets back', async () => {
    await using server = await startImapServer();
    const session = await openOn(server);
    await append(session, [outgoing('Subject: x\r\n\r\n')]);
    const [one, two] = start(session, 2);
    assert.equal(await one?.ready, null);
    assert.equal(await two?.ready, null);
    assert.equal((await one?.release())?.kind, 'appended');
    await session.close();
    assert.equal((await two?.release())?.kind, 'unsent');
    await until(() => server.connections.open === 0, { what: 'all connections to be closed' });
    assert.equal(server.commands.filter(({ line }) => line === 'LOGOUT').length, 2);
  });

  it('are closed in bounded time where the server does not answer LOGOUT', async () => {
    await using server = await startImapServer({
      respond: ({ name }) => (name === 'LOGOUT' ? [] : undefined),
    });
    const session = await openOn(server, { path: ['INBOX'] }, { timeouts: { closeMs: 200 } });
    await append(session, [outgoing('Subject: x\r\n\r\n')]);
    const begun = performance.now();
    await session.close();
    assert.ok(performance.now() - begun < 2_000);
    await until(() => server.connections.open === 0, { what: 'all connections to be closed' });
  });
});
