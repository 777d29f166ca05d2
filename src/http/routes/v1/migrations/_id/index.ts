import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { empty, json, v1Problems } from '../../../../answers.ts';
import { changed, unknownMigration } from '../../../../change.ts';
import { patchedOptions } from '../../../../draft.ts';
import { Id, NoBody, NoQuery, ref } from '../../../../schemas/base.ts';
import { Migration, MigrationPatch } from '../../../../schemas/migration.ts';

const common = { tags: ['migrations'], security: [{ key: [] }], params: Id, querystring: NoQuery };

/** `/v1/migrations/{id}`: get, change, erase. */
export const migration: FastifyPluginAsyncTypebox = async (app) => {
  const { store } = app.services;

  app.get(
    '',
    {
      schema: {
        ...common,
        operationId: 'getMigration',
        summary: 'One migration',
        response: { 200: json('it', Migration), ...v1Problems(404) },
      },
    },
    async ({ params: { id }, caller }) => {
      const found = await store.get(caller.tenant, id);
      if (found === null) throw unknownMigration(id);
      return found;
    },
  );

  app.patch(
    '',
    {
      schema: {
        ...common,
        operationId: 'patchMigration',
        summary: 'Change label, options, schedule',
        body: ref(MigrationPatch),
        response: {
          200: json('as changed; at work from the next run on', Migration),
          ...v1Problems(404, 409, 413, 415, 422),
        },
      },
    },
    async ({ params: { id }, caller, body }) => {
      const found = await store.get(caller.tenant, id);
      if (found === null) throw unknownMigration(id);
      const touched = body.options !== undefined || body.schedule !== undefined;
      const change = {
        ...(body.label !== undefined && { label: body.label }),
        ...(touched && { options: patchedOptions(found.options, body) }),
      };
      return changed(await store.patch(caller.tenant, id, change), id, 'change');
    },
  );

  app.delete(
    '',
    {
      schema: {
        ...common,
        operationId: 'deleteMigration',
        summary: 'Erase record, journal and credentials',
        body: NoBody,
        response: {
          202: empty('as soon as a worker lets go'),
          204: empty('erased'),
          ...v1Problems(404),
        },
      },
    },
    async ({ params: { id }, caller }, reply) => {
      const erased = await store.erase(caller.tenant, id);
      if (erased === 'unknown') throw unknownMigration(id);
      return reply.code(erased === 'erased' ? 204 : 202).send();
    },
  );
};
