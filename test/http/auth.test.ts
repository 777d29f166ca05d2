import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Migration } from '../../src/domain/migration.ts';
import { type Api, KEYS, startApi, wanted } from '../support/http-api.ts';

describe('who may call', () => {
  let api: Api;
  let made: Migration;
  before(async () => {
    api = await startApi();
    made = await api.create();
  });
  after(() => api[Symbol.asyncDispose]());

  const CALLS: [method: string, path: string, body?: unknown][] = [
    ['POST', '/v1/migrations', wanted()],
    ['GET', '/v1/migrations'],
    ['GET', '/v1/migrations/ID'],
    ['PATCH', '/v1/migrations/ID', {}],
    ['DELETE', '/v1/migrations/ID'],
    ['POST', '/v1/migrations/ID/pause'],
    ['POST', '/v1/migrations/ID/resume'],
    ['POST', '/v1/migrations/ID/cancel'],
    ['POST', '/v1/migrations/ID/retry'],
    ['PUT', '/v1/migrations/ID/credentials', {}],
    ['GET', '/v1/migrations/ID/messages'],
    ['GET', '/v1/migrations/ID/runs'],
    ['GET', '/v1/migrations/ID/report'],
    ['GET', '/v1/migrations/ID/events'],
    ['GET', '/v1/events'],
  ];

  for (const [method, path, body] of CALLS) {
    test(`${method} ${path} needs a key that may ${method === 'GET' ? 'read' : 'write'}`, async () => {
      const url = path.replace('ID', made.id);
      const none = await api.call(method, url, body, { key: null });
      assert.equal(none.status, 401);
      assert.equal(none.headers.get('www-authenticate'), 'Bearer');
      assert.equal(none.problem().code, 'unauthorized');
      const wrong = await api.call(method, url, body, { key: `${KEYS.admin}x` });
      assert.equal(wrong.status, 401);
      assert.match(wrong.headers.get('www-authenticate') ?? '', /^Bearer /);
      const other = await api.call(method, url, body, { key: method === 'GET' ? KEYS.write : KEYS.read });
      assert.equal(other.status, 403);
      assert.equal(other.problem().code, 'forbidden');
    });
  }

  for (const authorization of [
    'Bearer',
    'Bearer ',
    'Basic YTpi',
    KEYS.admin,
    `Bearer ${KEYS.admin} x`,
    'Bearer ü',
  ]) {
    test(`answers 401 to Authorization: ${authorization}`, async () => {
      const headers = { authorization: Buffer.from(authorization).toString('latin1') };
      const answer = await api.call('GET', '/v1/migrations', undefined, { key: null, headers });
      assert.equal(answer.problem().code, 'unauthorized');
    });
  }

  test('takes the scheme in any case, and a key with both scopes for both', async () => {
    const headers = { authorization: `bearer ${KEYS.both}` };
    assert.equal((await api.call('GET', '/v1/migrations', undefined, { key: null, headers })).status, 200);
    assert.equal((await api.call('POST', '/v1/migrations', wanted(), { key: null, headers })).status, 202);
  });

  test('checks the key before it looks at the body', async () => {
    const answer = await api.call('POST', '/v1/migrations', undefined, { key: null, raw: '{"broken' });
    assert.equal(answer.status, 401);
  });

  for (const path of ['/', '/docs', '/openapi.yaml', '/health/live', '/health/ready']) {
    test(`${path} needs no key`, async () => {
      assert.equal((await api.call('GET', path, undefined, { key: null })).status, 200);
    });
  }
});
