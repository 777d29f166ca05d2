import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { SharedBudget } from '../../src/domain/budget.ts';
import { headerBlock } from '../../src/domain/header.ts';
import type { HeaderReply } from '../../src/domain/ports.ts';
import { collect, isBridgeError, never } from '../support/pop3-client.ts';
import { CAPABILITIES, listing, type Pop3ServerOptions } from '../support/pop3-server.ts';
import { openSession } from '../support/pop3-session.ts';

const KB = 1024;
const without = (...gone: string[]) => CAPABILITIES.filter((keyword) => !gone.includes(keyword));
const plenty = () => new SharedBudget(64 * KB * KB);

function mail(n: number, headerBytes: number, bodyBytes = 100): Buffer {
  return Buffer.from(`X: ${n}\r\nY: ${'h'.repeat(headerBytes)}\r\n\r\n${'b'.repeat(bodyBytes)}\r\n`);
}

function mailbox(count: number, headerBytes: number, bodyBytes?: number): Buffer[] {
  return Array.from({ length: count }, (_, n) => mail(n, headerBytes, bodyBytes));
}

/** Headers as text, refusals as their code. */
function shown(replies: readonly HeaderReply[]): string[] {
  return replies.map((reply) => (reply.kind === 'header' ? reply.header.toString() : reply.error.code));
}

suite('headers over POP3', () => {
  const messages = mailbox(50, 10);
  const expected = messages.map((message) => headerBlock(message).toString());

  test('are asked for with TOP, a window of commands in one write', async () => {
    await using at = await openSession({ messages });
    const before = at.server.peers[0]?.chunks.length ?? 0;
    assert.deepEqual(shown(await collect(at.session.headers(at.entries, plenty(), never))), expected);
    assert.deepEqual(
      at.server.lines,
      messages.map((_, n) => `TOP ${n + 1} 0`),
    );
    assert.equal((at.server.peers[0]?.chunks.length ?? 0) - before, 1);
  });

  test('are asked for no more at once than the window allows', async () => {
    await using at = await openSession({ messages }, { limits: { windowCommands: 16 } });
    assert.deepEqual(shown(await collect(at.session.headers(at.entries, plenty(), never))), expected);
    assert.equal(at.server.mostPending, 16);
  });

  test('are asked for one at a time where the server does not say PIPELINING', async () => {
    await using at = await openSession({ messages, capabilities: without('PIPELINING') });
    assert.deepEqual(shown(await collect(at.session.headers(at.entries, plenty(), never))), expected);
    assert.equal(at.server.mostPending, 1);
  });

  test('come from RETR where CAPA has no TOP, or there is no CAPA', async () => {
    const silent = { CAPA: () => '-ERR what?\r\n' };
    for (const options of [{ capabilities: without('TOP') }, { on: silent }]) {
      await using at = await openSession({ messages, ...options });
      assert.deepEqual(shown(await collect(at.session.headers(at.entries, plenty(), never))), expected);
      assert.ok(at.server.lines.every((line) => line.startsWith('RETR ')));
    }
  });

  test('end where they end, however much of the body the server sends', async () => {
    const on = { TOP: () => listing(['X: 1', '', '..', 'Y: 2', '', 'more']) };
    await using at = await openSession({ messages: mailbox(1, 10), on });
    assert.deepEqual(shown(await collect(at.session.headers(at.entries, plenty(), never))), ['X: 1\r\n']);
  });

  test('are reserved before they are asked for, by what a header usually has', async () => {
    await using at = await openSession({ messages: mailbox(20, 10, 100_000) });
    const budget = new SharedBudget(10_000);
    const elsewhere = await budget.reserve(1_000, never);
    const headers = at.session.headers(at.entries, budget, never);
    await headers.next();
    // 4,096 bytes each, beside what is out elsewhere.
    assert.equal(at.server.lines.length, 2);
    elsewhere.release();
    assert.equal((await collect(headers)).length, 19);
    assert.equal(budget.used, 0);
  });

  test('that are large overdraw the budget until the next one is asked for', async () => {
    const one = mail(1, 200 * KB);
    await using at = await openSession({ messages: [one] });
    const budget = new SharedBudget(1_000);
    const headers = at.session.headers(at.entries, budget, never);
    const first = await headers.next();
    assert.ok(first.value?.kind === 'header' && first.value.header.equals(headerBlock(one)));
    assert.ok(budget.used >= headerBlock(one).length);
    assert.equal((await headers.next()).done, true);
    assert.equal(budget.used, 0);
  });

  test('do not hold the message that they came with', async () => {
    await using at = await openSession({
      messages: mailbox(1, 10, 1_000 * KB),
      capabilities: without('TOP'),
    });
    const [reply] = await collect(at.session.headers(at.entries, plenty(), never));
    assert.ok(reply?.kind === 'header');
    assert.ok(reply.header.buffer.byteLength < 100 * KB);
  });

  test('that the server refuses are named with its words, and the session goes on', async () => {
    const on = { TOP: (line: string) => (line === 'TOP 2 0' ? '-ERR Message 2 expunged.\r\n' : undefined) };
    for (const windowCommands of [1, 100]) {
      await using at = await openSession({ messages: mailbox(3, 10), on }, { limits: { windowCommands } });
      const budget = plenty();
      const replies = await collect(at.session.headers(at.entries, budget, never));
      const refused = replies[1];
      assert.ok(refused?.kind === 'refused' && replies.length === 3);
      const { code, scope, recovery, detail } = refused.error;
      assert.deepEqual([code, scope, recovery], ['message_unavailable', 'message', 'final']);
      assert.equal(detail, 'Message 2 expunged.');
      assert.equal(refused.entry.number, 2);
      assert.equal(budget.used, 0);
    }
  });

  test('without end are dropped and refused, and the session goes on', async () => {
    const limits = { maxMessageBytes: 50 * KB };
    const all = [mail(1, 10), mail(2, 100 * KB), mail(3, 10)];
    await using at = await openSession({ messages: all }, { limits });
    const budget = plenty();
    const replies = await collect(at.session.headers(at.entries, budget, never));
    assert.deepEqual(
      replies.map((reply) => (reply.kind === 'refused' ? reply.error.code : reply.kind)),
      ['header', 'message_too_large', 'header'],
    );
    assert.equal(budget.used, 0);
  });

  test('blame no message for the good-bye of a server that hangs up', async () => {
    const on: Pop3ServerOptions['on'] = {
      TOP: (line, { socket }) => {
        if (line !== 'TOP 2 0') return undefined;
        socket.end('-ERR Disconnected: shutting down\r\n');
        return null;
      },
    };
    for (const count of [2, 5]) {
      await using at = await openSession({ messages: mailbox(count, 10), on });
      const budget = plenty();
      const headers = at.session.headers(at.entries, budget, never);
      assert.equal((await headers.next()).value?.kind, 'header');
      await assert.rejects(headers.next(), isBridgeError('connection_lost'));
      assert.equal(budget.used, 0);
    }
  });

  test('give everything back when nobody wants more of them', async () => {
    await using at = await openSession({ messages: mailbox(3, 10) }, { limits: { windowCommands: 1 } });
    const budget = plenty();
    for await (const reply of at.session.headers(at.entries, budget, never)) {
      assert.equal(reply.kind, 'header');
      break;
    }
    assert.equal(budget.used, 0);
    assert.equal((await at.session.list(never)).length, 3);
  });

  test('stop with the reason of an abort', async () => {
    const abort = new AbortController();
    const reason = new Error('stop');
    const on = {
      TOP: () => {
        abort.abort(reason);
        return null;
      },
    };
    await using at = await openSession({ messages: mailbox(3, 10), on });
    const budget = plenty();
    await assert.rejects(collect(at.session.headers(at.entries, budget, abort.signal)), reason);
    assert.equal(budget.used, 0);
  });
});
