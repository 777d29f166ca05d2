import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { MigrationAction } from '../../../../../domain/state.ts';
import { jsonWithLocation, v1Problems } from '../../../../answers.ts';
import { changed } from '../../../../change.ts';
import { Id, NoBody, NoQuery, PostHeaders } from '../../../../schemas/base.ts';
import { Migration } from '../../../../schemas/migration.ts';

const SUMMARIES: Record<MigrationAction, string> = {
  pause: 'Stop after the group in hand, until resumed',
  resume: 'Go on',
  cancel: 'Stop after the group in hand, for good',
  retry: 'Try again what has ended, its failures included',
};

/** `POST /v1/migrations/{id}/pause`, `/resume`, `/cancel`, `/retry`. */
export const action: FastifyPluginAsyncTypebox = async (app) => {
  const { migrations } = app.services;

  for (const [name, summary] of Object.entries(SUMMARIES) as [MigrationAction, string][]) {
    app.post(
      `/${name}`,
      {
        schema: {
          operationId: `${name}Migration`,
          summary,
          tags: ['migrations'],
          security: [{ key: [] }],
          headers: PostHeaders,
          params: Id,
          querystring: NoQuery,
          body: NoBody,
          response: { 202: jsonWithLocation('it, as changed', Migration), ...v1Problems(404, 409) },
        },
      },
      async ({ params: { id }, caller }, reply) => {
        const migration = changed(await migrations.act(caller.tenant, id, name), id, name);
        return reply.code(202).header('location', `/v1/migrations/${migration.id}`).send(migration);
      },
    );
  }
};
