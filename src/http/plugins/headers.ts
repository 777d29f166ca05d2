import fp from 'fastify-plugin';

/** On every answer: the request id, and that browsers neither guess types nor keep what is private. */
export const headers = fp(async (app) => {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id).header('x-content-type-options', 'nosniff');
    if (request.url.startsWith('/v1/')) reply.header('cache-control', 'no-store');
  });
});
