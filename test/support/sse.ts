import { createParser, type EventSourceMessage } from 'eventsource-parser';

export interface EventStream {
  status: number;
  headers: Headers;
  /** What has come so far. */
  events: EventSourceMessage[];
  comments: number;
  /** Resolves when the server has ended the stream; rejects when it was cut. */
  ended: Promise<void>;
  /** Goes away, as a browser tab that is closed. */
  leave(): void;
}

/** An open event stream, read by a parser that is not ours. */
export async function openEvents(url: string, headers: Record<string, string>): Promise<EventStream> {
  const gone = new AbortController();
  const response = await fetch(url, { headers, signal: gone.signal });
  const stream: EventStream = {
    status: response.status,
    headers: response.headers,
    events: [],
    comments: 0,
    ended: Promise.resolve(),
    leave: () => gone.abort(),
  };
  const parser = createParser({
    onEvent: (event) => stream.events.push(event),
    onComment: () => stream.comments++,
  });
  stream.ended = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) parser.feed(decoder.decode(chunk, { stream: true }));
  })();
  // Whoever leaves does not wait for the end.
  stream.ended.catch(() => {});
  return stream;
}
