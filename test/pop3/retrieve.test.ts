import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { SharedBudget } from '../../src/domain/budget.ts';
import type { Retrieved } from '../../src/domain/ports.ts';
import { until } from '../support/net.ts';
import { collect, entry, isBridgeError, never, takeAll } from '../support/pop3-client.ts';
import { CAPABILITIES, type Pop3ServerOptions } from '../support/pop3-server.ts';
import { openSession } from '../support/pop3-session.ts';

const KB = 1024;

function mailbox(count: number, bytes: number): Buffer[] {
  return Array.from({ length: count }, (_, n) => Buffer.from(`${String(n).padEnd(bytes - 2, 'x')}\r\n`));
}

suite('retrieving over POP3', () => {
  test('sends the commands of a window in one write', async () => {
    await using at = await openSession({ messages: mailbox(500, 100) });
    const before = at.server.peers[0]?.chunks.length ?? 0;
    await takeAll(at.session.retrieve(at.entries, new SharedBudget(KB * KB), never));
    assert.equal(at.server.lines.length, 500);
    assert.equal((at.server.peers[0]?.chunks.length ?? 0) - before, 1);
  });

  test('keeps as many commands under way as the window has bytes', async () => {
    const options = { limits: { windowBytes: 1_000 } };
    await using at = await openSession({ messages: mailbox(200, 100) }, options);
    await takeAll(at.session.retrieve(at.entries, new SharedBudget(KB * KB), never));
    assert.equal(at.server.mostPending, 10);
  });

  test('keeps no more commands under way than the window allows', async () => {
    const options = { limits: { windowCommands: 16 } };
    await using at = await openSession({ messages: mailbox(200, 100) }, options);
    await takeAll(at.session.retrieve(at.entries, new SharedBudget(KB * KB), never));
    assert.equal(at.server.mostPending, 16);
  });

  test('sends one at a time where the server does not say PIPELINING', async () => {
    const capabilities = CAPABILITIES.filter((capability) => capability !== 'PIPELINING');
    await using at = await openSession({ messages: mailbox(50, 100), capabilities });
    await takeAll(at.session.retrieve(at.entries, new SharedBudget(KB * KB), never));
    assert.equal(at.server.lines.length, 50);
    assert.equal(at.server.mostPending, 1);
  });

  test('waits for the budget with nothing under way, and takes only what is free otherwise', async () => {
    await using at = await openSession({ messages: mailbox(20, 1_000) });
    const budget = new SharedBudget(3_500);
    const elsewhere = await budget.reserve(1_500, never);
    const retrieval = at.session.retrieve(at.entries, budget, never);
    const first = await retrieval.next();
    const second = await retrieval.next();
    assert.deepEqual(at.server.lines, ['RETR 1', 'RETR 2']);
    let third: IteratorResult<Retrieved, void> | null = null;
    const waiting = retrieval.next().then((next) => {
      third = next;
    });
    await turn();
    assert.equal(third, null);
    assert.equal(at.server.lines.length, 2);
    release(first);
    await waiting;
    assert.equal(at.server.lines.length, 3);
    elsewhere.release();
    release(second);
    release(third);
    await takeAll(retrieval);
    assert.equal(budget.used, 0);
  });

  test('two sessions that share a budget smaller than one message both come to their end', async () => {
    await using one = await openSession({ messages: mailbox(30, 2_000) });
    await using two = await openSession({ messages: mailbox(30, 3_000) });
    const budget = new SharedBudget(1_000);
    const both = [one, two].map((at) => takeAll(at.session.retrieve(at.entries, budget, never)));
    const counts = (await Promise.all(both)).map(({ length }) => length);
    assert.deepEqual(counts, [30, 30]);
    assert.equal(budget.used, 0);
  });

  test('stops waiting for the budget when aborted', async () => {
    await using at = await openSession({ messages: mailbox(2, 1_000) });
    const budget = new SharedBudget(1_000);
    const elsewhere = await budget.reserve(1_000, never);
    const abort = new AbortController();
    const next = at.session.retrieve(at.entries, budget, abort.signal).next();
    const reason = new Error('stop');
    abort.abort(reason);
    await assert.rejects(next, reason);
    elsewhere.release();
    assert.equal(budget.used, 0);
  });

  test('overdraws the budget by what LIST did not tell, knowingly', async () => {
    const messages = mailbox(1, 50_000);
    await using at = await openSession({ messages, sizes: new Map([[1, 10]]) });
    const budget = new SharedBudget(1_000);
    const [message] = await collect(at.session.retrieve(at.entries, budget, never));
    assert.ok(message?.kind === 'message' && message.bytes.equals(messages[0] ?? Buffer.alloc(0)));
    assert.equal(budget.used, 50_000);
    message.release();
    message.release();
    assert.equal(budget.used, 0);
  });

  test('gives back what LIST said too much, before the message is released', async () => {
    await using at = await openSession({
      messages: mailbox(1, 100),
      sizes: new Map([[1, 900_000_000_000_000]]),
    });
    const budget = new SharedBudget(1_000);
    const [message] = await collect(at.session.retrieve(at.entries, budget, never));
    assert.equal(budget.used, 100);
    assert.ok(message?.kind === 'message');
    message.release();
  });

  test('drops a message larger than allowed, says so, and goes on', async () => {
    const messages = [...mailbox(1, 100), ...mailbox(1, 500 * KB), ...mailbox(1, 100)];
    const sizes = new Map([[2, 100]]);
    await using at = await openSession({ messages, sizes }, { limits: { maxMessageBytes: 300 * KB } });
    const budget = new SharedBudget(KB * KB);
    const all = await collect(at.session.retrieve(at.entries, budget, never));
    assert.deepEqual(
      all.map((next) => (next.kind === 'refused' ? next.error.code : next.bytes.length)),
      [100, 'message_too_large', 100],
    );
    for (const next of all) if (next.kind === 'message') next.release();
    assert.equal(budget.used, 0);
  });

  test('stops reading while the consumer does not keep up, and reads on when it does', async () => {
    // LIST lies, so that the window alone would let 64 MB in.
    const messages = mailbox(64, KB * KB);
    const sizes = new Map(messages.map((_, n) => [n + 1, 10]));
    await using at = await openSession({ messages, sizes }, { limits: { windowBytes: 2 * KB * KB } });
    const budget = new SharedBudget(64 * KB * KB);
    const retrieval = at.session.retrieve(at.entries, budget, never);
    const first = await retrieval.next();
    const socket = at.server.peers[0]?.socket;
    // The server has more to send than the kernel takes, and what it still has does not change any more.
    await settled(() => budget.used + (socket?.writableLength ?? 0) / 1e9);
    assert.ok((socket?.writableLength ?? 0) > 20 * KB * KB, 'the server could send on');
    assert.ok(budget.used < 8 * KB * KB, `${budget.used} bytes were read ahead`);
    release(first);
    assert.equal((await takeAll(retrieval)).length, 63);
    assert.equal(budget.used, 0);
  });

  test('gives a session up for which nobody takes anything', async () => {
    const messages = mailbox(64, KB * KB);
    const limits = { windowBytes: 4 * KB * KB };
    await using at = await openSession({ messages }, { limits, timeouts: { stallMs: 50 } });
    const budget = new SharedBudget(64 * KB * KB);
    const retrieval = at.session.retrieve(at.entries, budget, never);
    release(await retrieval.next());
    await until(() => at.server.peers[0]?.socket.destroyed, { what: 'the session to be given up' });
    await assert.rejects(takeAll(retrieval), isBridgeError('connection_lost'));
    assert.equal(budget.used, 0);
  });

  test('reports what -ERR said of one message, and goes on', async () => {
    const on = { RETR: (line: string) => (line === 'RETR 2' ? '-ERR Message 2 expunged.\r\n' : undefined) };
    for (const windowCommands of [1, 100]) {
      await using at = await openSession({ messages: mailbox(3, 100), on }, { limits: { windowCommands } });
      const budget = new SharedBudget(KB * KB);
      const all = await collect(at.session.retrieve(at.entries, budget, never));
      const refused = all[1];
      assert.ok(refused?.kind === 'refused' && all.length === 3);
      const { code, scope, recovery, detail } = refused.error;
      assert.deepEqual([code, scope, recovery], ['message_unavailable', 'message', 'final']);
      assert.equal(detail, 'Message 2 expunged.');
      assert.equal(refused.entry.number, 2);
    }
  });

  test('blames no message for the good-bye of a server that hangs up', async () => {
    const on: Pop3ServerOptions['on'] = {
      RETR: (line, { socket }) => {
        if (line !== 'RETR 2') return undefined;
        socket.end('-ERR Disconnected: shutting down\r\n');
        return null;
      },
    };
    for (const count of [2, 5]) {
      await using at = await openSession({ messages: mailbox(count, 100), on });
      const budget = new SharedBudget(KB * KB);
      const retrieval = at.session.retrieve(at.entries, budget, never);
      assert.equal((await retrieval.next()).value?.kind, 'message');
      await assert.rejects(retrieval.next(), (error) => {
        assert.ok(isBridgeError('connection_lost')(error));
        assert.equal(error.detail, 'Disconnected: shutting down');
        return true;
      });
    }
  });

  test('hands on what arrived whole before the connection broke', async () => {
    const on: Pop3ServerOptions['on'] = {
      RETR: (line, { socket }) => {
        if (line !== 'RETR 3') return undefined;
        socket.end('+OK\r\nhalf a message\r\n');
        return null;
      },
    };
    await using at = await openSession({ messages: mailbox(5, 100), on });
    const budget = new SharedBudget(KB * KB);
    const retrieval = at.session.retrieve(at.entries, budget, never);
    for (const number of [1, 2]) {
      const next = await retrieval.next();
      assert.equal(next.value?.entry.number, number);
      release(next);
    }
    await assert.rejects(retrieval.next(), isBridgeError('connection_lost'));
    assert.equal(budget.used, 0);
  });

  test('leaves the session usable when stopped with no answer owed', async () => {
    await using at = await openSession({ messages: mailbox(3, 100) }, { limits: { windowCommands: 1 } });
    const budget = new SharedBudget(KB * KB);
    for await (const next of at.session.retrieve(at.entries, budget, never)) {
      if (next.kind === 'message') next.release();
      break;
    }
    assert.equal(budget.used, 0);
    assert.equal((await at.session.list(never)).length, 3);
  });

  test('asks for nothing where nothing is wanted', async () => {
    await using at = await openSession({ messages: mailbox(3, 100) });
    assert.deepEqual(await takeAll(at.session.retrieve([], new SharedBudget(KB), never)), []);
    assert.deepEqual(at.server.lines, []);
  });

  test('takes an empty message for one of no octets', async () => {
    await using at = await openSession({ messages: [Buffer.alloc(0), Buffer.from('x\r\n')] });
    const all = await takeAll(at.session.retrieve([entry(1, 0), entry(2, 3)], new SharedBudget(KB), never));
    assert.deepEqual(
      all.map(({ bytes }) => bytes.toString()),
      ['', 'x\r\n'],
    );
  });
});

function release(next: IteratorResult<Retrieved, void> | null): void {
  assert.ok(next?.value?.kind === 'message');
  next.value.release();
}

/** Waits until a number has stayed the same for a while. */
async function settled(read: () => number): Promise<void> {
  let last = Number.NaN;
  let same = 0;
  await until(
    () => {
      const now = read();
      same = now === last ? same + 1 : 0;
      last = now;
      return same >= 10;
    },
    { what: 'the flow to settle' },
  );
}
