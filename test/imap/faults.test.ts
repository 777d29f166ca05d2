import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BridgeError } from '../../src/domain/errors.ts';
import type { AppendOutcome, TargetSession, Upload } from '../../src/domain/ports.ts';
import { plantedMessage } from '../support/imap-planted.ts';
import {
  type AppendAction,
  type AppendMoment,
  type ImapServer,
  startImapServer,
} from '../support/imap-server.ts';
import { ALWAYS, append, openOn, outgoing, uid } from '../support/imap-target.ts';
import { until } from '../support/net.ts';

const GROUP = [3_000, 5_000, 3_000].map((bytes) => outgoing(plantedMessage(bytes)));
const LAST = GROUP.length - 1;

/** A server whose second APPEND is tampered with; the first one taught the lane that it may run. */
async function tampered(
  script: (moment: AppendMoment) => AppendAction | undefined,
  capabilities?: string[],
  replyMs = 20_000,
): Promise<{ server: ImapServer; session: TargetSession & AsyncDisposable }> {
  let begun = 0;
  const server = await startImapServer({
    append: (moment) => {
      if (moment.at === 'announced' && moment.index === 0) begun++;
      return begun === 2 ? script(moment) : undefined;
    },
    ...(capabilities === undefined ? {} : { capabilities }),
  });
  server.folders.set('victim', { uidValidity: 9, uidNext: 1, messages: [] });
  const session = await openOn(server, { path: ['INBOX'] }, { timeouts: { replyMs } });
  assert.equal((await append(session, [outgoing('Subject: first\r\n\r\n')])).kind, 'appended');
  return { server, session };
}

/** Whatever happened: nothing of a body was taken for a command, and the session goes on. */
async function unharmed(server: ImapServer, session: TargetSession): Promise<void> {
  const last = await append(session, [outgoing('Subject: last\r\n\r\n')]);
  assert.equal(last.kind, 'appended');
  for (const { line } of server.commands)
    assert.match(line, /^(CAPABILITY|AUTHENTICATE|NAMESPACE|EXAMINE|SUBSCRIBE|NOOP|APPEND|UID FETCH)\b/);
  assert.ok(server.folders.has('victim'));
}

function at(moment: AppendMoment, where: AppendMoment['at'], index: number): boolean {
  return moment.at === where && moment.index === index;
}

function errorOf(outcome: AppendOutcome | null): BridgeError {
  assert.ok(outcome !== null && outcome.kind !== 'appended');
  return outcome.error;
}

const CAPABILITIES = {
  'LITERAL+': undefined,
  'LITERAL-': ['IMAP4rev1', 'LITERAL-', 'MULTIAPPEND', 'UIDPLUS', 'NAMESPACE', 'AUTH=PLAIN'],
  'no LITERAL+': ['IMAP4rev1', 'MULTIAPPEND', 'UIDPLUS', 'NAMESPACE', 'AUTH=PLAIN'],
};

for (const [literals, capabilities] of Object.entries(CAPABILITIES))
  describe(`an append to a server with ${literals}`, () => {
    for (const index of [0, 1, LAST]) {
      it(`is refused, and in step, after a NO at the announcement of message ${index}`, async () => {
        const { server, session } = await tampered(
          (moment) => (at(moment, 'announced', index) ? { no: '[OVERQUOTA] full' } : undefined),
          capabilities,
        );
        await using _server = server;
        await using _session = session;
        const upload = session.upload(GROUP, ALWAYS);
        const outcome = await upload.ready;
        assert.equal(outcome?.kind, 'refused');
        assert.equal(errorOf(outcome).code, 'over_quota');
        await unharmed(server, session);
        assert.equal(server.folders.get('INBOX')?.messages.length, 2);
      });

      for (const [what, action] of Object.entries({
        bye: { bye: 'going down' },
        'cut connection': { drop: true },
      } as const))
        it(`is unsent after a ${what} at the announcement of message ${index}`, async () => {
          const { server, session } = await tampered(
            (moment) => (at(moment, 'announced', index) ? action : undefined),
            capabilities,
          );
          await using _server = server;
          await using _session = session;
          const outcome = await append(session, GROUP);
          assert.equal(outcome.kind, 'unsent');
          assert.equal(errorOf(outcome).code, 'connection_lost');
          if (what === 'bye') assert.match(errorOf(outcome).detail, /going down/);
          await unharmed(server, session);
        });
    }

    it('is refused, and in step, after a NO behind the octets of a message', async () => {
      const { server, session } = await tampered(
        (moment) => (at(moment, 'received', 1) ? { no: 'bad message' } : undefined),
        capabilities,
      );
      await using _server = server;
      await using _session = session;
      const outcome = await append(session, GROUP);
      assert.equal(outcome.kind, 'refused');
      assert.equal(errorOf(outcome).code, 'message_refused');
      assert.equal(errorOf(outcome).scope, 'message');
      await unharmed(server, session);
    });
  });

describe('an append that the server ends in an odd way', () => {
  /** Runs the group, and gives how it ended and what the server saw of connections. */
  const run = async (
    script: (moment: AppendMoment) => AppendAction | undefined,
    release: (upload: Upload, server: ImapServer) => Promise<AppendOutcome>,
    replyMs?: number,
  ) => {
    const { server, session } = await tampered(script, undefined, replyMs);
    await using _server = server;
    await using _session = session;
    const made = server.connections.made;
    const outcome = await release(session.upload(GROUP, ALWAYS), server);
    const stored = server.folders.get('INBOX')?.messages.length ?? 0;
    await unharmed(server, session);
    return { outcome, stored: stored - 1, reconnected: server.connections.made > made };
  };
  /** The patience in tests of a server that says nothing. */
  const SHORT = 600;
  const usual = async (upload: Upload) => (await upload.ready) ?? upload.release();

  it('destroys the connection when NO comes after the "+", because octets are owed', async () => {
    const { outcome, reconnected, stored } = await run(
      (moment) => (at(moment, 'announced', LAST) ? { say: '+ go\r\nTAG NO changed my mind' } : undefined),
      usual,
    );
    assert.equal(outcome.kind, 'refused');
    assert.ok(reconnected);
    assert.equal(stored, 0);
  });

  it('destroys the connection when a "+" comes after NO', async () => {
    const { outcome, reconnected } = await run(
      (moment) => (at(moment, 'announced', LAST) ? { say: 'TAG NO no' } : undefined),
      async (upload) => {
        const early = await upload.ready;
        assert.equal(early?.kind, 'refused');
        return early;
      },
    );
    assert.equal(outcome.kind, 'refused');
    assert.ok(reconnected);
  });

  it('does not believe an OK before the last octets', async () => {
    const { outcome, stored } = await run(
      (moment) => (at(moment, 'announced', LAST) ? { say: 'TAG OK done already' } : undefined),
      usual,
    );
    assert.equal(outcome.kind, 'unknown');
    assert.equal(errorOf(outcome).code, 'protocol_error');
    assert.equal(stored, 0);
  });

  for (const [what, action] of Object.entries({
    'a cut': { drop: true, store: true },
    'a BYE': { bye: 'shutting down', store: true },
  } as const))
    it(`is unknown after ${what} between the last octets and the answer`, async () => {
      const { outcome, stored } = await run(
        (moment) => (moment.at === 'complete' ? action : undefined),
        usual,
      );
      assert.equal(outcome.kind, 'unknown');
      assert.equal(errorOf(outcome).code, 'connection_lost');
      assert.equal(stored, GROUP.length);
    });

  it('is unknown when the answer does not come in time', async () => {
    const { outcome } = await run(
      (moment) => (moment.at === 'complete' ? { mute: true } : undefined),
      usual,
      SHORT,
    );
    assert.equal(outcome.kind, 'unknown');
    assert.equal(errorOf(outcome).code, 'timeout');
  });

  it('is unsent when the "+" does not come in time', async () => {
    const { outcome } = await run(
      (moment) => (at(moment, 'announced', LAST) ? { mute: true } : undefined),
      usual,
      SHORT,
    );
    assert.equal(outcome.kind, 'unsent');
    assert.equal(errorOf(outcome).code, 'timeout');
  });

  it('is unsent when the connection ends while it waits for its release', async () => {
    const { outcome, stored } = await run(
      (moment) => (at(moment, 'announced', LAST) ? { say: '+ go\r\n* BYE idle' } : undefined),
      async (upload, server) => {
        assert.equal(await upload.ready, null);
        await until(() => server.connections.open === 1, { what: 'the lane to close' });
        return upload.release();
      },
    );
    assert.equal(outcome.kind, 'unsent');
    assert.equal(stored, 0);
  });

  it('may wait for its release longer than the server may be silent', async () => {
    const { outcome } = await run(
      () => undefined,
      async (upload) => {
        assert.equal(await upload.ready, null);
        const start = performance.now();
        await until(() => performance.now() - start > 2 * SHORT, { what: 'twice the patience' });
        return upload.release();
      },
      SHORT,
    );
    assert.equal(outcome.kind, 'appended');
  });

  it('is unknown when it is abandoned after its release', async () => {
    const { outcome } = await run(
      (moment) => (moment.at === 'complete' ? { mute: true } : undefined),
      async (upload) => {
        assert.equal(await upload.ready, null);
        const outcome = upload.release();
        upload.abandon();
        return outcome;
      },
    );
    assert.equal(outcome.kind, 'unknown');
  });

  it('is closed at the answer to a command that nobody sent', async () => {
    const { outcome, reconnected } = await run(
      (moment) => (at(moment, 'received', 0) ? { say: 'Z3 OK DELETE completed' } : undefined),
      usual,
    );
    assert.equal(outcome.kind, 'unsent');
    assert.equal(errorOf(outcome).code, 'protocol_error');
    assert.ok(reconnected);
  });

  it('is throttled at once, with the time that the server named', async () => {
    const words = 'Request is throttled. Suggested Backoff Time: 92415 milliseconds';
    const start = performance.now();
    const { outcome } = await run((moment) => (moment.at === 'complete' ? { no: words } : undefined), usual);
    assert.equal(outcome.kind, 'refused');
    assert.equal(errorOf(outcome).code, 'throttled');
    assert.equal(errorOf(outcome).waitMs, 92_415);
    assert.ok(performance.now() - start < 5_000);
  });

  for (const [what, ok] of Object.entries({
    'another UIDVALIDITY': '[APPENDUID 999 2:4] ok',
    'too few UIDs': '[APPENDUID 1000 2:3] ok',
    'too many UIDs': '[APPENDUID 1000 2:400000000] ok',
    'UIDs out of order': '[APPENDUID 1000 4,2,3] ok',
    'no UIDs': 'ok',
    'a broken code': '[APPENDUID] ok',
  }))
    it(`is appended without UIDs when APPENDUID has ${what}`, async () => {
      const { outcome } = await run((moment) => (moment.at === 'complete' ? { ok } : undefined), usual);
      assert.deepEqual(outcome, { kind: 'appended', uids: null });
    });

  it('takes an APPENDUID that lists its UIDs', async () => {
    const ok = '[APPENDUID 1000 2,4:5] ok';
    const { outcome } = await run((moment) => (moment.at === 'complete' ? { ok } : undefined), usual);
    assert.deepEqual(outcome, { kind: 'appended', uids: [2, 4, 5].map(uid) });
  });
});

describe('what is never sent', () => {
  it('a flag other than the system flags, an odd date, literal8 that is not offered, no message', async () => {
    await using server = await startImapServer({ capabilities: ['IMAP4rev1', 'LITERAL+', 'MULTIAPPEND'] });
    await using session = await openOn(server);
    const good = outgoing('Subject: x\r\n\r\n');
    for (const bad of [
      { ...good, flags: ['\\Recent'] },
      { ...good, flags: ['$Forwarded) "x" {4+}'] },
      { ...good, internalDate: new Date(Number.NaN) },
      { ...good, internalDate: new Date('1969-12-31T23:59:59Z') },
      { ...good, internalDate: new Date('2038-01-01T00:00:00Z') },
      { ...good, literal8: true },
    ]) {
      const outcome = await append(session, [good, bad]);
      assert.equal(errorOf(outcome).code, 'message_refused');
    }
    assert.equal(errorOf(await append(session, [])).code, 'message_refused');
    assert.ok(!server.commands.some(({ line }) => line.startsWith('APPEND')));
  });

  it('a second message to a server without MULTIAPPEND', async () => {
    await using server = await startImapServer({ capabilities: ['IMAP4rev1', 'LITERAL+'] });
    await using session = await openOn(server);
    assert.equal(errorOf(await append(session, GROUP)).code, 'message_refused');
    assert.ok(!server.commands.some(({ line }) => line.startsWith('APPEND')));
  });

  it('octets that were not asked for, behind flags that are new to the connection', async () => {
    const seen: AppendMoment[] = [];
    await using server = await startImapServer({
      append: (moment) => {
        if (moment.at === 'announced') seen.push(moment);
        return undefined;
      },
    });
    await using session = await openOn(server);
    const message = outgoing('Subject: x\r\n\r\n');
    const read = { ...message, flags: ['\\Seen'] };
    await append(session, [message, message, read, read, message]);
    await append(session, [read, message, message]);
    assert.deepEqual(
      seen.map(({ synchronising }) => synchronising),
      [true, false, true, false, true, false, false, true],
    );
  });

  it('a plain literal where literal8 is asked for', async () => {
    await using server = await startImapServer();
    await using session = await openOn(server);
    await append(session, [outgoing('a\0b', { literal8: true, flags: ['\\Seen', '\\Flagged'] })]);
    const [command] = server.commands.filter(({ line }) => line.startsWith('APPEND'));
    assert.equal(command?.line, 'APPEND "INBOX" (\\Seen \\Flagged) "03-Mar-2014 10:20:30 +0000" ~{3}');
  });
});
