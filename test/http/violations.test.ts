import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Violation } from '../../src/http/schemas/problem.ts';
import { type Api, startApi, wanted } from '../support/http-api.ts';

describe('what breaks the contract', () => {
  let api: Api;
  before(async () => {
    api = await startApi();
  });
  after(() => api[Symbol.asyncDispose]());

  /** What `POST /v1/migrations` finds wrong, as `pointer code`, sorted. */
  async function mistakes(body: unknown, method = 'POST', path = '/v1/migrations'): Promise<string[]> {
    const answer = await api.call(method, path, body);
    assert.equal(answer.status, 400, answer.text);
    const { code, errors } = answer.problem();
    assert.equal(code, 'invalid_request');
    return (errors ?? []).map((error: Violation) => `${error.pointer} ${error.code}`).sort();
  }

  const auth = (over: object) => ({ source: { auth: { type: undefined, password: undefined, ...over } } });
  const password = { type: 'password', password: 'x' };

  const CASES: [name: string, over: object, expected: string[]][] = [
    ['an unknown field at the top', { colour: 1 }, ['/colour unknown_field']],
    ['an unknown field of an account', { source: { colour: 1 } }, ['/source/colour unknown_field']],
    [
      'an unknown field in a union branch',
      auth({ ...password, tokn: 1 }),
      ['/source/auth/tokn unknown_field'],
    ],
    [
      "another branch's field",
      auth({ ...password, accessToken: 'x' }),
      ['/source/auth/accessToken unknown_field'],
    ],
    ['an unknown field of tls', { source: { tls: { sni: 'x' } } }, ['/source/tls/sni unknown_field']],
    [
      'an unknown field of the folder',
      { destination: { folder: { name: 'x' } } },
      ['/destination/folder/name unknown_field'],
    ],
    [
      'an unknown field beside a special use',
      { destination: { folder: { path: undefined, specialUse: 'archive', x: 1 } } },
      ['/destination/folder/x unknown_field'],
    ],
    ['an unknown option', { options: { speed: 1 } }, ['/options/speed unknown_field']],
    [
      'an unknown field of a policy',
      { options: { seen: { policy: 'all', days: 3 } } },
      ['/options/seen/days unknown_field'],
    ],
    [
      'an unknown field of the filter',
      { options: { filter: { until: null } } },
      ['/options/filter/until unknown_field'],
    ],
    [
      'an unknown field of the schedule',
      { options: { schedule: { every: '15m', at: 1 } } },
      ['/options/schedule/at unknown_field'],
    ],
    [
      'a field whose name needs escaping in a pointer',
      { source: { 'a/b~c': 1 } },
      ['/source/a~1b~0c unknown_field'],
    ],
    ['no source', { source: undefined }, ['/source required']],
    ['no user name', { source: { username: undefined } }, ['/source/username required']],
    ['no host', { source: { host: undefined } }, ['/source/host required']],
    [
      'neither host nor security',
      { source: { host: undefined, security: undefined } },
      ['/source/host required', '/source/security required'],
    ],
    [
      'a host beside a provider',
      { source: { provider: 'gmail' } },
      ['/source/host conflict', '/source/security conflict'],
    ],
    ['no auth', { source: { auth: undefined } }, ['/source/auth required']],
    ['no auth.type', auth({ password: 'x' }), ['/source/auth/type required']],
    ['no password', auth({ type: 'password' }), ['/source/auth/password required']],
    ['an auth.type that there is not', auth({ type: 'kerberos' }), ['/source/auth/type invalid_value']],
    ['an auth.type that is no string', auth({ type: 7, password: 'x' }), ['/source/auth/type invalid_type']],
    ['auth that is no object', { source: { auth: 'secret' } }, ['/source/auth invalid_type']],
    ['auth that is a list', { source: { auth: [] } }, ['/source/auth invalid_type']],
    [
      'a refresh token without its client',
      auth({ type: 'oauth2RefreshToken', refreshToken: 'x' }),
      ['/source/auth/clientId required', '/source/auth/tokenEndpoint required'],
    ],
    ['a port that is text', { source: { port: '995' } }, ['/source/port invalid_type']],
    ['a port that is null', { source: { port: null } }, ['/source/port invalid_type']],
    ['a port with a fraction', { source: { port: 995.5 } }, ['/source/port invalid_type']],
    ['port 0', { source: { port: 0 } }, ['/source/port out_of_range']],
    ['port 65536', { source: { port: 65_536 } }, ['/source/port out_of_range']],
    ['a security that there is not', { source: { security: 'ssl' } }, ['/source/security invalid_value']],
    ['a security that is no string', { source: { security: true } }, ['/source/security invalid_type']],
    ['a host with a port', { source: { host: 'pop.example.net:995' } }, ['/source/host invalid_format']],
    ['a host that is a URL', { source: { host: 'pop3://pop.example.net' } }, ['/source/host invalid_format']],
    ['an empty host', { source: { host: '' } }, ['/source/host invalid_length']],
    ['an empty user name', { source: { username: '' } }, ['/source/username invalid_length']],
    ['a user name that is a number', { source: { username: 7 } }, ['/source/username invalid_type']],
    ['a source that is null', { source: null }, ['/source invalid_type']],
    ['a label that is a number', { label: 7 }, ['/label invalid_type']],
    [
      'an empty folder',
      { destination: { folder: { path: undefined } } },
      ['/destination/folder/path required'],
    ],
    [
      'a folder without levels',
      { destination: { folder: { path: [] } } },
      ['/destination/folder/path invalid_length'],
    ],
    [
      'an empty folder name',
      { destination: { folder: { path: ['a', ''] } } },
      ['/destination/folder/path/1 invalid_length'],
    ],
    [
      'NUL in a folder name',
      { destination: { folder: { path: ['a\0'] } } },
      ['/destination/folder/path/0 invalid_format'],
    ],
    [
      'a path that is text',
      { destination: { folder: { path: 'INBOX' } } },
      ['/destination/folder/path invalid_type'],
    ],
    [
      'a path beside a special use',
      { destination: { folder: { specialUse: 'archive' } } },
      ['/destination/folder/path conflict'],
    ],
    [
      'a special use that there is not',
      { destination: { folder: { path: undefined, specialUse: 'inbox' } } },
      ['/destination/folder/specialUse invalid_value'],
    ],
    [
      'a folder for the source',
      { source: { folder: { path: ['INBOX'] } } },
      ['/source/folder unknown_field'],
    ],
    ['options that are null', { options: null }, ['/options invalid_type']],
    [
      'a policy that there is not',
      { options: { seen: { policy: 'some' } } },
      ['/options/seen/policy invalid_value'],
    ],
    ['no days', { options: { seen: { policy: 'olderThanDays' } } }, ['/options/seen/days required']],
    [
      'negative days',
      { options: { seen: { policy: 'olderThanDays', days: -1 } } },
      ['/options/seen/days out_of_range'],
    ],
    [
      'days that are text',
      { options: { seen: { policy: 'olderThanDays', days: '3' } } },
      ['/options/seen/days invalid_type'],
    ],
    [
      'a repair that there is not',
      { options: { repair: ['literal8', 'magic'] } },
      ['/options/repair/1 invalid_value'],
    ],
    ['a repair twice', { options: { repair: ['literal8', 'literal8'] } }, ['/options/repair invalid_value']],
    ['a manifest that is text', { options: { manifest: 'true' } }, ['/options/manifest invalid_type']],
    [
      'a filter date that is none',
      { options: { filter: { since: 'yesterday' } } },
      ['/options/filter/since invalid_format'],
    ],
    [
      'a filter size that is text',
      { options: { filter: { maxBytes: '1000' } } },
      ['/options/filter/maxBytes invalid_type'],
    ],
    [
      'deletion without an age',
      { options: { sourceDeletion: { policy: 'delete' } } },
      ['/options/sourceDeletion/minAgeDays required'],
    ],
    ['an empty schedule', { options: { schedule: {} } }, ['/options/schedule/every required']],
    [
      'a schedule without a time zone',
      { options: { schedule: { cron: '* * * * *' } } },
      ['/options/schedule/timezone required'],
    ],
    [
      'two schedules at once',
      { options: { schedule: { every: '1h', cron: '* * * * *', timezone: 'UTC' } } },
      ['/options/schedule/every conflict'],
    ],
    [
      'an interval without a unit',
      { options: { schedule: { every: '15' } } },
      ['/options/schedule/every invalid_format'],
    ],
    [
      'several mistakes at once, each once',
      { a: 1, source: { port: '1', b: 2, auth: { c: 3 } }, options: { verify: 'sha1' } },
      [
        '/a unknown_field',
        '/options/verify invalid_value',
        '/source/auth/c unknown_field',
        '/source/b unknown_field',
        '/source/port invalid_type',
      ],
    ],
  ];

  for (const [name, over, expected] of CASES) {
    test(`names ${name}`, async () => {
      assert.deepEqual(await mistakes(wanted(over)), expected);
    });
  }

  for (const [name, body] of [
    ['a list', []],
    ['text', 'x'],
    ['null', null],
    ['nothing', undefined],
  ] as const) {
    test(`refuses a body that is ${name}`, async () => {
      assert.deepEqual(await mistakes(body), [' invalid_type']);
    });
  }

  test('refuses with a detail that quotes no value', async () => {
    const body = wanted({
      source: { auth: { type: 'canary-1', password: 5 }, username: '' },
      port: 'canary-2',
    });
    const answer = await api.call('POST', '/v1/migrations', body);
    assert.equal(answer.status, 400);
    assert.doesNotMatch(answer.text, /canary/);
  });

  test('names mistakes in a PATCH, nested ones too', async () => {
    const { id } = await api.create();
    assert.deepEqual(
      await mistakes(
        { lable: 'x', options: { seen: { policy: 'none', x: 1 }, verify: 1 } },
        'PATCH',
        `/v1/migrations/${id}`,
      ),
      ['/lable unknown_field', '/options/seen/x unknown_field', '/options/verify invalid_type'],
    );
  });

  test('names mistakes in credentials', async () => {
    const { id } = await api.create();
    const path = `/v1/migrations/${id}/credentials`;
    assert.deepEqual(await mistakes({}, 'PUT', path), [' required']);
    assert.deepEqual(await mistakes({ source: {} }, 'PUT', path), ['/source/auth required']);
    assert.deepEqual(await mistakes({ source: { auth: { ...password, x: 1 } }, y: 1 }, 'PUT', path), [
      '/source/auth/x unknown_field',
      '/y unknown_field',
    ]);
  });

  test('names a body field where a call takes none', async () => {
    const { id } = await api.create();
    assert.deepEqual(await mistakes({ now: true }, 'POST', `/v1/migrations/${id}/pause`), [
      '/now unknown_field',
    ]);
  });

  const QUERIES: [query: string, expected: string[]][] = [
    ['limit=0', ['/query/limit out_of_range']],
    ['limit=201', ['/query/limit out_of_range']],
    ['limit=many', ['/query/limit invalid_type']],
    ['limit=', ['/query/limit invalid_type']],
    ['state=asleep', ['/query/state invalid_value']],
    ['state=queued&state=asleep', ['/query/state invalid_value']],
    ['sort=size', ['/query/sort invalid_value']],
    ['createdAfter=yesterday', ['/query/createdAfter invalid_format']],
    ['colour=red', ['/query/colour unknown_field']],
    ['cursor=made-up', ['/query/cursor invalid_value']],
    ['colour=red&limit=0', ['/query/colour unknown_field', '/query/limit out_of_range']],
  ];
  for (const [query, expected] of QUERIES) {
    test(`names the parameter in ?${query}`, async () => {
      assert.deepEqual(await mistakes(undefined, 'GET', `/v1/migrations?${query}`), expected);
    });
  }

  test('names an unknown parameter of a call that takes none', async () => {
    const { id } = await api.create();
    assert.deepEqual(await mistakes(undefined, 'GET', `/v1/migrations/${id}?full=1`), [
      '/query/full unknown_field',
    ]);
  });
});
