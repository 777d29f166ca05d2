import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { type Api, KEYS, memoryBackend, startApi } from '../support/http-api.ts';
import { BACKENDS } from '../support/http-backends.ts';
import { MemoryFeed } from '../support/http-memory.ts';
import { until } from '../support/net.ts';
import { type EventStream, openEvents } from '../support/sse.ts';

const follow = (api: Api, path: string, headers: Record<string, string> = {}) =>
  openEvents(api.url + path, { ...api.bearer(KEYS.read), ...headers });
const shown = ({ events }: EventStream) =>
  events.map(({ event, data }) => {
    const { id, state } = JSON.parse(data);
    return `${event} ${id} ${state}`;
  });

for (const [name, backend] of BACKENDS) {
  describe(`events over ${name}`, () => {
    let api: Api;
    before(async () => {
      api = await startApi({ backend: await backend() });
    });
    after(() => api[Symbol.asyncDispose]());

    test('tells of every migration of the tenant as it changes, and of no other', async () => {
      const stream = await follow(api, '/v1/events');
      assert.equal(stream.headers.get('content-type'), 'text/event-stream');
      const other = await openEvents(`${api.url}/v1/events`, api.bearer(KEYS.other));
      const { id } = await api.create();
      await until(() => shown(stream).includes(`migration ${id} queued`), { what: 'the creation' });
      await api.call('POST', `/v1/migrations/${id}/pause`);
      await until(() => shown(stream).includes(`migration ${id} paused`), { what: 'the pause' });
      const { data } = stream.events.at(-1) ?? {};
      assert.deepEqual(Object.keys(JSON.parse(String(data))), ['id', 'state', 'stateReason', 'progress']);
      assert.deepEqual(other.events, []);
      stream.leave();
      other.leave();
    });

    test('tells of one migration only, its messages too', async () => {
      const one = await api.create();
      const two = await api.create();
      const stream = await follow(api, `/v1/migrations/${one.id}/events`);
      await api.call('POST', `/v1/migrations/${two.id}/pause`);
      const message = {
        uidl: 'u1',
        size: 10,
        outcome: 'failed' as const,
        altered: false,
        reason: { code: 'message_refused', detail: 'NO' },
        repair: null,
        folder: 'INBOX',
        uid: null,
        sha256: null,
        subject: 'Hi',
        from: null,
        date: null,
        messageId: null,
      };
      await api.backend.work(one.id, { state: 'completedWithFailures', messages: [message] });
      await until(() => shown(stream).includes(`migration ${one.id} completedWithFailures`), {
        what: 'the end',
      });
      const failed = stream.events.find(({ event }) => event === 'message');
      assert.equal(JSON.parse(String(failed?.data)).uidl, 'u1');
      assert.deepEqual(
        shown(stream).filter((line) => line.includes(two.id)),
        [],
      );
      stream.leave();
    });

    test('resumes behind Last-Event-ID: nothing is lost, nothing told twice', async () => {
      const stream = await follow(api, '/v1/events');
      const first = await api.create();
      await until(() => shown(stream).includes(`migration ${first.id} queued`), { what: 'the creation' });
      const last = String(stream.events.at(-1)?.id);
      stream.leave();
      const second = await api.create();
      const third = await api.create();
      const resumed = await follow(api, '/v1/events', { 'last-event-id': last });
      await until(() => resumed.events.length >= 2, { what: 'what was missed' });
      assert.deepEqual(shown(resumed), [`migration ${second.id} queued`, `migration ${third.id} queued`]);
      resumed.leave();
    });

    for (const last of ['made-up', '99999999999999-7']) {
      test(`says reset to a Last-Event-ID that it never gave out (${last})`, async () => {
        const stream = await follow(api, '/v1/events', { 'last-event-id': last });
        await until(() => stream.events.length > 0, { what: 'reset' });
        assert.equal(stream.events[0]?.event, 'reset');
        stream.leave();
      });
    }

    test('ends every stream when the server closes, at once', async () => {
      const closing = await startApi({ backend: await backend() });
      const streams = [await follow(closing, '/v1/events'), await follow(closing, '/v1/events')];
      const start = performance.now();
      await closing[Symbol.asyncDispose]();
      await Promise.all(streams.map((stream) => stream.ended));
      assert.ok(performance.now() - start < 3_000);
    });
  });
}

test('says reset when what was asked for is no longer kept', async () => {
  const feed = new MemoryFeed(3);
  await using api = await startApi({ backend: memoryBackend(feed) });
  const { id } = await api.create();
  for (let n = 0; n < 3; n++) {
    await api.call('POST', `/v1/migrations/${id}/pause`);
    await api.call('POST', `/v1/migrations/${id}/resume`);
  }
  const stream = await follow(api, `/v1/migrations/${id}/events`, { 'last-event-id': '1-0' });
  await until(() => stream.events.length > 0, { what: 'reset' });
  assert.equal(stream.events[0]?.event, 'reset');
  stream.leave();
});

test('sends a comment line now and then, and tells a browser when to come back', async () => {
  await using api = await startApi({ config: { heartbeatMs: 5 } });
  const stream = await follow(api, '/v1/events');
  await until(() => stream.comments >= 3, { what: 'three comment lines' });
  assert.deepEqual(stream.events, []);
  stream.leave();
});

test('lets go of the feed when the client goes', async () => {
  const feed = new MemoryFeed();
  await using api = await startApi({ backend: memoryBackend(feed) });
  const stream = await follow(api, '/v1/events');
  await until(() => feed.subscribers === 1, { what: 'the subscription' });
  stream.leave();
  await until(() => feed.subscribers === 0, { what: 'its end' });
});

test('does not pile up events for a client that reads nothing', async () => {
  const feed = new MemoryFeed(1_000_000);
  await using api = await startApi({
    backend: memoryBackend(feed),
    config: { heartbeatMs: 2, closeMs: 200 },
  });
  const socket = connect(Number(new URL(api.url).port), '127.0.0.1');
  await once(socket, 'connect');
  socket.write(`GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${KEYS.read}\r\n\r\n`);
  await once(socket, 'readable');
  const text = 'x'.repeat(100_000);
  for (let n = 0; n < 500; n++) feed.publish('default', 'message', 'mig_1', { text });
  let taken = -1;
  const stopped = () => {
    const before = taken;
    taken = feed.taken;
    return taken === before;
  };
  await until(stopped, { what: 'the stream to stop taking', everyMs: 100 });
  assert.ok(taken < 250, `${taken} of 500 events were taken from the feed`);
  socket.destroy();
});

test('closes in bounded time though a client reads nothing', async () => {
  const feed = new MemoryFeed(1_000_000);
  const api = await startApi({ backend: memoryBackend(feed), config: { closeMs: 100 } });
  const socket = connect(Number(new URL(api.url).port), '127.0.0.1');
  await once(socket, 'connect');
  socket.on('error', () => {});
  socket.write(`GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${KEYS.read}\r\n\r\n`);
  await once(socket, 'readable');
  const text = 'x'.repeat(1_000_000);
  for (let n = 0; n < 50; n++) feed.publish('default', 'message', 'mig_1', { text });
  const start = performance.now();
  await api[Symbol.asyncDispose]();
  assert.ok(performance.now() - start < 2_000);
  socket.destroy();
});
