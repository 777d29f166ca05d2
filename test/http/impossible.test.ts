import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Api, POLICY, startApi, wanted } from '../support/http-api.ts';

describe('what is well-formed and impossible', () => {
  let api: Api;
  before(async () => {
    api = await startApi();
  });
  after(() => api[Symbol.asyncDispose]());

  async function refusal(over: object): Promise<{ code: string; errors: string[] }> {
    const answer = await api.call('POST', '/v1/migrations', wanted(over));
    assert.equal(answer.status, 422, answer.text);
    const { code, errors } = answer.problem();
    return { code, errors: (errors ?? []).map((error) => `${error.pointer} ${error.code}`) };
  }

  const auth = (over: object) => ({ auth: { type: undefined, password: undefined, ...over } });
  const endpoint = { clientId: 'c', tokenEndpoint: 'https://login.example.com/token' };
  const TEXT = { type: 'password', password: 'x' };

  const CASES: [name: string, over: object, expected: string[]][] = [
    [
      'a provider',
      { source: { provider: 'gmail', host: undefined, security: undefined } },
      ['/source/provider unsupported_option'],
    ],
    [
      'an access token',
      { source: auth({ type: 'oauth2AccessToken', accessToken: 't' }) },
      ['/source/auth/type unsupported_option'],
    ],
    [
      'a refresh token',
      { destination: auth({ type: 'oauth2RefreshToken', refreshToken: 't', ...endpoint }) },
      ['/destination/auth/type unsupported_option'],
    ],
    [
      'client credentials',
      { destination: auth({ type: 'oauth2ClientCredentials', clientSecret: 't', scope: 's', ...endpoint }) },
      ['/destination/auth/type unsupported_option'],
    ],
    [
      'a pinned certificate',
      { destination: { tls: { pinSha256: 'ab' } } },
      ['/destination/tls/pinSha256 unsupported_option'],
    ],
    [
      'the repair attach',
      { options: { repair: ['literal8', 'attach'] } },
      ['/options/repair/1 unsupported_option'],
    ],
    [
      'a filter by date',
      { options: { filter: { since: '2026-01-01T00:00:00Z' } } },
      ['/options/filter/since unsupported_option'],
    ],
    [
      'a filter by size',
      { options: { filter: { maxBytes: 1000 } } },
      ['/options/filter/maxBytes unsupported_option'],
    ],
    ['a schedule', { options: { schedule: { every: '15m' } } }, ['/options/schedule unsupported_option']],
    [
      'a cron schedule',
      { options: { schedule: { cron: '*/15 * * * *', timezone: 'Europe/Paris' } } },
      ['/options/schedule unsupported_option'],
    ],
    [
      'this machine in another spelling',
      { source: { host: '0x7f.1' } },
      ['/source/host address_not_allowed'],
    ],
    [
      'deletion without verify digest',
      { options: { sourceDeletion: { policy: 'delete', minAgeDays: 7 } } },
      ['/options/sourceDeletion verify_required'],
    ],
    ['plaintext', { source: { security: 'none' } }, ['/source/security plaintext_not_allowed']],
    [
      'TLS 1.1',
      { destination: { tls: { minVersion: 'TLSv1.1' } } },
      ['/destination/tls/minVersion legacy_tls_not_allowed'],
    ],
    ['a loopback address', { source: { host: '127.0.0.1' } }, ['/source/host address_not_allowed']],
    ['a private address', { destination: { host: '10.1.2.3' } }, ['/destination/host address_not_allowed']],
    ['an IPv6 loopback address', { source: { host: '::1' } }, ['/source/host address_not_allowed']],
    ['localhost', { source: { host: 'LocalHost' } }, ['/source/host address_not_allowed']],
    ['localhost with a final dot', { source: { host: 'localhost.' } }, ['/source/host address_not_allowed']],
    ['a name below localhost', { source: { host: 'mail.localhost' } }, ['/source/host address_not_allowed']],
    [
      'a line break in a user name',
      { source: { username: 'a\r\nDELE 1' } },
      ['/source/username invalid_credentials'],
    ],
    [
      'a line break in a password',
      { destination: auth({ type: 'password', password: 'a\nb' }) },
      ['/destination/auth/password invalid_credentials'],
    ],
    [
      'NUL in an authorization id',
      { source: auth({ ...TEXT, authorizationId: 'a\0b' }) },
      ['/source/auth/authorizationId invalid_credentials'],
    ],
    [
      'several at once, each once',
      {
        source: { host: 'localhost', security: 'none', username: 'a\n' },
        options: { repair: ['attach'], schedule: { every: '1h' } },
      },
      [
        '/source/username invalid_credentials',
        '/source/security plaintext_not_allowed',
        '/source/host address_not_allowed',
        '/options/repair/0 unsupported_option',
        '/options/schedule unsupported_option',
      ],
    ],
  ];

  for (const [name, over, expected] of CASES) {
    test(`refuses ${name}`, async () => {
      const { code, errors } = await refusal(over);
      assert.deepEqual(errors, expected);
      assert.equal(code, expected[0]?.split(' ')[1]);
    });
  }

  test('lets through what the operator allows', async () => {
    const policy = { ...POLICY, allowPlaintext: true, allowLegacyTls: true, isAddressAllowed: () => true };
    await using open = await startApi({ services: { policy } });
    const plain = await open.create({ source: { host: 'localhost', security: 'none' } });
    assert.deepEqual(
      [plain.source.security, plain.source.port, plain.source.host],
      ['none', 110, 'localhost'],
    );
    const old = await open.create({ destination: { tls: { minVersion: 'TLSv1' }, host: '10.0.0.1' } });
    assert.deepEqual(old.destination.tls, { minVersion: 'TLSv1' });
  });

  test('takes deletion from the source with verify digest', async () => {
    const sourceDeletion = { policy: 'delete', minAgeDays: 7 };
    const created = await api.create({ options: { verify: 'digest', sourceDeletion } });
    assert.deepEqual(created.options.sourceDeletion, sourceDeletion);
  });

  test('refuses in a PATCH what it refuses in a POST', async () => {
    const { id, options } = await api.create();
    const patch = async (body: object) => {
      const answer = await api.call('PATCH', `/v1/migrations/${id}`, body);
      assert.equal(answer.status, 422, answer.text);
      return answer.problem().errors?.map((error) => `${error.pointer} ${error.code}`);
    };
    assert.deepEqual(await patch({ options: { repair: ['attach'] } }), [
      '/options/repair/0 unsupported_option',
    ]);
    assert.deepEqual(await patch({ schedule: { every: '1h' } }), ['/schedule unsupported_option']);
    assert.deepEqual(await patch({ options: { sourceDeletion: { policy: 'delete', minAgeDays: 0 } } }), [
      '/options/sourceDeletion verify_required',
    ]);
    assert.deepEqual((await api.call('GET', `/v1/migrations/${id}`)).json().options, options);
  });

  test('refuses in new credentials what it refuses in a POST', async () => {
    const { id } = await api.create();
    const put = await api.call('PUT', `/v1/migrations/${id}/credentials`, {
      source: { auth: { type: 'oauth2AccessToken', accessToken: 'x' } },
      destination: { auth: { type: 'password', password: 'a\r\n' } },
    });
    assert.equal(put.status, 422);
    assert.deepEqual(
      put.problem().errors?.map((error) => `${error.pointer} ${error.code}`),
      ['/source/auth/type unsupported_option', '/destination/auth/password invalid_credentials'],
    );
  });
});
