import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply } from 'fastify';
import { JSON_TYPE, json, v1Problems } from '../../../../answers.ts';
import { unknownMigration } from '../../../../change.ts';
import { ProblemError } from '../../../../problems.ts';
import { csvReport, jsonReport, messagesOf, type Serializers } from '../../../../report.ts';
import { Id, NoQuery, ref } from '../../../../schemas/base.ts';
import { Migration } from '../../../../schemas/migration.ts';
import { Message, Report, Run } from '../../../../schemas/result.ts';

const CSV_TYPE = 'text/csv';

/** `GET /v1/migrations/{id}/report`: the whole result, as JSON or as a table. */
export const report: FastifyPluginAsyncTypebox = async (app) => {
  const { store } = app.services;
  const { description, content } = json('the whole result', Report);

  app.get(
    '/report',
    {
      exposeHeadRoute: false,
      schema: {
        operationId: 'getReport',
        summary: 'The whole result',
        tags: ['migrations'],
        security: [{ key: [] }],
        params: Id,
        querystring: NoQuery,
        response: {
          200: { description, content: { ...content, [CSV_TYPE]: { schema: { type: 'string' } } } },
          ...v1Problems(404, 406),
        },
      },
    },
    async (request, reply) => {
      const { caller, params } = request;
      const { id } = params;
      const type = request.accepts().type([JSON_TYPE, CSV_TYPE]);
      if (type === false) throw new ProblemError('not_acceptable', `Accept ${JSON_TYPE} or ${CSV_TYPE}.`);
      const migration = await store.get(caller.tenant, id);
      const runs = await store.runs(caller.tenant, id);
      if (migration === null || runs === null) throw unknownMigration(id);
      const messages = messagesOf(store, caller.tenant, id);
      reply.header('vary', 'accept');
      return type === CSV_TYPE
        ? reply
            .type(`${CSV_TYPE}; charset=utf-8`)
            .header('content-disposition', `attachment; filename="${migration.id}.csv"`)
            .send(csvReport(migration, messages))
        : reply
            .type(`${JSON_TYPE}; charset=utf-8`)
            .send(jsonReport(migration, runs, messages, serializers(reply)));
    },
  );
};

// Constants, because Fastify compiles a serializer once per schema object.
const BY_SCHEMA = { migration: { ...ref(Migration) }, run: { ...ref(Run) }, message: { ...ref(Message) } };

function serializers(reply: FastifyReply): Serializers {
  const by = (schema: Record<string, unknown>) => {
    const serialize = reply.compileSerializationSchema(schema);
    return (value: object) => serialize({ ...value });
  };
  return { migration: by(BY_SCHEMA.migration), run: by(BY_SCHEMA.run), message: by(BY_SCHEMA.message) };
}
