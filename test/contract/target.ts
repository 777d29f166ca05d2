import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import type { AppendOutcome, ImapUid, TargetSession } from '../../src/domain/ports.ts';
import type { Dovecot } from '../support/dovecot.ts';
import type { ImapServer } from '../support/imap-server.ts';
import { ALWAYS, append, appendAll, openOn, outgoing, targetOn, uid } from '../support/imap-target.ts';
import { type HardCase, hardCases, hugeMessage, variedMailbox } from '../support/messages.ts';

export interface TargetUnderTest {
  name: string;
  start(): Promise<(Dovecot | ImapServer) & AsyncDisposable>;
  /** What the server gives back for bytes that it was given; null: something else. */
  keeps(message: HardCase): Buffer | null;
  multiAppend: boolean;
}

/** What every `MailTarget` does, whatever stands behind it. Each test has a folder of its own. */
export function targetContract({ name, start, keeps, multiAppend }: TargetUnderTest): void {
  describe(`a mail target on ${name}`, () => {
    let server: Awaited<ReturnType<typeof start>>;
    let folders = 0;
    const fresh = () => openOn(server, { path: [`folder ${++folders}`] });

    before(async () => {
      server = await start();
    });
    after(() => server[Symbol.asyncDispose]());

    it('makes a missing folder, with the levels above it and letters of any script', async () => {
      const path = ['Grüße & Ω', 'a "b" \\c', '日本'];
      {
        await using session = await openOn(server, { path });
        assert.equal(session.folder.path, path.join('/'));
        assert.equal(session.folder.exists, 0);
        assert.ok(session.folder.uidValidity > 0);
        await appendAll(session, [outgoing('Subject: x\r\n\r\n')]);
      }
      await using again = await openOn(server, { path });
      assert.equal(again.folder.exists, 1);
    });

    it('appends a group in order, and gives its UIDs', async () => {
      await using session = await fresh();
      assert.equal(session.multiAppend, multiAppend);
      const messages = variedMailbox(20, 11);
      const before = session.folder.uidNext;
      const uids = await appendAll(
        session,
        messages.map((bytes) => outgoing(bytes)),
      );
      assert.deepEqual(
        uids,
        messages.map((_, n) => before + n),
      );
      for (const [n, bytes] of messages.entries())
        assert.deepEqual(await session.read(uids[n] ?? uid(0), ALWAYS), bytes);
    });

    it('stores nothing of an upload before it is released', async () => {
      await using session = await fresh();
      const group = messagesOf(session, ['one', 'two']);
      const upload = session.upload(group, ALWAYS);
      assert.equal(await upload.ready, null);
      assert.deepEqual(await session.scan(uid(1), null, ALWAYS), []);
      assert.equal((await upload.release()).kind, 'appended');
      assert.equal((await session.scan(uid(1), null, ALWAYS)).length, group.length);
    });

    it('stores nothing of an upload that is abandoned, and goes on', async () => {
      await using session = await fresh();
      const upload = session.upload(messagesOf(session, ['one', 'two']), ALWAYS);
      assert.equal(await upload.ready, null);
      upload.abandon();
      upload.abandon();
      assert.equal((await upload.release()).kind, 'unsent');
      assert.equal((await append(session, [outgoing('Subject: other\r\n\r\nother\r\n')])).kind, 'appended');
      const found = await session.scan(uid(1), null, ALWAYS);
      assert.deepEqual(found.map(subjectOf), ['other']);
    });

    it('abandons an upload when its signal is aborted', async () => {
      await using session = await fresh();
      const stop = new AbortController();
      const upload = session.upload(messagesOf(session, ['one']), stop.signal);
      assert.equal(await upload.ready, null);
      stop.abort();
      assert.equal((await upload.release()).kind, 'unsent');
      const never = session.upload(messagesOf(session, ['two']), AbortSignal.abort());
      assert.equal((await never.ready)?.kind, 'unsent');
      assert.deepEqual(await session.scan(uid(1), null, ALWAYS), []);
    });

    it('gives thousand messages over four lanes, released in order, ascending UIDs', async () => {
      await using session = await fresh();
      const count = 1_000;
      const groupSize = session.multiAppend ? 32 : 1;
      const order = await releaseInOrder(session, count, groupSize);
      assert.equal(order.length, count);
      assert.deepEqual(
        order,
        [...order].sort((a, b) => a - b),
      );
      const found = await session.scan(uid(1), null, ALWAYS);
      assert.deepEqual(
        found.map(subjectOf),
        Array.from({ length: count }, (_, n) => `number ${n}`),
      );
      assert.equal(session.lanes, 4);
    });

    it('keeps the bytes of the hard cases', async () => {
      await using session = await fresh();
      const cases = hardCases();
      const uids = await appendAll(
        session,
        cases.map(({ bytes }) => outgoing(bytes)),
      );
      for (const [n, message] of cases.entries()) {
        const kept = keeps(message);
        const read = await session.read(uids[n] ?? uid(0), ALWAYS);
        if (kept === null) assert.notDeepEqual(read, message.bytes, message.name);
        else assert.ok(read?.equals(kept), message.name);
      }
    });

    it('keeps the bytes of a 20 MB message', async () => {
      await using session = await fresh();
      const huge = hugeMessage();
      const [copy] = await appendAll(session, [outgoing(huge)]);
      const read = await session.read(copy ?? uid(0), ALWAYS);
      assert.equal(digest(read), digest(huge));
    });

    it('scans from a UID on and below another, with sizes and the four header fields', async () => {
      await using session = await fresh();
      const messages = Array.from({ length: 9 }, (_, n) =>
        outgoing(`X-Other: ${n}\r\nsubject: s${n}\r\nMessage-ID: <${n}@x>\r\n\r\n${'b'.repeat(n)}\r\n`),
      );
      const uids = await appendAll(session, messages);
      const at = (n: number) => uids[n] ?? uid(0);
      const middle = await session.scan(at(3), at(6), ALWAYS);
      assert.deepEqual(
        middle.map((copy) => [copy.uid, copy.size]),
        [3, 4, 5].map((n) => [at(n), messages[n]?.bytes.length]),
      );
      assert.match(middle[0]?.header.toString() ?? '', /^subject: s3\r\nMessage-ID: <3@x>\r\n/m);
      assert.doesNotMatch(middle[0]?.header.toString() ?? '', /X-Other/);
      assert.deepEqual(
        (await session.scan(at(7), null, ALWAYS)).map((copy) => copy.uid),
        [at(7), at(8)],
      );
      // "n:*" would name the last message.
      assert.deepEqual(await session.scan(uid(at(8) + 1), null, ALWAYS), []);
      assert.deepEqual(await session.scan(at(5), at(5), ALWAYS), []);
    });

    it('tells the sizes of those UIDs that exist', async () => {
      await using session = await fresh();
      const uids = await appendAll(session, [
        outgoing('Subject: a\r\n\r\n'),
        outgoing('Subject: bc\r\n\r\n'),
      ]);
      const wanted = [...uids, uid(77), uid(4_000_000_000)];
      const sizes = await session.sizes(wanted, ALWAYS);
      assert.deepEqual([...sizes].sort(byUid), [
        [uids[0], 14],
        [uids[1], 15],
      ]);
      assert.equal((await session.sizes([], ALWAYS)).size, 0);
      assert.equal(await session.read(uid(77), ALWAYS), null);
    });

    it('tells the internal dates of those UIDs that exist', async () => {
      await using session = await fresh();
      const [first = uid(0)] = await appendAll(session, [outgoing('Subject: a\r\n\r\n')]);
      const dates = await session.internalDates([first, uid(77)], ALWAYS);
      assert.deepEqual([...dates], [[first, outgoing('').internalDate]]);
    });

    it('asks for thousands of scattered sizes in lines of a length that servers take', async () => {
      await using session = await fresh();
      const [first = uid(0)] = await appendAll(session, [outgoing('Subject: a\r\n\r\n')]);
      const scattered = Array.from({ length: 6_000 }, (_, n) => uid(first + n * 2));
      assert.deepEqual([...(await session.sizes(scattered, ALWAYS))], [[first, 14]]);
    });

    it('sees what another session appended', async () => {
      const path = [`shared ${++folders}`];
      await using one = await openOn(server, { path });
      await using other = await openOn(server, { path });
      assert.deepEqual(await one.scan(uid(1), null, ALWAYS), []);
      const [copy = uid(0)] = await appendAll(other, [outgoing('Subject: by the other\r\n\r\n')]);
      assert.deepEqual((await one.scan(uid(1), null, ALWAYS)).map(subjectOf), ['by the other']);
      const [next = uid(0)] = await appendAll(other, [outgoing('Subject: again\r\n\r\n')]);
      assert.equal((await one.read(next, ALWAYS))?.length, 18);
      assert.deepEqual([...(await one.sizes([copy, next], ALWAYS))].sort(byUid), [
        [copy, 25],
        [next, 18],
      ]);
      const now = await one.refresh(ALWAYS);
      assert.deepEqual([now.uidValidity, now.uidNext, now.exists], [one.folder.uidValidity, next + 1, 2]);
    });

    it('refuses an empty message itself, and stays usable', async () => {
      await using session = await fresh();
      const group = [...messagesOf(session, []), outgoing('')];
      const outcome = await append(session, group);
      assert.equal(outcome.kind === 'refused' && outcome.error.code, 'message_empty');
      assert.equal(outcome.kind === 'refused' && outcome.error.scope, 'message');
      assert.equal((await append(session, [outgoing('Subject: x\r\n\r\n')])).kind, 'appended');
    });

    it('says authentication_failed for a wrong password, without repeating it', async () => {
      const target = await targetOn(server, { password: 'wrong+pass' });
      await assert.rejects(target.open({ path: ['INBOX'] }, ALWAYS), (error: Error) => {
        assert.equal((error as Error & { code: string }).code, 'authentication_failed');
        assert.doesNotMatch(JSON.stringify(error) + error.message, /wrong\+pass/);
        return true;
      });
    });

    it('opens INBOX whatever its case', async () => {
      await using session = await openOn(server, { path: ['inbox'] });
      assert.equal(session.folder.path, 'INBOX');
    });

    it('closes and destroys more than once, and refuses what comes after', async () => {
      const session = await fresh();
      const waiting = session.upload(messagesOf(session, ['x']), ALWAYS);
      assert.equal(await waiting.ready, null);
      await session.close();
      await session.close();
      session.destroy();
      assert.equal((await waiting.release()).kind, 'unsent');
      assert.equal((await append(session, [outgoing('Subject: x\r\n\r\n')])).kind, 'unsent');
      await assert.rejects(session.scan(uid(1), null, ALWAYS), { code: 'connection_lost' });
    });

    it('opens nothing when the signal is aborted', async () => {
      const target = await targetOn(server);
      const reason = new Error('stop');
      await assert.rejects(target.open({ path: ['INBOX'] }, AbortSignal.abort(reason)), reason);
    });
  });
}

/** Up to five uploads under way, released in their order. Gives the UIDs as the outcomes told them. */
async function releaseInOrder(session: TargetSession, count: number, groupSize: number): Promise<ImapUid[]> {
  const uids: ImapUid[] = [];
  const started: ReturnType<TargetSession['upload']>[] = [];
  for (let next = 0; next < count || started.length > 0; ) {
    while (next < count && started.length < 5) {
      const size = Math.min(groupSize, count - next);
      const first = next;
      const group = Array.from({ length: size }, (_, n) =>
        outgoing(`Subject: number ${first + n}\r\n\r\n${'body '.repeat(n % 7)}\r\n`),
      );
      started.push(session.upload(group, ALWAYS));
      next += size;
    }
    const oldest = started.shift();
    const outcome: AppendOutcome | undefined = (await oldest?.ready) ?? (await oldest?.release());
    assert.equal(outcome?.kind, 'appended');
    uids.push(...((outcome.kind === 'appended' && outcome.uids) || []));
  }
  return uids;
}

function messagesOf(session: TargetSession, bodies: readonly string[]) {
  const messages = bodies.map((body) => outgoing(`Subject: ${body}\r\n\r\n${body}\r\n`));
  return session.multiAppend ? messages : messages.slice(0, 1);
}

function subjectOf({ header }: { header: Buffer }): string | undefined {
  return /^subject: (.*?)\r?$/im.exec(header.toString())?.[1];
}

function byUid([a]: [number, number], [b]: [number, number]): number {
  return a - b;
}

function digest(bytes: Buffer | null): string {
  return createHash('sha256')
    .update(bytes ?? '')
    .digest('hex');
}
