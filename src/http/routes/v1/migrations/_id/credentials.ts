import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { json, v1Problems } from '../../../../answers.ts';
import { changed } from '../../../../change.ts';
import { credentialsOf } from '../../../../draft.ts';
import { Id, NoQuery, ref } from '../../../../schemas/base.ts';
import { CredentialsInput, Migration } from '../../../../schemas/migration.ts';

/** `PUT /v1/migrations/{id}/credentials`: replaces those of either or both sides. */
export const credentials: FastifyPluginAsyncTypebox = async (app) => {
  app.put(
    '/credentials',
    {
      schema: {
        operationId: 'putCredentials',
        summary: 'Give new credentials; what waits for them goes on',
        tags: ['migrations'],
        security: [{ key: [] }],
        params: Id,
        querystring: NoQuery,
        body: ref(CredentialsInput),
        response: { 200: json('it, as changed', Migration), ...v1Problems(404, 409, 413, 415, 422) },
      },
    },
    async ({ params: { id }, caller, body }) => {
      const change = await app.services.migrations.putCredentials(caller.tenant, id, credentialsOf(body));
      return changed(change, id, 'credentials');
    },
  );
};
