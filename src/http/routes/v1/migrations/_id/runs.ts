import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { json, v1Problems } from '../../../../answers.ts';
import { unknownMigration } from '../../../../change.ts';
import { Id, NoQuery } from '../../../../schemas/base.ts';
import { RunPage } from '../../../../schemas/result.ts';

/** `GET /v1/migrations/{id}/runs`: every run there was, always on one page. */
export const runs: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/runs',
    {
      schema: {
        operationId: 'listRuns',
        summary: 'The runs of a migration',
        tags: ['migrations'],
        security: [{ key: [] }],
        params: Id,
        querystring: NoQuery,
        response: { 200: json('all of them', RunPage), ...v1Problems(404) },
      },
    },
    async ({ params: { id }, caller }) => {
      const items = await app.services.store.runs(caller.tenant, id);
      if (items === null) throw unknownMigration(id);
      return { items, nextCursor: null, total: items.length };
    },
  );
};
