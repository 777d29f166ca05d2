import { createHmac } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import type { IdempotencyState, KeptAnswer } from '../../domain/migrations.ts';
import { ProblemError } from '../problems.ts';

const KEPT_HEADERS = ['content-type', 'location'];
const SANE_KEY = /^[\x21-\x7e]{1,255}$/;

declare module 'fastify' {
  interface FastifyRequest {
    /** Set while this request is the first under its Idempotency-Key. */
    idempotencyKey: string | null;
  }
}

/**
 * `Idempotency-Key` on POST: each API key has its own names. Only a success is kept: a refusal changed nothing,
 * so the same request may come again and be served.
 */
export const idempotency = fp(async (app) => {
  const store = app.services.idempotency;
  app.decorateRequest('idempotencyKey', null);

  app.addHook('preHandler', async (request, reply) => {
    const key = keyOf(request);
    if (key === null) return;
    const state = await store.begin(request.caller.tenant, key, digest(request));
    const answer = answerFor(state);
    if (answer === null) request.idempotencyKey = key;
    else return reply.code(answer.status).headers(answer.headers).send(answer.body);
  });

  app.addHook('onSend', async (request, reply, payload) => {
    const key = request.idempotencyKey;
    if (key === null) return;
    request.idempotencyKey = null;
    const { tenant } = request.caller;
    const success = reply.statusCode < 300 && typeof payload === 'string';
    const settled = success ? store.keep(tenant, key, kept(reply, payload)) : store.forget(tenant, key);
    // What was asked for is done: an answer that could not be kept is no reason to withhold it.
    await settled.catch((error: unknown) => request.log.error({ err: error }, 'idempotency answer not kept'));
  });
});

function keyOf(request: FastifyRequest): string | null {
  const given = request.headers['idempotency-key'];
  if (request.method !== 'POST' || given === undefined) return null;
  if (typeof given === 'string' && SANE_KEY.test(given)) return `${request.caller.keyId}:${given}`;
  const detail = 'must be 1 to 255 printable ASCII characters without spaces';
  const errors = [{ pointer: '/headers/idempotency-key', code: 'invalid_format', detail }];
  throw new ProblemError('invalid_request', `Idempotency-Key ${detail}.`, { errors });
}

/** The stored answer to give again, or null: go on. */
function answerFor(state: IdempotencyState): KeptAnswer | null {
  switch (state.kind) {
    case 'fresh':
      return null;
    case 'replay':
      return state.answer;
    case 'mismatch':
      throw new ProblemError('idempotency_mismatch', 'Use a new key for another request.');
    case 'pending':
      throw new ProblemError('idempotency_in_progress', 'Ask again in a second.', {
        headers: { 'retry-after': '1' },
      });
  }
}

/** Keyed by the caller's own secret: a plain digest of a body that holds a password invites guessing. */
function digest(request: FastifyRequest): string {
  const asked = [request.method, request.url, canonical(request.body)];
  return createHmac('sha256', request.callerSecret).update(JSON.stringify(asked)).digest('hex');
}

/** The same members in another order are the same body. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return members.map(([name, member]) => [name, canonical(member)]);
}

function kept(reply: FastifyReply, body: string): KeptAnswer {
  const headers = KEPT_HEADERS.flatMap((name) => {
    const value = reply.getHeader(name);
    return value === undefined ? [] : [[name, String(value)] as const];
  });
  return { status: reply.statusCode, headers: Object.fromEntries(headers), body };
}
