import { STATUS_CODES } from 'node:http';
import type { ErrorObject } from 'ajv';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { PROBLEMS, ProblemError } from '../problems.ts';
import type { Problem } from '../schemas/problem.ts';
import { type RequestPart, violations } from '../violations.ts';

/** Every answer that is no success is an RFC 9457 problem document; a fault of ours tells only the log why. */
export const problem = fp(async (app) => {
  app.setErrorHandler((thrown: FastifyError, request, reply) => {
    const error = invalid(thrown) ?? ProblemError.from(thrown);
    if (error.status >= 500) request.log.error({ err: error.cause ?? error }, error.code);
    return sendProblem(error, request, reply);
  });

  const methods = new Map<string, Set<string>>();
  app.addHook('onRoute', (route) => {
    const known = methods.get(route.url) ?? new Set();
    for (const method of [route.method].flat()) known.add(method);
    methods.set(route.url, known);
  });
  app.setNotFoundHandler((request, reply) =>
    sendProblem(notFound(request, allowedMethods(methods, pathOf(request))), request, reply),
  );
});

/** A failed schema, if that is what was thrown. */
function invalid(thrown: FastifyError): ProblemError | null {
  if (thrown.validation === undefined) return null;
  const part = (thrown.validationContext ?? 'body') as RequestPart;
  const errors = violations(thrown.validation as unknown as ErrorObject[], part);
  const detail = errors.map((error) => `${error.pointer || 'the body'} ${error.detail}`).join('; ');
  return new ProblemError('invalid_request', `${detail}.`, { errors });
}

function notFound(request: FastifyRequest, allowed: readonly string[]): ProblemError {
  const path = pathOf(request);
  if (allowed.length === 0) return new ProblemError('not_found', `Nothing is at ${path}.`);
  const list = allowed.join(', ');
  return new ProblemError('method_not_allowed', `${path} takes ${list}.`, { headers: { allow: list } });
}

/** Ids have a prefix, so that `/v1/migrations/actions` is no migration. */
function allowedMethods(methods: ReadonlyMap<string, ReadonlySet<string>>, path: string): string[] {
  for (const [url, known] of methods) {
    const pattern = url.replaceAll('.', '\\.').replaceAll(/:\w+/g, '[a-z]+_[^/]+');
    if (!url.includes('*') && new RegExp(`^${pattern}$`).test(path)) return [...known].sort();
  }
  return [];
}

export function pathOf(request: FastifyRequest): string {
  return request.url.split('?', 1)[0] ?? request.url;
}

export function sendProblem(error: ProblemError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { status, title } = PROBLEMS[error.code];
  const document: Problem = {
    type: `urn:popbridge:problem:${error.code}`,
    title,
    status,
    code: error.code,
    detail: error.detail,
    instance: pathOf(request),
    requestId: request.id,
    ...(error.errors === undefined ? {} : { errors: [...error.errors] }),
    ...error.members,
  };
  return (
    reply
      .code(status)
      // A path that cannot be decoded gets here without passing any hook.
      .header('x-request-id', request.id)
      .headers(error.headers)
      .type('application/problem+json')
      // As bytes, because Fastify adds to a string's type a charset, which this type does not have.
      .send(Buffer.from(JSON.stringify(document)))
  );
}

/** What cannot even be parsed as HTTP has no request and no reply: a whole answer, for the bare socket. */
export function rawProblem(code: string | undefined, requestId: string): string {
  const error =
    code === 'HPE_HEADER_OVERFLOW'
      ? new ProblemError('headers_too_large', 'At most 16 KiB of header fields are taken.')
      : code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? new ProblemError('request_timeout', 'Send the request faster.')
        : new ProblemError('invalid_request', 'This is not HTTP/1.1.');
  const { status, title } = PROBLEMS[error.code];
  const type = `urn:popbridge:problem:${error.code}`;
  const body = JSON.stringify({ type, title, status, code: error.code, detail: error.detail, requestId });
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-Id: ${requestId}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}
