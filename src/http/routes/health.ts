import { setTimeout as after } from 'node:timers/promises';
import type { FastifyPluginAsync } from 'fastify';
import { Type } from 'typebox';
import { problems } from '../answers.ts';
import { storeUnavailable } from '../problems.ts';

const PATIENCE_MS = 2_000;

const Status = Type.Object({ status: Type.Literal('ok') });
const schema = (operationId: string, summary: string) => ({
  operationId,
  summary,
  tags: ['service'],
  security: [],
});

/** `/health/live`: this process serves; `/health/ready`: Redis answers too. */
export const health: FastifyPluginAsync = async (app) => {
  const ok = { description: 'yes', content: { 'application/json': { schema: Status } } };

  app.get(
    '/live',
    {
      logLevel: 'warn',
      schema: { ...schema('getLiveness', 'Does the process serve?'), response: { 200: ok } },
    },
    async () => ({ status: 'ok' }),
  );

  app.get(
    '/ready',
    {
      logLevel: 'warn',
      schema: { ...schema('getReadiness', 'Does Redis answer?'), response: { 200: ok, ...problems(503) } },
    },
    async () => {
      if (!(await answersInTime(() => app.services.ready()))) throw storeUnavailable();
      return { status: 'ok' };
    },
  );
};

/** A client that queues commands while Redis is away answers too late, or throws: both mean no. */
async function answersInTime(ready: () => Promise<boolean>): Promise<boolean> {
  const answered = new AbortController();
  const late = after(PATIENCE_MS, false, { signal: answered.signal }).catch(() => false);
  try {
    return await Promise.race([ready(), late]);
  } catch {
    return false;
  } finally {
    answered.abort();
  }
}
