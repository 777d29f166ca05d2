import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { parse } from 'yaml';
import { openapiDocument } from '../../src/http/openapi.ts';
import { type Api, startApi } from '../support/http-api.ts';

interface Operation {
  operationId?: string;
  security?: unknown[];
  responses: Record<string, { content?: Record<string, { schema: { $ref?: string } }> }>;
}
interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object>; securitySchemes: object };
}

describe('the description of the API', () => {
  let api: Api;
  let text: string;
  let document: Document;
  before(async () => {
    api = await startApi();
    text = await openapiDocument();
    document = parse(text);
  });
  after(() => api[Symbol.asyncDispose]());

  const operations = () =>
    Object.entries(document.paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, operation]) => ({ name: `${method} ${path}`, path, operation })),
    );

  test('openapi.yaml is what the routes say (`npm run openapi` writes it)', async () => {
    const checkedIn = await readFile(new URL('../../openapi.yaml', import.meta.url), 'utf8');
    assert.equal(checkedIn, text);
  });

  test('the service hands out the same document', async () => {
    const answer = await api.call('GET', '/openapi.yaml', undefined, { key: null });
    assert.match(answer.headers.get('content-type') ?? '', /^application\/yaml/);
    assert.equal(answer.text, text);
  });

  test('is valid OpenAPI 3.1', async () => {
    const result = await new Validator().validate(text);
    assert.deepEqual(result, { valid: true });
    assert.match(document.openapi, /^3\.1\./);
  });

  test('names every operation and says how it fails', () => {
    const ids = operations().map(({ operation }) => operation.operationId);
    assert.equal(new Set(ids).size, ids.length);
    for (const { name, path, operation } of operations()) {
      assert.match(operation.operationId ?? '', /^[a-z][A-Za-z]+$/, name);
      if (!path.startsWith('/v1/')) continue;
      assert.deepEqual(operation.security, [{ key: [] }], name);
      for (const status of ['400', '401', '403', '500', '503']) {
        const schema = operation.responses[status]?.content?.['application/problem+json']?.schema;
        assert.equal(schema?.$ref, '#/components/schemas/Problem', `${name} ${status}`);
      }
    }
  });

  test('describes exactly the calls that are served', () => {
    assert.deepEqual(
      operations()
        .map(({ name }) => name)
        .sort(),
      [
        'delete /v1/migrations/{id}',
        'get /health/live',
        'get /health/ready',
        'get /v1/events',
        'get /v1/migrations',
        'get /v1/migrations/{id}',
        'get /v1/migrations/{id}/events',
        'get /v1/migrations/{id}/messages',
        'get /v1/migrations/{id}/report',
        'get /v1/migrations/{id}/runs',
        'patch /v1/migrations/{id}',
        'post /v1/migrations',
        'post /v1/migrations/{id}/cancel',
        'post /v1/migrations/{id}/pause',
        'post /v1/migrations/{id}/resume',
        'post /v1/migrations/{id}/retry',
        'put /v1/migrations/{id}/credentials',
      ],
    );
  });

  test('refers to nothing that is not there, and leaves no component unused', () => {
    const references = new Set(
      Array.from(text.matchAll(/#\/components\/schemas\/(\w+)/g), ([, name]) => name),
    );
    assert.deepEqual([...references].sort(), Object.keys(document.components.schemas).sort());
  });

  test('shows the reference as a page that asks no other origin for anything', async () => {
    const page = await api.call('GET', '/docs', undefined, { key: null });
    assert.match(page.headers.get('content-type') ?? '', /^text\/html/);
    const policy = page.headers.get('content-security-policy') ?? '';
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /https?:|\*|unsafe-eval/);
    const loaded = Array.from(page.text.matchAll(/(?:src|href)="([^"]+)"/g), ([, url]) => String(url));
    assert.ok(loaded.length >= 4);
    for (const url of loaded) {
      const { origin } = new URL(url, api.url);
      assert.equal(origin, api.url);
      const answer = await api.call('GET', new URL(url, `${api.url}/docs/`).pathname, undefined, {
        key: null,
      });
      assert.equal(answer.status, 200, url);
    }
    const initializer = await api.call('GET', '/docs/static/swagger-initializer.js', undefined, {
      key: null,
    });
    assert.match(initializer.text, /validatorUrl"?: ?null/);
    const described = await api.call('GET', '/docs/json', undefined, { key: null });
    assert.deepEqual(described.json(), document);
  });

  test('links the reference from the front page', async () => {
    const page = await api.call('GET', '/', undefined, { key: null });
    assert.match(page.text, /href="docs\/"/);
  });
});
