import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Static } from 'typebox';
import type { ListQuery } from '../../../../domain/migrations.ts';
import { json, jsonWithLocation, v1Problems } from '../../../answers.ts';
import { duplicateMigration } from '../../../change.ts';
import { checkedCursor } from '../../../cursor.ts';
import { draftOf } from '../../../draft.ts';
import { NoQuery, PostHeaders, ref } from '../../../schemas/base.ts';
import { Migration, MigrationInput, MigrationListQuery, MigrationPage } from '../../../schemas/migration.ts';

const common = { tags: ['migrations'], security: [{ key: [] }] };

/** `/v1/migrations`: create and list. */
export const migrations: FastifyPluginAsyncTypebox = async (app) => {
  const { services } = app;

  app.post(
    '',
    {
      schema: {
        ...common,
        operationId: 'createMigration',
        summary: 'Queue a migration',
        headers: PostHeaders,
        querystring: NoQuery,
        body: ref(MigrationInput),
        response: { 202: jsonWithLocation('queued', Migration), ...v1Problems(409, 413, 415, 422) },
      },
    },
    async (request, reply) => {
      const { draft, credentials } = draftOf(request.body, services.policy);
      const creation = await services.migrations.create(request.caller.tenant, draft, credentials);
      if (creation.kind === 'duplicate') throw duplicateMigration(creation.id);
      const { migration } = creation;
      return reply.code(202).header('location', `/v1/migrations/${migration.id}`).send(migration);
    },
  );

  app.get(
    '',
    {
      schema: {
        ...common,
        operationId: 'listMigrations',
        summary: 'List migrations',
        querystring: MigrationListQuery,
        response: { 200: json('a page of them', MigrationPage), ...v1Problems() },
      },
    },
    (request) => checkedCursor(services.store.list(request.caller.tenant, listQuery(request.query))),
  );
};

function listQuery({ createdAfter, createdBefore, ...query }: Static<typeof MigrationListQuery>): ListQuery {
  return {
    ...query,
    ...(createdAfter !== undefined && { createdAfter: new Date(createdAfter) }),
    ...(createdBefore !== undefined && { createdBefore: new Date(createdBefore) }),
  };
}
