import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { IdempotencyStore } from '../../src/domain/migrations.ts';
import { type Api, KEYS, memoryBackend, startApi, wanted } from '../support/http-api.ts';
import { BACKENDS } from '../support/http-backends.ts';

for (const [name, backend] of BACKENDS) {
  describe(`Idempotency-Key over ${name}`, () => {
    let api: Api;
    before(async () => {
      api = await startApi({ backend: await backend() });
    });
    after(() => api[Symbol.asyncDispose]());

    const create = (body: unknown, idempotencyKey: string, key: string = KEYS.admin) =>
      api.call('POST', '/v1/migrations', body, { key, headers: { 'idempotency-key': idempotencyKey } });

    test('gives the same body the same answer, Location included, and makes nothing twice', async () => {
      const body = wanted();
      const first = await create(body, 'one');
      const again = await create(body, 'one');
      assert.equal(first.status, 202);
      assert.equal(again.status, 202);
      assert.equal(again.text, first.text);
      assert.equal(again.headers.get('location'), first.headers.get('location'));
      assert.equal(again.headers.get('content-type'), first.headers.get('content-type'));
      const { source } = body;
      const { total } = (await api.call('GET', `/v1/migrations?q=${source?.username}`)).json<{
        total: number;
      }>();
      assert.equal(total, 1);
    });

    test('takes the same members in another order for the same body', async () => {
      const body = wanted();
      const first = await create(body, 'order');
      const turned = Object.fromEntries(Object.entries(body).reverse());
      assert.equal((await create(turned, 'order')).text, first.text);
    });

    test('answers the first answer even when the migration has changed since', async () => {
      const body = wanted();
      const first = await create(body, 'later');
      await api.call('POST', `/v1/migrations/${first.json().id}/pause`);
      assert.equal((await create(body, 'later')).json().state, 'queued');
    });

    test('refuses another body, also one that differs in the password alone', async () => {
      const body = wanted();
      await create(body, 'two');
      const answer = await create({ ...body, label: 'other' }, 'two');
      assert.equal(answer.status, 422);
      assert.equal(answer.problem().code, 'idempotency_mismatch');
      const source = { ...body.source, auth: { type: 'password', password: 'another' } };
      assert.equal((await create({ ...body, source }, 'two')).problem().code, 'idempotency_mismatch');
    });

    test('refuses the same key on another call', async () => {
      const { id } = (await create(wanted(), 'three')).json();
      const answer = await api.call('POST', `/v1/migrations/${id}/pause`, undefined, {
        headers: { 'idempotency-key': 'three' },
      });
      assert.equal(answer.problem().code, 'idempotency_mismatch');
    });

    test('makes an action safe to repeat', async () => {
      const { id } = await api.create();
      const pause = () =>
        api.call('POST', `/v1/migrations/${id}/pause`, undefined, { headers: { 'idempotency-key': 'p' } });
      assert.equal((await pause()).status, 202);
      assert.equal((await pause()).status, 202);
      assert.equal((await api.call('POST', `/v1/migrations/${id}/pause`)).status, 409);
    });

    test('keeps no refusal: what was put right is served', async () => {
      const body = wanted();
      const { id } = (await create(body, 'first')).json();
      assert.equal((await create(body, 'retried')).status, 409);
      await api.call('POST', `/v1/migrations/${id}/cancel`);
      assert.equal((await create(body, 'retried')).status, 202);
      const plain = wanted({ source: { security: 'none' } });
      assert.equal((await create(plain, 'impossible')).status, 422);
      assert.equal((await create(wanted(), 'impossible')).status, 202);
    });

    test('keeps the keys of two API keys and of two tenants apart', async () => {
      const body = wanted();
      assert.equal((await create(body, 'mine', KEYS.admin)).status, 202);
      assert.equal((await create(wanted(), 'mine', KEYS.write)).status, 202);
      assert.equal((await create(body, 'mine', KEYS.other)).status, 202);
    });

    for (const bad of ['', 'x'.repeat(256), 'a b']) {
      test(`refuses ${JSON.stringify(bad.slice(0, 5))} as a key`, async () => {
        const answer = await create(wanted(), bad);
        assert.equal(answer.status, 400);
        assert.equal(answer.problem().errors?.[0]?.pointer, '/headers/idempotency-key');
      });
    }

    test('says that the first one is still under way', async () => {
      let open = () => {};
      const gate = new Promise<void>((resolve) => {
        open = resolve;
      });
      const inner = await backend();
      const { store } = inner.services;
      const migrations = Object.create(inner.services.migrations, {
        create: {
          value: async (...args: Parameters<typeof store.create>) => {
            await gate;
            return inner.services.migrations.create(...args);
          },
        },
      });
      await using slow = await startApi({ backend: inner, services: { migrations } });
      const headers = { 'idempotency-key': 'slow' };
      const body = wanted();
      const first = slow.call('POST', '/v1/migrations', body, { headers });
      const second = await firstConflict(() => slow.call('POST', '/v1/migrations', body, { headers }));
      assert.equal(second.problem().code, 'idempotency_in_progress');
      assert.match(second.headers.get('retry-after') ?? '', /^\d+$/);
      open();
      assert.equal((await first).status, 202);
      assert.equal((await slow.call('POST', '/v1/migrations', body, { headers })).text, (await first).text);
    });
  });
}

/** Two requests race for the first place; the one that lost is answered, the other waits at the gate. */
async function firstConflict<T>(ask: () => Promise<T>): Promise<T> {
  return Promise.race([ask(), ask()]);
}

test('never hands a digest to the store that a password could be guessed from', async () => {
  const digests: string[] = [];
  const backend = memoryBackend();
  const recording: IdempotencyStore = {
    begin: (tenant, key, digest) => {
      digests.push(digest);
      return backend.idempotency.begin(tenant, key, digest);
    },
    keep: (...args) => backend.idempotency.keep(...args),
    forget: (...args) => backend.idempotency.forget(...args),
  };
  await using api = await startApi({ backend, services: { idempotency: recording } });
  const body = wanted();
  for (const key of [KEYS.admin, KEYS.write]) {
    await api.call('POST', '/v1/migrations', body, { key, headers: { 'idempotency-key': 'k' } });
  }
  assert.equal(digests.length, 2);
  assert.notEqual(digests[0], digests[1], 'the digest depends on nothing but the body');
});

test('withholds no success because its answer could not be kept', async () => {
  const backend = memoryBackend();
  const failing: IdempotencyStore = {
    begin: (...args) => backend.idempotency.begin(...args),
    keep: () => Promise.reject(new Error('no')),
    forget: (...args) => backend.idempotency.forget(...args),
  };
  await using api = await startApi({ backend, services: { idempotency: failing } });
  const answer = await api.call('POST', '/v1/migrations', wanted(), { headers: { 'idempotency-key': 'k' } });
  assert.equal(answer.status, 202);
});
