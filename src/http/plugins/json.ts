import { isUtf8 } from 'node:buffer';
import fp from 'fastify-plugin';
import { ProblemError } from '../problems.ts';

/**
 * The one body type: JSON, in UTF-8. No body at all is fine where a call needs none, whatever Content-Type says.
 * The parser's own messages quote the text, which may hold a password; they go nowhere.
 */
export const json = fp(async (app) => {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    if (body.length === 0) return done(null, undefined);
    if (!isUtf8(body)) return done(notJson(': it is not UTF-8'), undefined);
    const text = body.toString();
    parse(request, text, (error, parsed) => {
      if (error !== null) done(notJson(placeOf(error)), undefined);
      else if (SURROGATE.test(text) && !isWellFormed(parsed)) done(notJson(HALF_PAIR), undefined);
      else done(null, parsed);
    });
  });
});

// Half a surrogate pair cannot be written in UTF-8, so it would reach the server as something else (RFC 8259
// section 8.2). It can only have come in escaped.
const SURROGATE = /\\u[dD][89a-fA-F]/;
const HALF_PAIR = ': it holds half of a surrogate pair';

function isWellFormed(value: unknown): boolean {
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(value).every(([name, member]) => name.isWellFormed() && isWellFormed(member));
}

function placeOf(error: Error): string {
  const place = /position \d+( \(line \d+ column \d+\))?/.exec(error.message)?.[0];
  return place === undefined ? '' : `: see ${place}`;
}

function notJson(why: string): ProblemError {
  const violation = { pointer: '', code: 'invalid_json', detail: 'is not valid JSON' };
  return new ProblemError('invalid_request', `The body is not valid JSON${why}.`, { errors: [violation] });
}
