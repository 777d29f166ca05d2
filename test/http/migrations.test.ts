import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Migration } from '../../src/domain/migration.ts';
import type { Page } from '../../src/domain/migrations.ts';
import { type Api, KEYS, startApi, wanted } from '../support/http-api.ts';
import { BACKENDS } from '../support/http-backends.ts';
import { until } from '../support/net.ts';

for (const [name, backend] of BACKENDS) {
  describe(`/v1/migrations over ${name}`, () => {
    let api: Api;
    before(async () => {
      api = await startApi({ backend: await backend() });
    });
    after(() => api[Symbol.asyncDispose]());

    test('answers a creation with 202, Location and the whole migration, defaults filled in', async () => {
      const body = wanted({ label: undefined, options: undefined, source: { username: 'carla' } });
      const answer = await api.call('POST', '/v1/migrations', body);
      assert.equal(answer.status, 202);
      const { id, createdAt, ...rest } = answer.json();
      assert.match(id, /^mig_/);
      assert.equal(answer.headers.get('location'), `/v1/migrations/${id}`);
      assert.match(answer.headers.get('content-type') ?? '', /^application\/json/);
      assert.equal(new Date(createdAt).toISOString(), createdAt);
      assert.deepEqual(rest, {
        label: '',
        batchId: null,
        state: 'queued',
        stateReason: null,
        nextRunAt: null,
        startedAt: null,
        finishedAt: null,
        source: {
          host: 'pop.example.net',
          port: 995,
          security: 'tls',
          username: 'carla',
          auth: { type: 'password' },
        },
        destination: {
          host: 'imap.example.com',
          port: 993,
          security: 'tls',
          username: body.destination?.username,
          auth: { type: 'password' },
          folder: { path: ['INBOX'] },
        },
        options: {
          seen: { policy: 'none' },
          internalDate: 'received',
          deduplicate: 'destination',
          verify: 'size',
          repair: ['literal8', 'lineEndings'],
          filter: { since: null, before: null, maxBytes: null },
          sourceDeletion: { policy: 'keep' },
          manifest: false,
          schedule: null,
        },
        progress: {
          messages: {
            total: null,
            copied: null,
            alreadyPresent: null,
            skipped: null,
            failed: null,
            remaining: null,
            altered: null,
            repaired: null,
            deletedFromSource: null,
          },
          bytes: { total: null, settled: null },
          messagesPerSecond: null,
          bytesPerSecond: null,
          etaSeconds: null,
        },
        runs: 0,
        error: null,
      });
      assert.deepEqual((await api.call('GET', `/v1/migrations/${id}`)).json(), answer.json());
    });

    test('takes everything that is built', async () => {
      const options = {
        seen: { policy: 'olderThanDays', days: 30 },
        internalDate: 'date',
        deduplicate: 'journal',
        verify: 'digest',
        repair: [],
        filter: { since: null, before: null, maxBytes: null },
        sourceDeletion: { policy: 'keep' },
        manifest: true,
        schedule: null,
      };
      const tls = { serverName: 'mail.example.net', minVersion: 'TLSv1.3' };
      const made = await api.create({
        source: {
          host: '93.184.216.34',
          port: 1995,
          security: 'starttls',
          tls,
          auth: { authorizationId: 'alice' },
        },
        destination: { host: 'IMAP.example.com', folder: { path: ['Old/mail', 'déjà.vu'] } },
        options,
      });
      assert.deepEqual(made.options, options);
      assert.deepEqual(made.source.tls, tls);
      assert.equal(made.source.port, 1995);
      assert.deepEqual(made.source.auth, { type: 'password', authorizationId: 'alice' });
      assert.deepEqual(made.destination.folder, { path: ['Old/mail', 'déjà.vu'] });
    });

    test('fills in the defaults around options that are given in part', async () => {
      const { options } = await api.create({ options: { verify: 'digest', filter: { since: null } } });
      assert.equal(options.verify, 'digest');
      assert.equal(options.internalDate, 'received');
      assert.deepEqual(options.filter, { since: null, before: null, maxBytes: null });
      assert.deepEqual(options.repair, ['literal8', 'lineEndings']);
    });

    test('takes a folder by special use, and INBOX where none is named', async () => {
      const special = await api.create({
        destination: { folder: { path: undefined, specialUse: 'archive' } },
      });
      assert.deepEqual(special.destination.folder, { specialUse: 'archive' });
      const none = await api.create({ destination: { folder: undefined } });
      assert.deepEqual(none.destination.folder, { path: ['INBOX'] });
    });

    test('gives each protocol and security its port', async () => {
      const { source, destination } = await api.create({
        source: { security: 'starttls' },
        destination: { security: 'starttls' },
      });
      assert.deepEqual([source.port, destination.port], [110, 143]);
    });

    test('refuses a second active migration of the same accounts and folder, naming the first', async () => {
      const body = wanted();
      const first = (await api.call('POST', '/v1/migrations', body)).json();
      const second = await api.call('POST', '/v1/migrations', { ...body, label: 'again' });
      assert.equal(second.status, 409);
      const problem = second.problem();
      assert.equal(problem.code, 'duplicate_migration');
      assert.equal(problem.migrationId, first.id);
      await api.call('POST', `/v1/migrations/${first.id}/cancel`);
      assert.equal((await api.call('POST', '/v1/migrations', body)).status, 202);
    });

    test("answers 404 for another tenant's id, on every call", async () => {
      const { id } = await api.create();
      const path = `/v1/migrations/${id}`;
      const calls: [string, string, unknown?][] = [
        ['GET', path],
        ['PATCH', path, { label: 'mine' }],
        ['DELETE', path],
        ['POST', `${path}/pause`],
        ['POST', `${path}/resume`],
        ['POST', `${path}/cancel`],
        ['POST', `${path}/retry`],
        ['PUT', `${path}/credentials`, { source: { auth: { type: 'password', password: 'x' } } }],
        ['GET', `${path}/messages`],
        ['GET', `${path}/runs`],
        ['GET', `${path}/report`],
        ['GET', `${path}/events`],
      ];
      for (const [method, url, body] of calls) {
        const answer = await api.call(method, url, body, { key: KEYS.other });
        assert.equal(answer.status, 404, `${method} ${url}`);
        assert.equal(answer.problem().code, 'not_found');
      }
      assert.equal((await api.call('GET', path)).json().label.startsWith('user'), true);
      const { total } = (await api.call('GET', '/v1/migrations', undefined, { key: KEYS.other })).json<
        Page<Migration>
      >();
      assert.equal(total, 0);
    });

    for (const id of ['mig_no-such', 'x', 'mig_00000000000000000000000000000000', '%00', 'a'.repeat(90)]) {
      test(`answers 404 for the id ${id.slice(0, 20)}`, async () => {
        for (const path of [`/v1/migrations/${id}`, `/v1/migrations/${id}/runs`]) {
          assert.equal((await api.call('GET', path)).problem().code, 'not_found');
        }
      });
    }

    test('pauses, resumes, cancels and retries, and refuses what the state does not allow', async () => {
      const { id } = await api.create();
      const act = (action: string) => api.call('POST', `/v1/migrations/${id}/${action}`);
      const illegal = async (action: string, state: string) => {
        const answer = await act(action);
        assert.equal(answer.status, 409);
        const { code, state: told } = answer.problem();
        assert.deepEqual([code, told], ['illegal_transition', state]);
      };
      await illegal('resume', 'queued');
      const paused = await act('pause');
      assert.equal(paused.status, 202);
      assert.equal(paused.headers.get('location'), `/v1/migrations/${id}`);
      assert.equal(paused.json().state, 'paused');
      await illegal('pause', 'paused');
      assert.equal((await act('resume')).json().state, 'queued');
      assert.equal((await act('cancel')).json().state, 'canceled');
      await illegal('cancel', 'canceled');
    });

    test('asks for credentials before a retry when they are gone, and queues it then', async () => {
      const { id } = await api.create();
      await api.call('POST', `/v1/migrations/${id}/cancel`);
      const retry = () => api.call('POST', `/v1/migrations/${id}/retry`);
      assert.equal((await retry()).problem().code, 'credentials_required');
      const auth = { type: 'password', password: 'not-a-secret' };
      const put = await api.call('PUT', `/v1/migrations/${id}/credentials`, {
        source: { auth },
        destination: { auth },
      });
      assert.equal(put.status, 200);
      assert.equal(put.json().state, 'canceled');
      const retried = await retry();
      assert.equal(retried.status, 202);
      assert.equal(retried.json().state, 'queued');
    });

    test('lets what waits for credentials go on when it gets them', async () => {
      const { id } = await api.create();
      const error = {
        code: 'authentication_failed',
        side: 'source',
        scope: 'mailbox',
        detail: '-ERR [AUTH] no',
        hint: 'Check the password.',
      } as const;
      await api.backend.work(id, { state: 'waiting', stateReason: 'credentials_required', error });
      const waiting = (await api.call('GET', `/v1/migrations/${id}`)).json();
      assert.deepEqual([waiting.state, waiting.stateReason], ['waiting', 'credentials_required']);
      assert.deepEqual(waiting.error, error);
      const auth = { type: 'password', password: 'new', authorizationId: 'boss' };
      const put = await api.call('PUT', `/v1/migrations/${id}/credentials`, { source: { auth } });
      assert.equal(put.json().state, 'queued');
      assert.deepEqual(put.json().source.auth, { type: 'password', authorizationId: 'boss' });
    });

    test('keeps a paused one paused when it gets credentials', async () => {
      const { id } = await api.create();
      await api.call('POST', `/v1/migrations/${id}/pause`);
      const auth = { type: 'password', password: 'new' };
      const put = await api.call('PUT', `/v1/migrations/${id}/credentials`, { destination: { auth } });
      assert.equal(put.json().state, 'paused');
    });

    test('changes label and single options, and leaves the rest', async () => {
      const { id, options } = await api.create({ label: 'old', options: { manifest: true } });
      const patch = (body: object) => api.call('PATCH', `/v1/migrations/${id}`, body);
      const changed = await patch({ label: 'new', options: { verify: 'digest' } });
      assert.equal(changed.status, 200);
      assert.equal(changed.json().label, 'new');
      assert.deepEqual(changed.json().options, { ...options, verify: 'digest' });
      const same = await patch({ schedule: null });
      assert.equal(same.json().label, 'new');
      assert.deepEqual(same.json().options, { ...options, verify: 'digest' });
      assert.equal((await patch({})).status, 200);
    });

    test('erases: 204, and 404 from then on', async () => {
      const { id } = await api.create();
      await api.call('POST', `/v1/migrations/${id}/cancel`);
      const erased = await api.call('DELETE', `/v1/migrations/${id}`);
      assert.equal(erased.status, 204);
      assert.equal(erased.text, '');
      assert.equal((await api.call('GET', `/v1/migrations/${id}`)).status, 404);
      assert.equal((await api.call('DELETE', `/v1/migrations/${id}`)).status, 404);
    });

    test('tells of runs and of messages, filtered and page by page', async () => {
      const { id } = await api.create({ options: { manifest: true } });
      const row = (n: number) => ({
        uidl: `u${n}`,
        size: 100 + n,
        outcome: n === 2 ? ('failed' as const) : ('copied' as const),
        altered: n === 3,
        reason: n === 2 ? { code: 'message_refused', detail: 'NO [CANNOT] no' } : null,
        repair: n === 1 ? ('literal8' as const) : null,
        folder: 'INBOX',
        uid: n === 2 ? null : n,
        sha256: 'ab'.repeat(32),
        subject: n === 2 ? 'Hello' : null,
        from: null,
        date: null,
        messageId: null,
      });
      const messages = [1, 2, 3, 4].map(row);
      await api.backend.work(id, { state: 'completedWithFailures', messages });
      const list = async (query: string) =>
        (await api.call('GET', `/v1/migrations/${id}/messages${query}`)).json<Page<(typeof messages)[0]>>();
      assert.deepEqual((await list('')).items, messages);
      const uidls = async (query: string) => (await list(query)).items.map((item) => item.uidl);
      assert.deepEqual(await uidls('?outcome=failed'), ['u2']);
      assert.deepEqual(await uidls('?flag=altered'), ['u3']);
      assert.deepEqual(await uidls('?flag=repaired'), ['u1']);
      const first = await list('?limit=3');
      assert.deepEqual(
        first.items.map((item) => item.uidl),
        ['u1', 'u2', 'u3'],
      );
      assert.deepEqual(await uidls(`?limit=3&cursor=${encodeURIComponent(String(first.nextCursor))}`), [
        'u4',
      ]);
      const bad = await api.call('GET', `/v1/migrations/${id}/messages?cursor=made-up`);
      assert.equal(bad.problem().errors?.[0]?.pointer, '/query/cursor');

      const runs = (await api.call('GET', `/v1/migrations/${id}/runs`)).json<Page<Record<string, unknown>>>();
      assert.equal(runs.total, 1);
      assert.deepEqual(Object.keys(runs.items[0] ?? {}), [
        'run',
        'startedAt',
        'endedAt',
        'worker',
        'outcome',
        'counts',
        'error',
      ]);
      assert.equal(runs.items[0]?.outcome, 'completedWithFailures');
    });
  });

  describe(`GET /v1/migrations over ${name}`, () => {
    let api: Api;
    before(async () => {
      api = await startApi({ backend: await backend() });
      for (const label of ['banana', 'apple', 'cherry']) {
        const source = { username: `${label}-user`, host: `${label}.example.net` };
        const { createdAt } = await api.create({ label, source });
        await until(() => new Date().toISOString() > createdAt, { what: 'the next millisecond' });
      }
      const [first] = (await list('?sort=createdAt')).items;
      await api.call('POST', `/v1/migrations/${first?.id}/pause`);
    });
    after(() => api[Symbol.asyncDispose]());

    const list = async (query: string) =>
      (await api.call('GET', `/v1/migrations${query}`)).json<Page<Migration>>();
    const labels = async (query: string) => (await list(query)).items.map((item) => item.label);

    test('lists the newest first, whole, with their number', async () => {
      const page = await list('');
      assert.deepEqual(
        page.items.map((item) => item.label),
        ['cherry', 'apple', 'banana'],
      );
      assert.equal(page.total, 3);
      assert.equal(page.nextCursor, null);
      const [cherry] = page.items;
      assert.deepEqual((await api.call('GET', `/v1/migrations/${cherry?.id}`)).json(), cherry);
    });

    const CASES: [query: string, expected: string[]][] = [
      ['?sort=createdAt', ['banana', 'apple', 'cherry']],
      ['?sort=label', ['apple', 'banana', 'cherry']],
      ['?state=paused', ['banana']],
      ['?state=paused&state=queued&sort=label', ['apple', 'banana', 'cherry']],
      ['?state=failed', []],
      ['?q=CHE', ['cherry']],
      ['?q=apple-u', ['apple']],
      ['?host=Banana.example.net', ['banana']],
      ['?batchId=bat_none', []],
      ['?errorCode=timeout', []],
      ['?createdAfter=2100-01-01T00:00:00Z', []],
      ['?createdBefore=2100-01-01T00:00:00Z&sort=label', ['apple', 'banana', 'cherry']],
      ['?createdBefore=2000-01-01T00:00:00Z', []],
    ];
    for (const [query, expected] of CASES) {
      test(`lists ${expected.length} for ${query}`, async () => {
        assert.deepEqual(await labels(query), expected);
      });
    }

    test('goes on where a page ended', async () => {
      const first = await list('?limit=2&sort=label');
      assert.deepEqual(
        first.items.map((item) => item.label),
        ['apple', 'banana'],
      );
      assert.equal(first.total, 3);
      const cursor = encodeURIComponent(String(first.nextCursor));
      const second = await list(`?limit=2&sort=label&cursor=${cursor}`);
      assert.deepEqual(
        second.items.map((item) => item.label),
        ['cherry'],
      );
      assert.equal(second.nextCursor, null);
    });
  });
}
