import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { json, v1Problems } from '../../../../answers.ts';
import { unknownMigration } from '../../../../change.ts';
import { checkedCursor } from '../../../../cursor.ts';
import { Id } from '../../../../schemas/base.ts';
import { MessageListQuery, MessagePage } from '../../../../schemas/result.ts';

/** `GET /v1/migrations/{id}/messages`: the exceptions, or every message with `options.manifest`. */
export const messages: FastifyPluginAsyncTypebox = async (app) => {
  app.get(
    '/messages',
    {
      schema: {
        operationId: 'listMessages',
        summary: 'How single messages fared',
        tags: ['migrations'],
        security: [{ key: [] }],
        params: Id,
        querystring: MessageListQuery,
        response: { 200: json('a page of them', MessagePage), ...v1Problems(404) },
      },
    },
    async ({ params: { id }, caller, query }) => {
      const page = await checkedCursor(app.services.store.messages(caller.tenant, id, query));
      if (page === null) throw unknownMigration(id);
      return page;
    },
  );
};
