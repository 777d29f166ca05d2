import { type Static, Type } from 'typebox';
import { type MigrationState, STATES, type WaitReason } from '../../domain/migration.ts';
import { Bytes, Count, choice, choiceOrNull, nullable, pageOf, ref, Time } from './base.ts';
import { AuthInput, Destination, DestinationInput, Source, SourceInput } from './endpoint.ts';
import { Options, OptionsInput, OptionsPatch, Schedule } from './options.ts';

const closed = { additionalProperties: false };
const Label = (options: object = {}) => Type.String({ maxLength: 500, ...options });
const WAIT_REASONS = [
  'mailbox_locked',
  'login_delay',
  'over_quota',
  'throttled',
  'unreachable',
  'destination_busy',
  'no_permit',
  'credentials_required',
] as const satisfies readonly WaitReason[];

export const MigrationInput = Type.Object(
  {
    label: Label({ default: '' }),
    source: ref(SourceInput),
    destination: ref(DestinationInput),
    options: Type.Unsafe<OptionsInput>({ ...ref(OptionsInput), default: {} }),
  },
  { ...closed, $id: 'MigrationInput', required: ['source', 'destination'] },
);
export type MigrationInput = Static<typeof MigrationInput>;

export const MigrationPatch = Type.Object(
  {
    label: Type.Optional(Label()),
    options: Type.Optional(ref(OptionsPatch)),
    schedule: Type.Optional(ref(Schedule)),
  },
  { ...closed, $id: 'MigrationPatch', description: 'Takes effect at the next run; what is left out stays.' },
);
export type MigrationPatch = Static<typeof MigrationPatch>;

const side = () => Type.Optional(Type.Object({ auth: ref(AuthInput) }, closed));
export const CredentialsInput = Type.Object(
  { source: side(), destination: side() },
  { ...closed, $id: 'CredentialsInput', minProperties: 1 },
);
export type CredentialsInput = Static<typeof CredentialsInput>;

const MaybeCount = () => nullable(Count());
export const Progress = Type.Object(
  {
    messages: Type.Object({
      total: MaybeCount(),
      copied: MaybeCount(),
      alreadyPresent: MaybeCount(),
      skipped: MaybeCount(),
      failed: MaybeCount(),
      remaining: MaybeCount(),
      altered: MaybeCount(),
      repaired: MaybeCount(),
      deletedFromSource: MaybeCount(),
    }),
    bytes: Type.Object({ total: nullable(Bytes()), settled: nullable(Bytes()) }),
    messagesPerSecond: nullable(Type.Number()),
    bytesPerSecond: nullable(Type.Number()),
    etaSeconds: nullable(Type.Number()),
  },
  { $id: 'Progress', description: 'All null before the first listing of the source.' },
);

const errorReport = Type.Object({
  code: Type.String(),
  side: choice(['source', 'destination', 'service']),
  scope: choice(['message', 'mailbox', 'host', 'system']),
  detail: Type.String({ description: "the server's own words" }),
  hint: Type.String({ description: 'what to do about it' }),
});
export const ErrorReport = Type.Unsafe<Static<typeof errorReport> | null>({
  $id: 'ErrorReport',
  ...errorReport,
  type: ['object', 'null'],
});

export const Migration = Type.Object(
  {
    id: Type.String({ examples: ['mig_01j9x3k8'] }),
    label: Type.String(),
    batchId: nullable(Type.String()),
    state: choice(STATES),
    stateReason: choiceOrNull(WAIT_REASONS),
    nextRunAt: nullable(Time()),
    createdAt: Time(),
    startedAt: nullable(Time()),
    finishedAt: nullable(Time()),
    source: ref(Source),
    destination: ref(Destination),
    options: ref(Options),
    progress: ref(Progress),
    runs: Count(),
    error: ref(ErrorReport),
  },
  { $id: 'Migration' },
);
export const MigrationPage = pageOf(Migration, 'MigrationPage');

export const MigrationListQuery = Type.Object(
  {
    state: Type.Optional(
      Type.Unsafe<MigrationState[]>(Type.Array(choice(STATES), { maxItems: 50, description: 'may repeat' })),
    ),
    batchId: Type.Optional(Type.String({ minLength: 1 })),
    q: Type.Optional(Type.String({ description: 'a prefix of label or user name' })),
    errorCode: Type.Optional(Type.String({ minLength: 1 })),
    host: Type.Optional(Type.String({ minLength: 1, description: 'of either end' })),
    createdAfter: Type.Optional(Time()),
    createdBefore: Type.Optional(Time()),
    sort: choice(['-createdAt', 'createdAt', 'label', 'state'], { default: '-createdAt' }),
    cursor: Type.Optional(Type.String({ minLength: 1 })),
    limit: Type.Integer({ minimum: 1, maximum: 200, default: 50 }),
  },
  { ...closed, required: [] },
);
