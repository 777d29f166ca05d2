import { type Static, Type } from 'typebox';
import { ref } from './base.ts';

export const Violation = Type.Object(
  {
    pointer: Type.String({
      description:
        'JSON Pointer (RFC 6901) into the body; `/query/…`, `/path/…` and `/headers/…` point at the other parts of a request',
      examples: ['/source/username'],
    }),
    code: Type.String({ examples: ['required'] }),
    detail: Type.String(),
  },
  { $id: 'Violation' },
);
export type Violation = Static<typeof Violation>;

export const Problem = Type.Object(
  {
    type: Type.String({ examples: ['urn:popbridge:problem:invalid_request'] }),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({
      description: 'stable; what a program should look at',
      examples: ['invalid_request'],
    }),
    detail: Type.String(),
    instance: Type.String({ description: 'the path that was asked for' }),
    requestId: Type.String(),
    errors: Type.Optional(Type.Array(ref(Violation), { description: 'one entry per mistake' })),
    migrationId: Type.Optional(Type.String({ description: 'with `duplicate_migration`: the first one' })),
    state: Type.Optional(Type.String({ description: 'with `illegal_transition`: the state it is in' })),
  },
  { $id: 'Problem', description: 'RFC 9457 problem details' },
);
export type Problem = Static<typeof Problem>;
