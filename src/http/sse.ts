import { once } from 'node:events';
import type { Writable } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import type { EventFeed, FeedEvent } from '../domain/migrations.ts';

/** A line that says nothing and keeps proxies from closing the connection. */
export const COMMENT = ':\n\n';
/** How soon a browser should come back after a break, milliseconds. */
export const RETRY = 'retry: 2000\n\n';

// What the feed gives out: ids of a Redis stream.
const EVENT_ID = /^\d{1,20}-\d{1,20}$/;

/** One event as it goes over the wire (HTML standard, section 9.2.6). */
export function eventText(event: FeedEvent): string {
  return `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event.data ?? {})}\n\n`;
}

/** The feed from where the caller left off. An id that we never gave out is answered as one that is too old. */
export function eventsFor(
  feed: EventFeed,
  request: FastifyRequest,
  signal: AbortSignal,
): AsyncIterable<FeedEvent> {
  const last = request.headers['last-event-id'] ?? null;
  const known = typeof last === 'string' && EVENT_ID.test(last) ? last : null;
  // Subscribed before anything is said: what happens while the caller fetches anew must not be missed.
  const events = feed.subscribe(request.caller.tenant, known, signal);
  return last === known ? events : afterReset(events);
}

async function* afterReset(events: AsyncIterable<FeedEvent>): AsyncGenerator<FeedEvent> {
  yield { id: '', type: 'reset', migrationId: null, data: {} };
  yield* events;
}

/** Writes what `text` makes of each item (null: nothing), no faster than the other side reads. */
export async function writeAll<T>(
  items: AsyncIterable<T>,
  text: (item: T) => string | null,
  out: Writable,
  signal: AbortSignal,
): Promise<void> {
  for await (const item of items) {
    const chunk = text(item);
    if (signal.aborted) return;
    if (chunk !== null && !out.write(chunk)) await once(out, 'drain', { signal });
  }
}
