import type { FastifyPluginAsync } from 'fastify';
import { auth } from '../plugins/auth.ts';
import { idempotency } from '../plugins/idempotency.ts';
import { health } from './health.ts';
import { root } from './root.ts';
import { events } from './v1/events.ts';
import { action } from './v1/migrations/_id/action.ts';
import { credentials } from './v1/migrations/_id/credentials.ts';
import { migrationEvents } from './v1/migrations/_id/events.ts';
import { migration } from './v1/migrations/_id/index.ts';
import { messages } from './v1/migrations/_id/messages.ts';
import { report } from './v1/migrations/_id/report.ts';
import { runs } from './v1/migrations/_id/runs.ts';
import { migrations } from './v1/migrations/index.ts';

/** Every route; a file's path is the URL that it serves. */
export const routes: FastifyPluginAsync = async (app) => {
  await app.register(root);
  await app.register(health, { prefix: '/health' });
  await app.register(v1, { prefix: '/v1' });
};

const v1: FastifyPluginAsync = async (app) => {
  await app.register(auth);
  await app.register(idempotency);
  await app.register(events, { prefix: '/events' });
  await app.register(migrations, { prefix: '/migrations' });
  for (const route of [migration, action, credentials, messages, runs, report, migrationEvents]) {
    await app.register(route, { prefix: '/migrations/:id' });
  }
};
