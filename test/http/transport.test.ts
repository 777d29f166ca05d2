import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { BridgeError } from '../../src/domain/errors.ts';
import { type Api, KEYS, memoryBackend, startApi, wanted } from '../support/http-api.ts';
import { MemoryStore } from '../support/http-memory.ts';

describe('transport', () => {
  let api: Api;
  before(async () => {
    api = await startApi();
  });
  after(() => api[Symbol.asyncDispose]());

  test('says in every problem what it is, where, and under which request id', async () => {
    const answer = await api.call('GET', '/v1/migrations/mig_x?a=1', undefined, {});
    const { type, title, status, code, detail, instance, requestId } = answer.problem();
    assert.equal(type, `urn:popbridge:problem:${code}`);
    assert.equal(status, answer.status);
    assert.ok(title.length > 0 && detail.length > 0);
    assert.equal(instance, '/v1/migrations/mig_x');
    assert.equal(requestId, answer.headers.get('x-request-id'));
  });

  test('uses the request id that the caller gives, where it is a sane one, in answer and log', async () => {
    const id = 'trace-77:a.b_c';
    const sane = await api.call('GET', '/health/live', undefined, { headers: { 'x-request-id': id } });
    assert.equal(sane.headers.get('x-request-id'), id);
    await api.call('GET', '/v1/migrations', undefined, { headers: { 'x-request-id': id } });
    assert.ok(api.log.some((line) => JSON.parse(line).requestId === id));
    for (const bad of ['a b', 'x'.repeat(129), '{"a":1}']) {
      const answer = await api.call('GET', '/health/live', undefined, { headers: { 'x-request-id': bad } });
      assert.match(answer.headers.get('x-request-id') ?? '', /^[0-9a-f-]{36}$/);
    }
  });

  test('puts a request id into every line that it logs about a request', async () => {
    const from = api.log.length;
    await api.call('GET', '/v1/migrations');
    await api.call('POST', '/v1/migrations', { a: 1 });
    await api.call('GET', '/nowhere');
    const about = api.log.slice(from).map((line) => JSON.parse(line));
    assert.ok(about.length >= 6);
    assert.deepEqual(
      about.filter((line) => typeof line.requestId !== 'string'),
      [],
    );
  });

  const NOWHERE = [
    ['GET', '/nowhere'],
    ['GET', '/v1/nowhere'],
    ['GET', '/v1/migrations/'],
    ['POST', '/v1/migrations/actions'],
    ['POST', '/v1/migrations/mig_1/run'],
    ['POST', '/v1/migrations/mig_1/finish'],
    ['POST', '/v1/preflights'],
    ['POST', '/v1/batches'],
    ['GET', '/v1/stats'],
    ['GET', '/v1/providers'],
    ['GET', '/v1/keys'],
    ['GET', '/v1/session'],
    ['POST', '/v1/webhooks'],
    ['GET', '/metrics'],
  ] as const;
  for (const [method, path] of NOWHERE) {
    test(`answers 404 to ${method} ${path}`, async () => {
      assert.equal((await api.call(method, path)).problem().code, 'not_found');
    });
  }

  test('answers 405 to a method that a path does not take, saying which it takes', async () => {
    for (const [method, path, allow] of [
      ['PUT', '/v1/migrations', 'GET, HEAD, POST'],
      ['POST', '/v1/migrations/mig_1', 'DELETE, GET, HEAD, PATCH'],
      ['GET', '/v1/migrations/mig_1/pause', 'POST'],
      ['DELETE', '/health/live', 'GET, HEAD'],
    ] as const) {
      const answer = await api.call(method, path);
      assert.equal(answer.problem().code, 'method_not_allowed');
      assert.equal(answer.headers.get('allow'), allow);
    }
  });

  const BROKEN: [name: string, raw: string][] = [
    ['text that is no JSON', 'host=pop.example.net'],
    ['JSON that ends too early', '{"source":{"password":"canary'],
    ['JSON with something behind it', '{}}'],
    ['a prototype', '{"__proto__":{"a":1}}'],
    ['half of a surrogate pair', '{"label":"\\ud83d"}'],
  ];
  for (const [name, raw] of BROKEN) {
    test(`answers 400 to ${name}, quoting nothing`, async () => {
      const answer = await api.call('POST', '/v1/migrations', undefined, { raw });
      assert.equal(answer.status, 400);
      const { code, errors } = answer.problem();
      assert.equal(code, 'invalid_request');
      assert.deepEqual(
        errors?.map((error) => [error.pointer, error.code]),
        [['', 'invalid_json']],
      );
      assert.doesNotMatch(answer.text + api.log.join(''), /canary/);
    });
  }

  test('answers 400 to a body that is not UTF-8', async () => {
    const raw = Buffer.from(JSON.stringify(wanted({ label: 'é' })), 'latin1');
    const response = await fetch(`${api.url}/v1/migrations`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEYS.admin}`, 'content-type': 'application/json' },
      body: raw,
    });
    assert.equal(response.status, 400);
  });

  test('answers 415 to other types, 413 to more than 1 MiB, 400 to a broken path', async () => {
    const post = (raw: string, type: string) =>
      api.call('POST', '/v1/migrations', undefined, { raw, headers: { 'content-type': type } });
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/xml']) {
      assert.equal((await post('a=b', type)).problem().code, 'unsupported_media_type');
    }
    assert.equal(
      (await post(`{"a":"${'x'.repeat(1_100_000)}"}`, 'application/json')).problem().code,
      'payload_too_large',
    );
    const broken = await api.call('GET', '/v1/migrations/%zz');
    assert.equal(broken.problem().code, 'invalid_request');
    assert.equal(broken.headers.get('x-request-id'), broken.problem().requestId);
  });

  test('needs no body where a call takes none, whatever the type says', async () => {
    const { id } = await api.create();
    const headers = { 'content-type': 'application/json' };
    assert.equal((await api.call('POST', `/v1/migrations/${id}/pause`, undefined, { headers })).status, 202);
    assert.equal((await api.call('POST', `/v1/migrations/${id}/resume`, {})).status, 202);
    assert.equal((await api.call('DELETE', `/v1/migrations/${id}`, undefined, { headers })).status, 204);
  });

  test('answers what is no HTTP with a problem, too', async () => {
    const socket = connect(Number(new URL(api.url).port), '127.0.0.1');
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.write('EHLO pop.example.net\r\n\r\n');
    await once(socket, 'close');
    const [head, body] = Buffer.concat(chunks).toString().split('\r\n\r\n');
    assert.match(
      head ?? '',
      /^HTTP\/1\.1 400 [\s\S]*Content-Type: application\/problem\+json[\s\S]*X-Request-Id: /,
    );
    assert.equal(JSON.parse(body ?? '').code, 'invalid_request');
  });

  test('answers 503 with Retry-After while Redis is away, and is not ready', async () => {
    const backend = memoryBackend();
    await using away = await startApi({ backend });
    assert.deepEqual((await away.call('GET', '/health/ready')).json(), { status: 'ok' });
    backend.store.away = true;
    for (const [method, path, body] of [
      ['GET', '/v1/migrations'],
      ['POST', '/v1/migrations', wanted()],
      ['GET', '/health/ready'],
    ] as const) {
      const answer = await away.call(method, path, body);
      assert.equal(answer.status, 503);
      assert.equal(answer.problem().code, 'store_unavailable');
      assert.match(answer.headers.get('retry-after') ?? '', /^\d+$/);
    }
    assert.deepEqual((await away.call('GET', '/health/live')).json(), { status: 'ok' });
  });

  test('is not ready when asking Redis fails or takes too long', async () => {
    for (const ready of [() => Promise.reject(new Error('no')), () => new Promise<boolean>(() => {})]) {
      await using away = await startApi({ services: { ready } });
      assert.equal((await away.call('GET', '/health/ready')).status, 503);
    }
  });

  test('answers 500 to a fault of ours without telling it, and logs it', async () => {
    for (const thrown of [
      new Error('canary in the works'),
      new BridgeError('internal_error', { side: 'service', detail: 'canary in the works' }),
      Object.assign(new Error('canary in the works'), { statusCode: 404 }),
    ]) {
      const backend = memoryBackend();
      const store = Object.assign(Object.create(MemoryStore.prototype), {
        get: () => Promise.reject(thrown),
      });
      await using broken = await startApi({ backend, services: { store } });
      const answer = await broken.call('GET', '/v1/migrations/mig_1');
      assert.equal(answer.status, 500);
      assert.equal(answer.problem().code, 'internal_error');
      assert.doesNotMatch(answer.text, /canary|Error/);
      const line = broken.log.find((entry) => entry.includes('canary in the works'));
      assert.equal(JSON.parse(line ?? '{}').requestId, answer.headers.get('x-request-id'));
    }
  });

  test('answers HEAD as GET, without the body', async () => {
    const answer = await api.call('HEAD', '/v1/migrations');
    assert.equal(answer.status, 200);
    assert.equal(answer.text, '');
  });

  test('keeps what is private out of caches', async () => {
    const answer = await api.call('GET', '/v1/migrations');
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
  });

  test('finishes an answer under way when it closes, and takes no new connection', async () => {
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    let entered = () => {};
    const inside = new Promise<void>((resolve) => {
      entered = resolve;
    });
    const backend = memoryBackend();
    const store = Object.assign(Object.create(backend.store), {
      get: async () => {
        entered();
        await gate;
        return null;
      },
    });
    const closing = await startApi({ backend, services: { store } });
    const asked = closing.call('GET', '/v1/migrations/mig_1');
    await inside;
    const closed = closing[Symbol.asyncDispose]();
    await assert.rejects(closing.call('GET', '/health/live'));
    open();
    assert.equal((await asked).status, 404);
    await closed;
  });

  test('answers 202 to an erasure that waits for a worker to let go', async () => {
    const backend = memoryBackend();
    await using running = await startApi({ backend });
    const { id } = await running.create();
    backend.store.work(id, { state: 'running' });
    const answer = await running.call('DELETE', `/v1/migrations/${id}`);
    assert.equal(answer.status, 202);
    assert.equal(answer.text, '');
  });

  test('breaks a report off when its migration is erased meanwhile, rather than end it as if it were whole', async () => {
    const backend = memoryBackend();
    const pages = [{ items: [], nextCursor: 'at-1', total: 2 }, null];
    const store = Object.assign(Object.create(MemoryStore.prototype), {
      get: backend.store.get.bind(backend.store),
      runs: backend.store.runs.bind(backend.store),
      messages: async () => pages.shift(),
    });
    await using api = await startApi({ backend, services: { store } });
    const { id } = await api.create();
    await assert.rejects(api.call('GET', `/v1/migrations/${id}/report`));
  });
});
