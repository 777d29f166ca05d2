import { type TSchema, Type } from 'typebox';
import { ref } from './schemas/base.ts';
import { Problem } from './schemas/problem.ts';

export const JSON_TYPE = 'application/json';
const LOCATION = { type: 'string', description: 'where the migration is' };

/** A success: the schema serializes the answer too, so nothing that it does not name gets out. */
export function json(description: string, schema: TSchema) {
  return { description, content: { [JSON_TYPE]: { schema: ref(schema) } } };
}

export function jsonWithLocation(description: string, schema: TSchema) {
  return { ...json(description, schema), headers: { Location: LOCATION } };
}

/** A success without a body. */
export function empty(description: string) {
  return Type.Unsafe<undefined>({ type: 'null', description });
}

export function media(description: string, ...types: string[]) {
  const schema = { type: 'string' };
  return { description, content: Object.fromEntries(types.map((type) => [type, { schema }])) };
}

const REASONS: Record<number, string> = {
  400: 'the request breaks the contract: `errors[]` names every field',
  401: 'no valid API key',
  403: "the API key's scopes do not permit this",
  404: "there is none, or it is another tenant's",
  406: 'none of the accepted media types is available',
  409: 'not possible in this state',
  413: 'the body is too large',
  415: 'the body is not application/json',
  422: 'well-formed and impossible: `errors[]` says why',
  500: 'a fault in popbridge itself',
  503: 'Redis does not answer; `Retry-After` says when to try again',
};

/** Problem answers by status. */
export function problems(...statuses: number[]) {
  const answer = (status: number) => ({
    description: REASONS[status] ?? 'a problem',
    content: { 'application/problem+json': { schema: ref(Problem) } },
  });
  return Object.fromEntries(statuses.map((status) => [status, answer(status)]));
}

/** What any call under `/v1` may answer, and what this one may besides. */
export function v1Problems(...statuses: number[]) {
  return problems(400, 401, 403, ...statuses, 500, 503);
}
