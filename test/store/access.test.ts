import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createSealer } from '../../src/store/index.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import {
  claimed,
  created,
  credentials,
  detail,
  ending,
  openStore,
  progress,
  record,
  SECRET,
  type TestStore,
} from './support.ts';

const ADMIN_KEY = 'the operator’s own first key';

describe('what guards the store', () => {
  let server: RedisServer;
  let store: TestStore;
  before(async () => {
    server = await startRedis();
    store = openStore(server.url, { adminKey: ADMIN_KEY });
  });
  after(async () => {
    await store?.[Symbol.asyncDispose]();
    await server?.stop();
  });

  it('knows the first key and those it made, each with tenant and scopes, and no other', async () => {
    const { keys } = store;
    assert.deepEqual(await keys.authenticate(ADMIN_KEY), {
      keyId: 'key_first',
      tenant: 'default',
      scopes: ['read', 'write', 'admin'],
    });
    const { key, keyId } = await keys.createKey('other', ['read']);
    assert.deepEqual(await keys.authenticate(key), { keyId, tenant: 'other', scopes: ['read'] });
    for (const wrong of [
      '',
      'x',
      `${ADMIN_KEY} `,
      `${key}x`,
      key.slice(0, -1),
      'pbk_',
      ADMIN_KEY.toUpperCase(),
    ])
      assert.equal(await keys.authenticate(wrong), null, wrong);
    await assert.rejects(keys.createKey('{other}', ['read']), RangeError);
  });

  it('answers the same POST under the same Idempotency-Key once', async () => {
    const { idempotency } = store;
    const answer = { status: 202, headers: { location: '/v1/migrations/x' }, body: '{"ä":1}' };
    assert.deepEqual(await idempotency.begin('default', 'k', 'digest'), { kind: 'fresh' });
    assert.deepEqual(await idempotency.begin('default', 'k', 'digest'), { kind: 'pending' });
    assert.deepEqual(await idempotency.begin('default', 'k', 'another'), { kind: 'mismatch' });
    assert.deepEqual(await idempotency.begin('other', 'k', 'another'), { kind: 'fresh' });
    await idempotency.keep('default', 'k', answer);
    assert.deepEqual(await idempotency.begin('default', 'k', 'digest'), { kind: 'replay', answer });
    assert.deepEqual(await idempotency.begin('default', 'k', 'another'), { kind: 'mismatch' });
    const [key = ''] = await store.redis.keys('popbridge:default:{idempotency:*');
    const left = await store.redis.pttl(key);
    assert.ok(left > 86_000_000 && left <= 86_400_000, String(left));
    await idempotency.forget('default', 'k');
    assert.deepEqual(await idempotency.begin('default', 'k', 'another'), { kind: 'fresh' });
  });

  it('lets exactly one of many equal POSTs at once through', async () => {
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => store.idempotency.begin('default', 'm', 'd')),
    );
    assert.equal(answers.filter(({ kind }) => kind === 'fresh').length, 1);
    assert.equal(answers.filter(({ kind }) => kind === 'pending').length, 9);
  });

  it('says that credentials are gone when they were sealed with a key it does not have', async () => {
    const { job } = await created(store, 'rotated');
    const other = createSealer(`k2:${Buffer.alloc(32, 9).toString('base64')}`);
    await using rotated = openStore(server.url, { sealer: other });
    const claim = await claimed(rotated, job);
    assert.equal(claim.credentials, null);
    assert.match(rotated.warnings.join(), /"k1"/);
    await claim.journal.end(ending('failed'));
  });

  it('leaves no secret in any value or key of Redis, whatever the migration has been through', async () => {
    const { key } = await store.keys.createKey('default', ['read']);
    const { migration, job } = await created(store, 'canary');
    await store.migrations.putCredentials('default', migration.id, credentials());
    const { journal } = await claimed(store, job);
    await journal.commit({
      append: [record()],
      recordsBefore: 0,
      progress: progress(1),
      details: [{ index: 0, detail: detail() }],
    });
    await store.migrations.act('default', migration.id, 'pause');
    await journal.end(ending('paused'));
    await store.migrations.act('default', migration.id, 'resume');
    const values = await dump(store);
    assert.ok(values.includes('canary'), 'the dump holds what is stored');
    for (const secret of [SECRET, ADMIN_KEY, key, key.slice(4)]) {
      assert.ok(!values.includes(secret));
      assert.ok(!values.includes(Buffer.from(secret).toString('base64').replace(/=+$/, '').slice(0, -1)));
    }
  });

  it('puts the tenant into every key of a migration, and its id as the only hash tag', async () => {
    const { migration, job } = await created(store, 'tagged', 'acme');
    const { journal } = await claimed(store, job);
    await journal.commit({ append: [record()], recordsBefore: 0, details: [{ index: 0, detail: detail() }] });
    const keys = (await store.redis.keys('*')).filter((name) => name.includes(migration.id));
    assert.ok(keys.length >= 5);
    for (const name of keys) assert.ok(name.startsWith(`popbridge:acme:{${migration.id}}:`), name);
    await journal.end(ending('completed'));
  });
});

/** All keys and values of a Redis, as one text. */
async function dump({ redis }: TestStore): Promise<string> {
  const parts: string[] = [];
  for (const key of await redis.keys('*')) {
    parts.push(key);
    const type = await redis.type(key);
    if (type === 'string') parts.push((await redis.getBuffer(key))?.toString('latin1') ?? '');
    else if (type === 'hash') parts.push(JSON.stringify(await redis.hgetall(key)));
    else if (type === 'set') parts.push(JSON.stringify(await redis.smembers(key)));
    else if (type === 'zset') parts.push(JSON.stringify(await redis.zrange(key, '0', '-1')));
    else if (type === 'stream') parts.push(JSON.stringify(await redis.xrange(key, '-', '+')));
    else throw new Error(`${key} is a ${type}`);
  }
  return parts.join('\n');
}
