import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { SharedBudget } from '../../src/domain/budget.ts';
import { headerBlock } from '../../src/domain/header.ts';
import type { MailSource, SourceEntry } from '../../src/domain/ports.ts';
import { collect, entry, isBridgeError, never, takeAll } from '../support/pop3-client.ts';

/** A server with a mailbox, as the contract sees it. */
export interface SourceFixture extends AsyncDisposable {
  /** What the server delivers, in its order, as something else than the code under test read it. */
  messages: readonly Buffer[];
  /** `full`: holds `messages`; `empty`: nothing. */
  source(mailbox: 'full' | 'empty', password?: string): MailSource;
  /**
   * A mailbox that holds `messages` and is the caller's alone: for deletion, and for sessions cut while answers are
   * owed, since Dovecot keeps the lock of about one in 150 of those (seen with 2.3.19 over TLS).
   */
  fresh(): Promise<MailSource>;
}

const plenty = () => new SharedBudget(64 * 1024 * 1024);

/** What every MailSource promises (src/domain/ports.ts). The mailbox holds at least ten messages. */
export function sourceContract(name: string, start: () => Promise<SourceFixture>): void {
  suite(`mail source contract: ${name}`, () => {
    test('lists every message once, with the same ids in every session', async () => {
      await using fixture = await start();
      const first = await listing(fixture.source('full'));
      const second = await listing(fixture.source('full'));
      assert.equal(first.length, fixture.messages.length);
      assert.equal(new Set(first.map(({ uidl }) => uidl)).size, first.length);
      assert.deepEqual(first, second);
    });

    test('delivers every octet, in the order asked', async () => {
      await using fixture = await start();
      const session = await fixture.source('full').open(never);
      const entries = await session.list(never);
      const order = [...entries.slice(5), ...entries.slice(0, 5).reverse()];
      const messages = await takeAll(session.retrieve(order, plenty(), never));
      await session.quit();
      assert.deepEqual(
        messages.map((message) => message.entry),
        order,
      );
      for (const { entry, bytes } of messages) {
        const expected = fixture.messages[entries.indexOf(entry)];
        assert.ok(expected !== undefined && bytes.equals(expected), `other bytes in message ${entry.number}`);
      }
    });

    test('delivers the same through a budget smaller than a message, and gives all of it back', async () => {
      await using fixture = await start();
      const session = await fixture.source('full').open(never);
      const budget = new SharedBudget(1_000);
      const messages = await takeAll(session.retrieve(await session.list(never), budget, never));
      await session.quit();
      assert.ok(
        messages.every(({ bytes }, index) => bytes.equals(fixture.messages[index] ?? Buffer.alloc(0))),
      );
      assert.equal(budget.used, 0);
    });

    test('finds nothing in an empty mailbox', async () => {
      await using fixture = await start();
      assert.deepEqual(await listing(fixture.source('empty')), []);
    });

    test('goes on after a message that the server does not hand out', async () => {
      await using fixture = await start();
      const session = await fixture.source('full').open(never);
      const [first, second] = await session.list(never);
      assert.ok(first !== undefined && second !== undefined);
      const kinds: string[] = [];
      for await (const next of session.retrieve([first, entry(99_999), second], plenty(), never)) {
        kinds.push(next.kind);
        if (next.kind === 'message') next.release();
        else assert.equal(next.error.code, 'message_unavailable');
      }
      assert.deepEqual(kinds, ['message', 'refused', 'message']);
      assert.equal((await session.list(never)).length, fixture.messages.length);
      await session.quit();
    });

    test('takes several retrievals one after the other in one session', async () => {
      await using fixture = await start();
      const session = await fixture.source('full').open(never);
      const entries = await session.list(never);
      for (const one of entries.slice(0, 3)) {
        const [message] = await takeAll(session.retrieve([one], plenty(), never));
        assert.ok(message?.bytes.equals(fixture.messages[entries.indexOf(one)] ?? Buffer.alloc(0)));
      }
      await session.quit();
    });

    test('ends with the session when stopped while answers are owed', async () => {
      await using fixture = await start();
      const session = await (await fixture.fresh()).open(never);
      const entries = await session.list(never);
      const budget = plenty();
      // More than one read of a socket can bring, so that answers are owed after the first message.
      for await (const first of session.retrieve(cycle(entries, 5_000), budget, never)) {
        if (first.kind === 'message') first.release();
        break;
      }
      assert.equal(budget.used, 0);
      const pipelines = session.capabilities.has('PIPELINING');
      if (pipelines) await assert.rejects(session.list(never), isBridgeError('connection_lost'));
      else assert.equal((await session.list(never)).length, entries.length);
      session.destroy();
    });

    test('gives the header of every message as it is in the whole message, in the order asked', async () => {
      await using fixture = await start();
      const session = await fixture.source('full').open(never);
      const entries = await session.list(never);
      const order = [...entries.slice(5), ...entries.slice(0, 5).reverse()];
      const budget = plenty();
      const replies = await collect(session.headers(order, budget, never));
      await session.quit();
      assert.deepEqual(
        replies.map((reply) => reply.entry),
        order,
      );
      for (const reply of replies) {
        const message = fixture.messages[entries.indexOf(reply.entry)];
        assert.ok(message !== undefined && reply.kind === 'header');
        const { number } = reply.entry;
        assert.equal(reply.header.toString('latin1'), headerBlock(message).toString('latin1'), `${number}`);
      }
      assert.equal(budget.used, 0);
    });

    test('gives the same headers through a budget smaller than a header', async () => {
      await using fixture = await start();
      const session = await fixture.source('full').open(never);
      const entries = await session.list(never);
      const budget = new SharedBudget(10);
      const replies = await collect(session.headers(entries, budget, never));
      await session.quit();
      assert.ok(
        replies.every((reply, index) => {
          const message = fixture.messages[index];
          return message && reply.kind === 'header' && reply.header.equals(headerBlock(message));
        }),
      );
      assert.equal(replies.length, entries.length);
      assert.equal(budget.used, 0);
    });

    test('goes on after a header that the server does not hand out', async () => {
      await using fixture = await start();
      const session = await fixture.source('full').open(never);
      const [first, second] = await session.list(never);
      assert.ok(first !== undefined && second !== undefined);
      const asked = [first, entry(99_999), second];
      const replies = await collect(session.headers(asked, plenty(), never));
      assert.deepEqual(
        replies.map((reply) => (reply.kind === 'refused' ? reply.error.code : reply.kind)),
        ['header', 'message_unavailable', 'header'],
      );
      assert.equal((await session.list(never)).length, fixture.messages.length);
      await session.quit();
    });

    test('removes what was deleted, and nothing else, once QUIT is answered', async () => {
      await using fixture = await start();
      const source = await fixture.fresh();
      const session = await source.open(never);
      const entries = await session.list(never);
      const doomed = entries.filter((_, index) => index % 3 === 1);
      await takeAll(session.retrieve(entries.slice(0, 5), plenty(), never));
      await collect(session.headers(doomed, plenty(), never));
      assert.deepEqual(await session.delete(doomed, never), new Map());
      assert.equal(await session.quit(), true);
      const left = entries.filter((each) => !doomed.includes(each));
      assert.deepEqual(uidls(await listing(source)), uidls(left));
    });

    test('removes a whole mailbox', async () => {
      await using fixture = await start();
      const source = await fixture.fresh();
      const session = await source.open(never);
      assert.deepEqual(await session.delete(await session.list(never), never), new Map());
      assert.equal(await session.quit(), true);
      assert.deepEqual(await listing(source), []);
    });

    test('removes nothing when the connection drops before QUIT', async () => {
      await using fixture = await start();
      const source = await fixture.fresh();
      const session = await source.open(never);
      const entries = await session.list(never);
      assert.deepEqual(await session.delete(entries, never), new Map());
      session.destroy();
      assert.equal(await session.quit(), false);
      assert.deepEqual(uidls(await listing(source)), uidls(entries));
    });

    test('names what the server does not delete, and deletes the rest', async () => {
      await using fixture = await start();
      const source = await fixture.fresh();
      const session = await source.open(never);
      const entries = await session.list(never);
      const [first, second, ...others] = entries;
      assert.ok(first !== undefined && second !== undefined);
      const missing = entry(99_999);
      const refused = await session.delete([first, missing, second], never);
      assert.deepEqual([...refused.keys()], [missing.number]);
      const { code, scope, side, detail } = refused.get(missing.number) ?? assert.fail();
      assert.deepEqual([code, scope, side], ['server_refused', 'message', 'source']);
      assert.notEqual(detail, '');
      assert.equal(await session.quit(), true);
      assert.deepEqual(uidls(await listing(source)), uidls(others));
    });

    test('asks for no header and deletes nothing where the abort came first', async () => {
      await using fixture = await start();
      const reason = new Error('stop');
      const source = await fixture.fresh();
      const session = await source.open(never);
      const entries = await session.list(never);
      const aborted = AbortSignal.abort(reason);
      await assert.rejects(collect(session.headers(entries, plenty(), aborted)), reason);
      await assert.rejects(session.delete(entries, aborted), reason);
      assert.equal(await session.quit(), true);
      assert.deepEqual(uidls(await listing(source)), uidls(entries));
    });

    test('deletes nothing, neither by QUIT nor by dropping the connection', async () => {
      await using fixture = await start();
      const source = fixture.source('full');
      const session = await source.open(never);
      await takeAll(session.retrieve(await session.list(never), plenty(), never));
      session.destroy();
      assert.equal((await listing(source)).length, fixture.messages.length);
      assert.equal((await listing(source)).length, fixture.messages.length);
    });

    test('refuses a wrong password with the words of the server and without the password', async () => {
      await using fixture = await start();
      const wrong = 'not-the-password';
      await assert.rejects(fixture.source('full', wrong).open(never), (error) => {
        assert.ok(isBridgeError('authentication_failed')(error));
        assert.equal(error.side, 'source');
        assert.notEqual(error.detail, '');
        assert.ok(!JSON.stringify([error.message, error.stack, error.report()]).includes(wrong));
        return true;
      });
    });

    test('stops with the reason of the abort, at the door and in the middle', async () => {
      await using fixture = await start();
      const reason = new Error('stop');
      const source = await fixture.fresh();
      await assert.rejects(source.open(AbortSignal.abort(reason)), reason);
      const session = await source.open(never);
      const entries = await session.list(never);
      await assert.rejects(session.list(AbortSignal.abort(reason)), reason);
      const abort = new AbortController();
      const budget = plenty();
      const taking = async () => {
        for await (const next of session.retrieve(cycle(entries, 5_000), budget, abort.signal)) {
          if (next.kind === 'message') next.release();
          abort.abort(reason);
        }
      };
      await assert.rejects(taking, reason);
      assert.equal(budget.used, 0);
    });

    test('can be left twice and after its end', async () => {
      await using fixture = await start();
      const session = await fixture.source('full').open(never);
      assert.deepEqual(await Promise.all([session.quit(), session.quit()]), [true, true]);
      session.destroy();
      session.destroy();
      assert.equal(await session.quit(), true);
      await assert.rejects(session.list(never), isBridgeError('connection_lost'));
    });
  });
}

function uidls(entries: readonly SourceEntry[]): string[] {
  return entries.map(({ uidl }) => uidl);
}

async function listing(source: MailSource): Promise<SourceEntry[]> {
  const session = await source.open(never);
  const entries = await session.list(never);
  await session.quit();
  return entries;
}

function* cycle(entries: readonly SourceEntry[], count: number): Iterable<SourceEntry> {
  for (let n = 0; n < count; n++) {
    const next = entries[n % entries.length];
    if (next !== undefined) yield next;
  }
}
