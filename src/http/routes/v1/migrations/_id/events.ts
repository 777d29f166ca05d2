import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { media, v1Problems } from '../../../../answers.ts';
import { unknownMigration } from '../../../../change.ts';
import { EventStreamHeaders, Id, NoQuery } from '../../../../schemas/base.ts';

/** `GET /v1/migrations/{id}/events`: what happens to one migration. */
export const migrationEvents: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/events',
    {
      exposeHeadRoute: false,
      schema: {
        operationId: 'streamMigrationEvents',
        summary: 'Events of one migration',
        tags: ['events'],
        security: [{ key: [] }],
        params: Id,
        querystring: NoQuery,
        headers: EventStreamHeaders,
        response: {
          200: media('`migration`, `message` and `reset` events', 'text/event-stream'),
          ...v1Problems(404),
        },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      if ((await app.services.store.get(request.caller.tenant, id)) === null) throw unknownMigration(id);
      return app.sendEvents(request, reply, (event) => event.type === 'reset' || event.migrationId === id);
    },
  );
};
