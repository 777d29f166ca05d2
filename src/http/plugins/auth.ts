import { createHash } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import type { Caller } from '../../domain/migrations.ts';
import { ProblemError } from '../problems.ts';

// RFC 6750 section 2.1.
const BEARER = /^Bearer +([A-Za-z0-9._~+/-]+=*) *$/i;
const READS = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Every call of the scope it is registered in needs a key: GET one that may read, the others one that may write. */
export const auth = fp(async (app) => {
  app.decorateRequest('caller');
  app.decorateRequest('callerSecret');
  app.addHook('onRequest', async (request) => {
    const bearer = bearerOf(request);
    const caller = await app.services.keys.authenticate(bearer);
    if (caller === null) throw unauthorized('The API key is not known.', 'Bearer error="invalid_token"');
    requireScope(caller, READS.has(request.method) ? 'read' : 'write');
    request.caller = caller;
    request.callerSecret = createHash('sha256').update(`caller secret\n${bearer}`).digest();
  });
});

function bearerOf(request: FastifyRequest): string {
  const bearer = BEARER.exec(request.headers.authorization ?? '')?.[1];
  if (bearer === undefined) throw unauthorized('Send Authorization: Bearer KEY.', 'Bearer');
  return bearer;
}

function unauthorized(detail: string, challenge: string): ProblemError {
  return new ProblemError('unauthorized', detail, { headers: { 'www-authenticate': challenge } });
}

/** `admin` includes the others. */
function requireScope(caller: Caller, scope: 'read' | 'write'): void {
  if (caller.scopes.includes(scope) || caller.scopes.includes('admin')) return;
  throw new ProblemError('forbidden', `This call needs a key with the scope "${scope}".`, {
    headers: { 'www-authenticate': `Bearer error="insufficient_scope", scope="${scope}"` },
  });
}
