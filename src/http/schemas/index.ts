import type { TSchema } from 'typebox';
import * as endpoint from './endpoint.ts';
import * as migration from './migration.ts';
import * as options from './options.ts';
import * as problem from './problem.ts';
import * as result from './result.ts';

const exported: unknown[] = [problem, endpoint, options, migration, result].flatMap((module) =>
  Object.values(module),
);

/** Every schema with a name: the components of the OpenAPI document, known to validators and serializers. */
export const COMPONENTS = exported.filter(
  (schema): schema is TSchema & { $id: string } =>
    typeof schema === 'object' && schema !== null && '$id' in schema && typeof schema.$id === 'string',
);
