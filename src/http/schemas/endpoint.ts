import { type Static, Type } from 'typebox';
import type { FolderChoice, Security, TlsMinVersion } from '../../domain/migration.ts';
import { choice, eitherBy, FolderName, Host, ref, tagged, without } from './base.ts';

const closed = { additionalProperties: false };
const secret = (description: string) =>
  Type.String({ minLength: 1, maxLength: 16_384, description, writeOnly: true });
const UserName = () => Type.String({ minLength: 1, maxLength: 1024 });
const SECURITY: readonly Security[] = ['tls', 'starttls', 'none'];
const MIN_VERSIONS: readonly TlsMinVersion[] = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'];

export const PasswordAuth = Type.Object(
  {
    type: Type.Literal('password'),
    password: secret('the password'),
    authorizationId: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 1024,
        description: 'SASL PLAIN: whose mailbox, for a master user',
      }),
    ),
  },
  { ...closed, $id: 'PasswordAuth' },
);
export const OAuth2AccessTokenAuth = Type.Object(
  { type: Type.Literal('oauth2AccessToken'), accessToken: secret('the token') },
  { ...closed, $id: 'OAuth2AccessTokenAuth' },
);
export const OAuth2RefreshTokenAuth = Type.Object(
  {
    type: Type.Literal('oauth2RefreshToken'),
    refreshToken: secret('the token'),
    clientId: Type.String({ minLength: 1 }),
    clientSecret: Type.Optional(secret('of the client')),
    tokenEndpoint: Type.String({ format: 'uri' }),
    scope: Type.Optional(Type.String({ minLength: 1 })),
  },
  { ...closed, $id: 'OAuth2RefreshTokenAuth' },
);
export const OAuth2ClientCredentialsAuth = Type.Object(
  {
    type: Type.Literal('oauth2ClientCredentials'),
    clientId: Type.String({ minLength: 1 }),
    clientSecret: secret('of the client'),
    tokenEndpoint: Type.String({ format: 'uri' }),
    scope: Type.String({ minLength: 1 }),
  },
  { ...closed, $id: 'OAuth2ClientCredentialsAuth' },
);
export type AuthInput =
  | Static<typeof PasswordAuth>
  | Static<typeof OAuth2AccessTokenAuth>
  | Static<typeof OAuth2RefreshTokenAuth>
  | Static<typeof OAuth2ClientCredentialsAuth>;
export const AuthInput = tagged<AuthInput>(
  'type',
  {
    password: ref(PasswordAuth),
    oauth2AccessToken: ref(OAuth2AccessTokenAuth),
    oauth2RefreshToken: ref(OAuth2RefreshTokenAuth),
    oauth2ClientCredentials: ref(OAuth2ClientCredentialsAuth),
  },
  { $id: 'AuthInput', description: 'How to sign in. Only `password` is built yet.' },
);

export const TlsOptions = Type.Object(
  {
    serverName: Type.Optional(Host({ description: 'the name that the certificate is checked against' })),
    pinSha256: Type.Optional(Type.String({ minLength: 1, maxLength: 200, description: 'not built yet' })),
    minVersion: Type.Optional(
      choice(MIN_VERSIONS, { description: 'below TLSv1.2 only where the operator allows it' }),
    ),
  },
  { ...closed, $id: 'TlsOptions' },
);

const SPECIAL_USES = ['all', 'archive', 'drafts', 'flagged', 'junk', 'sent', 'trash'] as const;
export const Folder = Type.Unsafe<FolderChoice>({
  $id: 'Folder',
  description: 'By path, one element a level, or by special use (RFC 6154). By default INBOX.',
  ...Type.Object(
    {
      path: Type.Optional(Type.Array(FolderName(), { minItems: 1, maxItems: 100 })),
      specialUse: Type.Optional(choice(SPECIAL_USES)),
    },
    closed,
  ),
  ...eitherBy('specialUse', without('path'), { required: ['path'] }),
});

const endpointInput = {
  host: Type.Optional(Host()),
  provider: Type.Optional(
    Type.String({ minLength: 1, maxLength: 100, description: 'instead of host and security; not built yet' }),
  ),
  port: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 65_535, description: 'by default the one of protocol and security' }),
  ),
  security: Type.Optional(choice(SECURITY, { description: '`none` only where the operator allows it' })),
  username: UserName(),
  auth: ref(AuthInput),
  tls: Type.Optional(ref(TlsOptions)),
};
const byProvider = eitherBy('provider', without('host', 'security'), { required: ['host', 'security'] });

interface AccountInput {
  port?: number;
  username: string;
  auth: AuthInput;
  tls?: Static<typeof TlsOptions>;
}
export type EndpointInput = AccountInput &
  ({ provider: string } | { provider?: undefined; host: string; security: Security });
export type DestinationInput = EndpointInput & { folder: FolderChoice };

export const SourceInput = Type.Unsafe<EndpointInput>({
  $id: 'SourceInput',
  description: 'The POP3 account.',
  ...Type.Object(endpointInput, closed),
  ...byProvider,
});
export const DestinationInput = Type.Unsafe<DestinationInput>({
  $id: 'DestinationInput',
  description: 'The IMAP account.',
  ...Type.Object(
    {
      ...endpointInput,
      folder: Type.Optional(Type.Unsafe<FolderChoice>({ ...ref(Folder), default: { path: ['INBOX'] } })),
    },
    closed,
  ),
  ...byProvider,
});

export const AuthSummary = Type.Object(
  { type: Type.Literal('password'), authorizationId: Type.Optional(Type.String()) },
  { $id: 'AuthSummary', description: 'What of the sign-in data is no secret.' },
);
const endpoint = {
  host: Type.String(),
  port: Type.Integer(),
  security: choice(SECURITY),
  username: Type.String(),
  auth: ref(AuthSummary),
  tls: Type.Optional(ref(TlsOptions)),
};
export const Source = Type.Object(endpoint, { $id: 'Source' });
export const Destination = Type.Object({ ...endpoint, folder: ref(Folder) }, { $id: 'Destination' });
