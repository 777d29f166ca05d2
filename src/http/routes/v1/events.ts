import type { FastifyPluginAsync } from 'fastify';
import { media, v1Problems } from '../../answers.ts';
import { EventStreamHeaders, NoQuery } from '../../schemas/base.ts';

/** `GET /v1/events`: what happens to all of the caller's migrations. */
export const events: FastifyPluginAsync = async (app) => {
  app.get(
    '',
    {
      exposeHeadRoute: false,
      schema: {
        operationId: 'streamEvents',
        summary: 'Events of all migrations',
        tags: ['events'],
        security: [{ key: [] }],
        querystring: NoQuery,
        headers: EventStreamHeaders,
        response: {
          200: media('`migration`, `message` and `reset` events', 'text/event-stream'),
          ...v1Problems(),
        },
      },
    },
    (request, reply) => app.sendEvents(request, reply, () => true),
  );
};
