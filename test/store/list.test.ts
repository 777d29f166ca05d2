import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { BridgeError } from '../../src/domain/errors.ts';
import type { ListQuery } from '../../src/domain/migrations.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { claimed, created, credentials, draft, ending, openStore, type TestStore } from './support.ts';

describe('the list of migrations', () => {
  let server: RedisServer;
  let store: TestStore;
  const labels: string[] = [];
  before(async () => {
    server = await startRedis();
    store = openStore(server.url);
    for (let n = 0; n < 25; n++) {
      const label = `m${String(n).padStart(2, '0')}`;
      labels.push(label);
      await created(store, label);
    }
  });
  after(async () => {
    await store?.[Symbol.asyncDispose]();
    await server?.stop();
  });
  const list = (query: Partial<ListQuery> = {}, tenant = 'default') =>
    store.migrations.list(tenant, { sort: 'createdAt', limit: 50, ...query });
  const names = async (query: Partial<ListQuery>) => (await list(query)).items.map(({ label }) => label);

  it('is sorted, and paged without gaps or repeats, in every order', async () => {
    for (const sort of ['createdAt', '-createdAt', 'label', 'state'] as const) {
      const whole = await names({ sort });
      assert.deepEqual(whole.toSorted(), labels);
      const paged: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await list({ sort, limit: 7, ...(cursor === undefined ? {} : { cursor }) });
        assert.equal(page.total, 25);
        assert.ok(page.items.length === 7 || page.nextCursor === null);
        paged.push(...page.items.map(({ label }) => label));
        cursor = page.nextCursor ?? undefined;
      } while (cursor !== undefined);
      assert.deepEqual(paged, whole);
    }
    assert.deepEqual(await names({ sort: 'label' }), labels);
    assert.deepEqual(await names({ sort: 'createdAt' }), labels);
    assert.deepEqual(await names({ sort: '-createdAt' }), labels.toReversed());
  });

  it('goes on behind a cursor when new ones come in front of it', async () => {
    const tenant = 'moving';
    for (const label of ['a', 'b', 'c']) await created(store, label, tenant);
    const first = await list({ sort: '-createdAt', limit: 2 }, tenant);
    await created(store, 'd', tenant);
    const second = await list({ sort: '-createdAt', limit: 2, cursor: first.nextCursor ?? '' }, tenant);
    assert.deepEqual(
      [...first.items, ...second.items].map(({ label }) => label),
      ['c', 'b', 'a'],
    );
  });

  it('refuses a cursor that it did not give out, or gave out for another order', async () => {
    const { nextCursor } = await list({ sort: 'label', limit: 1 });
    assert.ok(nextCursor !== null);
    for (const cursor of ['', 'x', 'bnVsbA', Buffer.from('{}').toString('base64url')])
      await assert.rejects(list({ sort: 'label', cursor }), RangeError);
    await assert.rejects(list({ sort: 'state', cursor: nextCursor }), RangeError);
  });

  it('is filtered by state, prefix, host, error and time', async () => {
    const tenant = 'filtered';
    const search = async (query: Partial<ListQuery>) =>
      (await list({ sort: 'label', ...query }, tenant)).items.map(({ label }) => label);
    const anna = await created(store, 'Anna', tenant);
    const bert = await created(store, 'bert', tenant);
    const { source } = draft('x');
    const elsewhere = draft('carl', { source: { ...source, username: 'annabel', host: 'POP.Other.test' } });
    await store.migrations.create(tenant, elsewhere, credentials());
    await store.migrations.act(tenant, anna.migration.id, 'pause');
    const error = new BridgeError('authentication_failed', { side: 'source' }).report();
    await (await claimed(store, bert.job)).journal.end(ending('failed', { error }));

    assert.deepEqual(await search({ state: ['paused'] }), ['Anna']);
    assert.deepEqual(await search({ state: ['paused', 'failed'] }), ['Anna', 'bert']);
    assert.deepEqual(await search({ q: 'ANN' }), ['Anna', 'carl']);
    assert.deepEqual(await search({ q: 'nna' }), []);
    assert.deepEqual(await search({ host: 'pop.other.TEST' }), ['carl']);
    assert.deepEqual(await search({ host: 'imap.example.com', q: 'b' }), ['bert']);
    assert.deepEqual(await search({ errorCode: 'authentication_failed' }), ['bert']);
    assert.deepEqual(await search({ batchId: 'bat_1' }), []);
    const bertCreated = new Date(bert.migration.createdAt);
    assert.ok(!(await search({ createdBefore: bertCreated })).includes('bert'));
    assert.ok((await search({ createdAfter: bertCreated })).includes('bert'));
    assert.deepEqual(await search({ createdAfter: new Date(Date.now() + 60_000) }), []);
    assert.equal((await list({ state: ['paused'], limit: 1 }, tenant)).total, 1);
    await store.migrations.patch(tenant, anna.migration.id, { label: 'Zoe' });
    assert.deepEqual(await search({ q: 'zoe' }), ['Zoe']);
  });

  it('shows nothing of another tenant', async () => {
    assert.deepEqual(await list({}, 'nobody'), { items: [], nextCursor: null, total: 0 });
  });
});
