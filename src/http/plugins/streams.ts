import { PassThrough } from 'node:stream';
import fp from 'fastify-plugin';
import type { FeedEvent } from '../../domain/migrations.ts';
import { COMMENT, eventsFor, eventText, RETRY, writeAll } from '../sse.ts';

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Answers with those of the caller's events that `wanted` lets through, as server-sent events, from
     * `Last-Event-ID` on, until the client goes or the server closes.
     */
    sendEvents(
      request: FastifyRequest,
      reply: FastifyReply,
      wanted: (event: FeedEvent) => boolean,
    ): FastifyReply;
  }
}

export interface StreamsOptions {
  heartbeatMs: number;
}

/** Event streams never end by themselves, so they and the end of the server belong in one place. */
export const streams = fp<StreamsOptions>(async (app, { heartbeatMs }) => {
  const closing = new AbortController();

  app.decorate('sendEvents', (request, reply, wanted) => {
    const gone = new AbortController();
    const signal = AbortSignal.any([gone.signal, closing.signal]);
    const out = new PassThrough();
    const heart = setInterval(() => out.readableLength === 0 && out.write(COMMENT), heartbeatMs);
    const end = () => {
      clearInterval(heart);
      out.end();
    };
    out.once('close', () => gone.abort());
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    else {
      out.write(RETRY);
      const events = eventsFor(app.services.feed, request, signal);
      writeAll(events, (event) => (wanted(event) ? eventText(event) : null), out, signal)
        .catch((error: unknown) => {
          if (!signal.aborted) request.log.warn({ err: error }, 'event stream broke off');
        })
        .finally(end);
    }
    return (
      reply
        .type('text/event-stream')
        .header('x-accel-buffering', 'no')
        // Kept alive, the connection would outlast its stream and hold up a server that closes.
        .header('connection', 'close')
        .send(out)
    );
  });

  app.addHook('preClose', async () => closing.abort());
});
