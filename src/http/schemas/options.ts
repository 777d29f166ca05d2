import { type Static, type TProperties, Type } from 'typebox';
import { DEFAULT_OPTIONS, type SeenPolicy } from '../../domain/migration.ts';
import { Count, choice, Every, eitherBy, nullable, ref, Time, tagged, without } from './base.ts';

const closed = { additionalProperties: false };

export const Seen = tagged<SeenPolicy>(
  'policy',
  {
    none: Type.Object({ policy: Type.Literal('none') }, closed),
    all: Type.Object({ policy: Type.Literal('all') }, closed),
    olderThanDays: Type.Object(
      { policy: Type.Literal('olderThanDays'), days: Count({ maximum: 36_500 }) },
      closed,
    ),
  },
  { $id: 'Seen', description: 'Which messages arrive as seen; by default none.' },
);

export type SourceDeletionInput = { policy: 'keep' } | { policy: 'delete'; minAgeDays: number };
export const SourceDeletion = tagged<SourceDeletionInput>(
  'policy',
  {
    keep: Type.Object({ policy: Type.Literal('keep') }, closed),
    delete: Type.Object({ policy: Type.Literal('delete'), minAgeDays: Count({ maximum: 36_500 }) }, closed),
  },
  {
    $id: 'SourceDeletion',
    description:
      'By default `keep`. `delete` needs `verify: digest`; a message goes only after its copy was read back and proven.',
  },
);

export const Filter = Type.Object(
  {
    since: Type.Optional(nullable(Time({ default: null }))),
    before: Type.Optional(nullable(Time({ default: null }))),
    maxBytes: Type.Optional(nullable(Count({ default: null }))),
  },
  {
    ...closed,
    $id: 'Filter',
    description:
      'By the internal date that the message would get, and by size; by default none. Not built yet.',
  },
);

export type ScheduleInput = { every: string } | { cron: string; timezone: string } | null;
export const Schedule = Type.Unsafe<ScheduleInput>({
  $id: 'Schedule',
  description: 'null, the default: once. Not built yet.',
  ...Type.Object(
    {
      every: Type.Optional(Every()),
      cron: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
      timezone: Type.Optional(Type.String({ minLength: 1, maxLength: 100 })),
    },
    closed,
  ),
  type: ['object', 'null'],
  ...eitherBy(
    'cron',
    { required: ['timezone'], ...without('every') },
    { required: ['every'], ...without('timezone') },
  ),
});

const fields = {
  seen: ref(Seen),
  internalDate: choice(['received', 'date', 'now']),
  deduplicate: choice(['destination', 'journal']),
  verify: choice(['size', 'digest']),
  repair: Type.Array(choice(['literal8', 'lineEndings', 'attach']), {
    uniqueItems: true,
    description: '`attach` is not built yet',
  }),
  filter: ref(Filter),
  sourceDeletion: ref(SourceDeletion),
  manifest: Type.Boolean({ description: 'keep UIDL and SHA-256 of every message for the report' }),
  schedule: ref(Schedule),
} satisfies TProperties;

type Fields = typeof fields;
export type OptionsInput = { [K in keyof Fields]: Static<Fields[K]> };

function filled(): TProperties {
  const entries = Object.entries(fields).map(([name, schema]) => [
    name,
    Type.Optional(Type.Unsafe({ ...schema, default: DEFAULT_OPTIONS[name as keyof Fields] })),
  ]);
  return Object.fromEntries(entries);
}

/** As a caller gives them: what is left out gets its default. */
export const OptionsInput = Type.Unsafe<OptionsInput>({
  $id: 'OptionsInput',
  ...Type.Object(filled(), closed),
});
/** Changes: what is left out stays. */
export const OptionsPatch = Type.Unsafe<Partial<OptionsInput>>({
  $id: 'OptionsPatch',
  ...Type.Object(
    Object.fromEntries(Object.entries(fields).map(([name, schema]) => [name, Type.Optional(schema)])),
    closed,
  ),
});
export const Options = Type.Object(fields, { $id: 'Options' });
