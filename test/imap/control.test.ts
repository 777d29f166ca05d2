import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ImapServer, type ImapServerOptions, startImapServer } from '../support/imap-server.ts';
import { ALWAYS, append, openOn, outgoing, uid } from '../support/imap-target.ts';
import { until } from '../support/net.ts';

/** Closes the connection that looks, number 0, at its next NOOP. */
function closingOnce(): ImapServerOptions {
  return { respond: ({ name, connection }) => (name === 'NOOP' && connection === 0 ? ['CLOSE'] : undefined) };
}

async function dropControl(server: ImapServer, look: () => Promise<unknown>): Promise<void> {
  await assert.rejects(look(), { code: 'connection_lost', side: 'destination' });
  await until(() => server.connections.open === 0, { what: 'the connection to be gone' });
}

describe('looking into the destination', () => {
  it('goes on over a new connection when the old one was lost', async () => {
    await using server = await startImapServer(closingOnce());
    await using session = await openOn(server);
    await dropControl(server, () => session.scan(uid(1), null, ALWAYS));
    const looks = await Promise.all([
      session.scan(uid(1), null, ALWAYS),
      session.sizes([uid(1)], ALWAYS),
      session.read(uid(1), ALWAYS),
      session.refresh(ALWAYS),
    ]);
    assert.deepEqual(looks, [[], new Map(), null, session.folder]);
    assert.equal(server.connections.made, 2);
  });

  it('does not mistake a folder that was made anew for the old one', async () => {
    await using server = await startImapServer(closingOnce());
    await using session = await openOn(server);
    await dropControl(server, () => session.scan(uid(1), null, ALWAYS));
    server.folders.set('INBOX', { uidValidity: 2_000, uidNext: 1, messages: [] });
    const changed = { code: 'folder_unavailable', recovery: 'retry', detail: /UIDVALIDITY/ };
    await assert.rejects(session.scan(uid(1), null, ALWAYS), changed);
    await assert.rejects(session.read(uid(1), ALWAYS), changed);
    await assert.rejects(session.sizes([uid(1)], ALWAYS), changed);
    assert.equal((await session.refresh(ALWAYS)).uidValidity, 2_000);
  });

  it('ends at an abort, whatever the server does, and can be taken up again', async () => {
    let silent = true;
    const stop = new AbortController();
    const reason = new Error('enough');
    await using server = await startImapServer({
      respond: ({ name }) => {
        if (name !== 'UID' || !silent) return undefined;
        silent = false;
        setImmediate(() => stop.abort(reason));
        return [];
      },
    });
    await using session = await openOn(server);
    await assert.rejects(session.scan(uid(1), null, stop.signal), reason);
    await assert.rejects(session.scan(uid(1), null, stop.signal), reason);
    assert.deepEqual(await session.scan(uid(1), null, ALWAYS), []);
  });

  it('times out when the server falls silent', async () => {
    await using server = await startImapServer({ respond: ({ name }) => (name === 'UID' ? [] : undefined) });
    await using session = await openOn(server, { path: ['INBOX'] }, { timeouts: { replyMs: 500 } });
    await assert.rejects(session.read(uid(1), ALWAYS), { code: 'timeout' });
  });

  it('stays connected when nobody asks anything for longer than an answer may take', async () => {
    await using server = await startImapServer();
    await using session = await openOn(server, { path: ['INBOX'] }, { timeouts: { replyMs: 500 } });
    const begun = performance.now();
    await until(() => performance.now() - begun > 1_000, { what: 'more than the patience' });
    await session.scan(uid(1), null, ALWAYS);
    assert.equal(server.connections.made, 1);
  });

  it('is throttled at once, with the time that the server named', async () => {
    const words = 'Request is throttled. Suggested Backoff Time: 92415 milliseconds';
    await using server = await startImapServer({
      respond: ({ name }) => (name === 'UID' ? [`TAG BAD ${words}`] : undefined),
    });
    await using session = await openOn(server);
    await assert.rejects(session.scan(uid(1), null, ALWAYS), { code: 'throttled', waitMs: 92_415 });
  });

  it('takes no notice of flag changes and messages that it did not ask for', async () => {
    await using server = await startImapServer({
      respond: ({ name, line }) =>
        name !== 'UID'
          ? undefined
          : [
              '* 9 FETCH (UID 9 FLAGS (\\Seen))',
              '* 2 FETCH (UID 2 RFC822.SIZE 20 BODY[HEADER.FIELDS (SUBJECT)] "")',
              '* 1 FETCH (FLAGS () BODY[HEADER.FIELDS (SUBJECT)] {12}\r\nSubject: a\r\n RFC822.SIZE 10 UID 1)',
              ...(line.includes('BODY.PEEK[]') ? ['* 3 FETCH (UID 3 BODY[] NIL)'] : []),
              'TAG OK x',
            ],
    });
    await using session = await openOn(server);
    assert.deepEqual(await session.scan(uid(1), uid(5), ALWAYS), [
      { uid: 1, size: 10, header: Buffer.from('Subject: a\r\n') },
      { uid: 2, size: 20, header: Buffer.alloc(0) },
    ]);
    assert.deepEqual(
      await session.sizes([uid(1), uid(2), uid(9)], ALWAYS),
      new Map([
        [1, 10],
        [2, 20],
      ]),
    );
    assert.equal(await session.read(uid(3), ALWAYS), null);
  });

  it('does not wait behind an upload', async () => {
    await using server = await startImapServer();
    await using session = await openOn(server);
    const uploads = Array.from({ length: 9 }, () => session.upload([outgoing('Subject: x\r\n\r\n')], ALWAYS));
    assert.equal(await uploads[0]?.ready, null);
    assert.deepEqual(await session.scan(uid(1), null, ALWAYS), []);
    for (const upload of uploads) upload.abandon();
    assert.equal((await append(session, [outgoing('Subject: y\r\n\r\n')])).kind, 'appended');
  });
});
