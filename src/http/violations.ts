import type { ErrorObject } from 'ajv';
import { PATTERN_WORDS } from './schemas/base.ts';
import type { Violation } from './schemas/problem.ts';

/** The parts of a request, by Fastify's names. */
export type RequestPart = 'body' | 'querystring' | 'params' | 'headers';

const PREFIX: Record<RequestPart, string> = {
  body: '',
  querystring: '/query',
  params: '/path',
  headers: '/headers',
};

/** What outranks what where several keywords fail on one value: a wrong type is also not in the enum. */
const RANK = ['unknown_field', 'required', 'invalid_type', 'conflict', 'invalid_value', 'invalid_length'];

/**
 * Ajv's errors as one entry per mistake, in the order of the schema. Never quotes a value: it may be a secret.
 * Rests on schemas that have no `oneOf` but under `discriminator` and tell shapes apart by `if`.
 */
export function violations(errors: readonly ErrorObject[], part: RequestPart): Violation[] {
  const best = new Map<string, Violation>();
  for (const error of errors) {
    const found = violation(error, part);
    if (found === null) continue;
    const known = best.get(found.pointer);
    if (known === undefined || rank(found) < rank(known)) best.set(found.pointer, found);
  }
  return [...best.values()];
}

function rank(violation: Violation): number {
  const at = RANK.indexOf(violation.code);
  return at === -1 ? RANK.length : at;
}

function violation(error: ErrorObject, part: RequestPart): Violation | null {
  // The branch that `if` chose says what is wrong; `if` itself adds only that something is.
  if (error.keyword === 'if') return null;
  const { field, code, detail } = mistake(error);
  const at = part === 'querystring' ? parameter(error.instancePath) : error.instancePath;
  return { pointer: PREFIX[part] + at + (field === undefined ? '' : `/${escaped(field)}`), code, detail };
}

/** A parameter that may repeat is pointed at as a whole. */
function parameter(instancePath: string): string {
  return instancePath.split('/').slice(0, 2).join('/');
}

/** RFC 6901 section 3. */
function escaped(token: string): string {
  return token.replaceAll('~', '~0').replaceAll('/', '~1');
}

interface Mistake {
  /** Of the object that Ajv points at. */
  field?: string;
  code: string;
  detail: string;
}

function mistake({ keyword, params, message = 'is not as it should be' }: ErrorObject): Mistake {
  switch (keyword) {
    case 'required':
      return { field: String(params.missingProperty), code: 'required', detail: 'is missing' };
    case 'additionalProperties':
      return {
        field: String(params.additionalProperty),
        code: 'unknown_field',
        detail: 'is not a known field',
      };
    case 'discriminator':
      return {
        field: String(params.tag),
        code: 'invalid_value',
        detail: 'is none of the documented values',
      };
    case 'minProperties':
      return { code: 'required', detail: 'must have at least one field' };
    case 'false schema':
      return { code: 'conflict', detail: 'cannot stand beside the other fields that are given' };
    case 'type':
      return { code: 'invalid_type', detail: typeWords(params.type) };
    case 'enum':
      return { code: 'invalid_value', detail: `must be one of: ${allowed(params.allowedValues)}` };
    case 'const':
      return { code: 'invalid_value', detail: `must be ${JSON.stringify(params.allowedValue)}` };
    case 'uniqueItems':
      return { code: 'invalid_value', detail: 'must not hold the same twice' };
    case 'pattern':
      return { code: 'invalid_format', detail: PATTERN_WORDS.get(String(params.pattern)) ?? message };
    case 'format':
      return { code: 'invalid_format', detail: `must be a ${String(params.format)}` };
    case 'minLength':
    case 'maxLength':
    case 'minItems':
    case 'maxItems':
      return { code: 'invalid_length', detail: message };
    default:
      return { code: 'out_of_range', detail: message };
  }
}

function typeWords(type: unknown): string {
  const types = Array.isArray(type) ? type : String(type).split(',');
  return `must be of type ${types.join(' or ')}`;
}

function allowed(values: unknown): string {
  return Array.isArray(values) ? values.map((value) => String(value)).join(', ') : '';
}
