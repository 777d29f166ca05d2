import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BridgeError } from '../../src/domain/errors.ts';
import { createLogger } from '../../src/log.ts';
import { CALLERS, memoryBackend, startApi, wanted } from '../support/http-api.ts';
import { MemoryKeys } from '../support/http-memory.ts';
import { openEvents } from '../support/sse.ts';

const CANARY = 'canary-c0ffee';
const KEY = `pbk_${CANARY}`;

test('gives no password, token or API key away, in any answer or log line', async () => {
  const backend = memoryBackend();
  const keys = new MemoryKeys({
    ...CALLERS,
    [KEY]: { keyId: 'key_c', tenant: 'default', scopes: ['admin'] },
  });
  await using api = await startApi({ backend, services: { keys } });
  const said: string[] = [];
  const call = async (method: string, path: string, body?: unknown, raw?: string) => {
    const answer = await api.call(method, path, body, {
      key: KEY,
      headers: { 'idempotency-key': String(said.length), cookie: `session=${CANARY}` },
      ...(raw !== undefined && { raw }),
    });
    said.push(answer.text, JSON.stringify([...answer.headers]));
    return answer;
  };
  const secret = { auth: { type: 'password', password: CANARY } };
  const body = wanted({ source: secret, destination: secret });
  const { id } = (await call('POST', '/v1/migrations', body)).json();
  // A store that kept more than it should would not get it out.
  const entry = backend.store.entries.get(id);
  assert.ok(entry);
  Object.assign(entry.migration.source.auth, { password: CANARY });
  Object.assign(entry.migration, { credentials: entry.credentials, tenant: CANARY });
  for (const path of ['', '/runs', '/messages', '/report']) await call('GET', `/v1/migrations/${id}${path}`);
  await call('GET', '/v1/migrations');
  await call('POST', '/v1/migrations', body);
  for (const spoilt of [
    { source: { auth: { type: CANARY, password: CANARY } } },
    { source: { auth: { type: 'password', password: [CANARY] } } },
    { source: { auth: CANARY } },
    { source: { auth: { type: 'password', password: `${CANARY}\r\n` } } },
    { source: { auth: { type: 'oauth2AccessToken', password: undefined, accessToken: CANARY } } },
  ]) {
    await call('POST', '/v1/migrations', wanted(spoilt));
  }
  await call('POST', '/v1/migrations', undefined, `{"password":"${CANARY}`);
  await call('POST', '/v1/migrations', undefined, `"${CANARY}"`);
  await call('PUT', `/v1/migrations/${id}/credentials`, { source: secret });
  await call('PATCH', `/v1/migrations/${id}`, { label: 'x' });
  for (const action of ['pause', 'resume', 'cancel', 'retry'])
    await call('POST', `/v1/migrations/${id}/${action}`);
  backend.store.away = true;
  await call('POST', '/v1/migrations', wanted({ source: secret }));
  backend.store.away = false;
  await call('DELETE', `/v1/migrations/${id}`);

  assert.ok(said.length > 40 && api.log.length > 40, 'there was something to look at');
  assert.deepEqual(
    [...said, ...api.log].filter((text) => text.includes(CANARY)),
    [],
  );
  const kept = JSON.stringify([...backend.idempotency.kept]);
  assert.ok(kept.length > 100 && !kept.includes(CANARY));
});

test('gives no secret away when an event stream is refused', async () => {
  await using api = await startApi();
  const stream = await openEvents(`${api.url}/v1/events`, { authorization: `Bearer ${KEY}` });
  assert.equal(stream.status, 401);
  assert.deepEqual(
    api.log.filter((line) => line.includes(CANARY)),
    [],
  );
});

test('redacts what a careless line would log', () => {
  const lines: string[] = [];
  const log = createLogger('info', { write: (line) => void lines.push(line) });
  const err = new BridgeError('authentication_failed', { side: 'source', detail: 'said no' });
  log.info({ password: CANARY, auth: { password: CANARY }, source: { auth: { password: CANARY } } });
  log.info({
    req: { headers: { authorization: CANARY, cookie: CANARY } },
    res: { headers: { 'set-cookie': CANARY } },
  });
  log.info({ body: { accessToken: CANARY, refreshToken: CANARY, clientSecret: CANARY }, err });
  assert.equal(lines.length, 3);
  assert.doesNotMatch(lines.join(''), new RegExp(CANARY));
  assert.match(lines[2] ?? '', /authentication_failed/);
});
