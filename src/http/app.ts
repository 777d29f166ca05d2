import accepts from '@fastify/accepts';
import fastify, { type FastifyInstance, LogController } from 'fastify';
import { closing } from './plugins/closing.ts';
import { docs } from './plugins/docs.ts';
import { headers } from './plugins/headers.ts';
import { json } from './plugins/json.ts';
import { problem, rawProblem, sendProblem } from './plugins/problem.ts';
import { streams } from './plugins/streams.ts';
import { validation } from './plugins/validation.ts';
import { ProblemError } from './problems.ts';
import { requestId } from './request-id.ts';
import { routes } from './routes/index.ts';
import type { HttpConfig, HttpServices } from './services.ts';

/**
 * The API over the given services, not yet listening. `close()` ends event streams, lets other answers finish and
 * is bounded by `config.closeMs`; the services stay open.
 */
export function buildApp(services: HttpServices, config: HttpConfig): FastifyInstance {
  const app = fastify({
    loggerInstance: config.logger,
    requestIdHeader: false,
    logController: new LogController({ requestIdLogLabel: 'requestId' }),
    genReqId: requestId,
    serializerOpts: { ajv: { strictTypes: false } },
    // A request on a connection that is already open is served: its services close after this server.
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => sendProblem(ProblemError.from(error), request, reply),
    clientErrorHandler: (error, socket) => {
      if (socket.writable) socket.end(rawProblem(error.code, requestId({ headers: {} })));
    },
  });
  app.decorate('services', services);
  app.register(headers);
  app.register(problem);
  app.register(json);
  app.register(validation);
  app.register(accepts);
  app.register(closing, { closeMs: config.closeMs ?? 5_000 });
  app.register(streams, { heartbeatMs: config.heartbeatMs ?? 15_000 });
  app.register(docs);
  app.register(routes);
  return app;
}
