import { type Static, type TSchema, type TUnsafe, Type } from 'typebox';

/** A reference to a named component, so that the OpenAPI document names it instead of repeating it. */
export function ref<S extends TSchema>(schema: S): TUnsafe<Static<S>> {
  const { $id } = schema as { $id?: string };
  if ($id === undefined) throw new TypeError('only a schema with an $id can be referred to');
  return Type.Unsafe<Static<S>>({ $ref: `${$id}#` });
}

/** One of these strings. */
export function choice<const T extends readonly string[]>(
  values: T,
  options: object = {},
): TUnsafe<T[number]> {
  return Type.Unsafe<T[number]>({ type: 'string', enum: [...values], ...options });
}

export function nullable<S extends TSchema>(schema: S & { type: string }): TUnsafe<Static<S> | null> {
  return Type.Unsafe<Static<S> | null>({ ...schema, type: [schema.type, 'null'] });
}

export function choiceOrNull<const T extends readonly string[]>(
  values: T,
  options: object = {},
): TUnsafe<T[number] | null> {
  return Type.Unsafe<T[number] | null>({ type: ['string', 'null'], enum: [...values, null], ...options });
}

/**
 * An object whose field `tag` says which branch it is: only that branch is checked, so that a mistake draws one
 * error. The tag stands in the parent too, which makes its own mistakes (missing, unknown) ordinary ones.
 */
export function tagged<T>(tag: string, branches: Record<string, TSchema>, options: object = {}): TUnsafe<T> {
  return Type.Unsafe<T>({
    type: 'object',
    required: [tag],
    properties: { [tag]: { type: 'string', enum: Object.keys(branches) } },
    discriminator: { propertyName: tag },
    oneOf: Object.values(branches),
    ...options,
  });
}

/**
 * Keywords for an object that has one of two shapes, told apart by a field that only one of them has. Ajv then
 * blames what is wrong in the shape that was meant, as `oneOf` could not.
 */
export function eitherBy(field: string, having: object, lacking: object): object {
  // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
  return { if: { required: [field] }, then: having, else: lacking };
}

/** These fields belong to the other shape. */
export function without(...fields: string[]): object {
  return { properties: Object.fromEntries(fields.map((field) => [field, false])) };
}

/** What a pattern wants, in words: error messages quote these instead of the pattern. */
export const PATTERN_WORDS = new Map<string, string>();

function worded(pattern: string, words: string): string {
  PATTERN_WORDS.set(pattern, words);
  return pattern;
}

const HOST = worded(
  '^(?:[\\p{L}\\p{M}\\p{N}._-]+|[0-9A-Fa-f.]*(?::[0-9A-Fa-f.]*){2,8})$',
  'must be a host name or an IP address, without port or brackets',
);
const FOLDER_NAME = worded('^[^\\u0000-\\u001f\\u007f]*$', 'must not hold control characters');
const EVERY = worded('^[1-9][0-9]*[smhd]$', 'must be a number and a unit, as 15m');

export const Host = (options: object = {}) =>
  Type.String({ minLength: 1, maxLength: 253, pattern: HOST, ...options });
export const FolderName = () => Type.String({ minLength: 1, maxLength: 1000, pattern: FOLDER_NAME });
export const Every = () => Type.String({ pattern: EVERY });
export const Time = (options: object = {}) => Type.String({ format: 'date-time', ...options });
export const Count = (options: object = {}) => Type.Integer({ minimum: 0, ...options });
export const Bytes = (options: object = {}) => Type.Integer({ minimum: 0, description: 'bytes', ...options });

/** The shape of every list. */
export function pageOf<S extends TSchema>(item: S, $id: string) {
  return Type.Object(
    {
      items: Type.Array(ref(item)),
      nextCursor: nullable(Type.String({ description: 'for `cursor` of the next call; null at the end' })),
      total: Count(),
    },
    { $id },
  );
}

export const Id = Type.Object({ id: Type.String({ examples: ['mig_01j9x3k8'] }) });
export type Id = Static<typeof Id>;

/** For calls that take no query: an unknown parameter is refused, not ignored. */
export const NoQuery = Type.Object({}, { additionalProperties: false });
/** For calls that take no body; an empty object is fine. */
export const NoBody = Type.Unsafe<null | Record<string, never>>({
  type: ['object', 'null'],
  additionalProperties: false,
});

/** Not closed: a request has other headers as well. */
export const EventStreamHeaders = Type.Object({
  'last-event-id': Type.Optional(
    Type.String({ description: 'goes on behind this event; `reset` where that is no longer possible' }),
  ),
});
export const PostHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({ description: 'the same key and request get the same answer for 24 hours' }),
  ),
});
