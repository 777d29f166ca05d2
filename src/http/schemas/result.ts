import { Type } from 'typebox';
import { STATES } from '../../domain/migration.ts';
import { Bytes, Count, choice, choiceOrNull, nullable, pageOf, ref, Time } from './base.ts';
import { ErrorReport, Migration } from './migration.ts';

const OUTCOMES = ['copied', 'alreadyPresent', 'skipped', 'failed'] as const;

export const Message = Type.Object(
  {
    uidl: Type.String(),
    size: Bytes(),
    outcome: choice(OUTCOMES),
    altered: Type.Boolean({ description: 'the destination gives the message back with other bytes' }),
    reason: Type.Unsafe<{ code: string; detail: string } | null>({
      ...Type.Object({ code: Type.String(), detail: Type.String() }),
      type: ['object', 'null'],
    }),
    repair: choiceOrNull(['literal8', 'lineEndings']),
    folder: nullable(Type.String()),
    uid: nullable(Type.Integer()),
    sha256: nullable(Type.String({ description: 'hex, of the octets that POP3 delivered' })),
    subject: nullable(Type.String()),
    from: nullable(Type.String()),
    date: nullable(Type.String()),
    messageId: nullable(Type.String()),
  },
  { $id: 'Message', description: 'How one message of the source fared.' },
);
export const MessagePage = pageOf(Message, 'MessagePage');
export const MessageListQuery = Type.Object(
  {
    outcome: Type.Optional(choice(OUTCOMES)),
    flag: Type.Optional(choice(['altered', 'repaired'])),
    cursor: Type.Optional(Type.String({ minLength: 1 })),
    limit: Type.Integer({ minimum: 1, maximum: 200, default: 50 }),
  },
  { additionalProperties: false, required: [] },
);

export const Run = Type.Object(
  {
    run: Count(),
    startedAt: Time(),
    endedAt: nullable(Time()),
    worker: Type.String(),
    outcome: choiceOrNull([...STATES, 'lost', 'released'], {
      description: 'null while it runs; `lost`: its worker vanished; `released`: handed back',
    }),
    counts: Type.Object({
      copied: Count(),
      alreadyPresent: Count(),
      skipped: Count(),
      failed: Count(),
      bytes: Bytes(),
    }),
    error: ref(ErrorReport),
  },
  { $id: 'Run' },
);
export const RunPage = pageOf(Run, 'RunPage');

export const Report = Type.Object(
  { migration: ref(Migration), runs: Type.Array(ref(Run)), messages: Type.Array(ref(Message)) },
  { $id: 'Report', description: 'The whole result of a migration.' },
);
