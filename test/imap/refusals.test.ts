import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { farewell, type Phase, refusal, withoutSecrets } from '../../src/imap/refusals.ts';

type Row = [phase: Phase, code: string | null, text: string, error: string, recovery: string, scope: string];

/** Words of real servers, as far as they are known. */
const ROWS: readonly Row[] = [
  ['append', 'OVERQUOTA', 'Quota exceeded (mailbox for user is full)', 'over_quota', 'wait', 'mailbox'],
  ['append', null, 'Quota exceeded', 'over_quota', 'wait', 'mailbox'],
  ['append', null, 'Message would exceed your quota', 'over_quota', 'wait', 'mailbox'],
  [
    'append',
    'LIMIT',
    'Mail size is larger than the maximum size allowed',
    'message_too_large',
    'final',
    'message',
  ],
  ['append', 'TOOBIG', 'Message too large', 'message_too_large', 'final', 'message'],
  ['append', null, 'Message exceeds the maximum size', 'message_too_large', 'final', 'message'],
  ['append', 'TRYCREATE', "Mailbox doesn't exist: x", 'folder_unavailable', 'final', 'mailbox'],
  ['append', null, 'Mailbox does not exist', 'folder_unavailable', 'final', 'mailbox'],
  ['append', 'NOPERM', 'Permission denied', 'permission_denied', 'final', 'mailbox'],
  ['append', null, 'Access denied', 'permission_denied', 'final', 'mailbox'],
  ['append', 'UNAVAILABLE', 'Temporary problem', 'unreachable', 'wait', 'host'],
  ['append', 'SERVERBUG', 'Internal error occurred', 'unreachable', 'wait', 'host'],
  ['append', 'INUSE', 'Mailbox is locked', 'mailbox_locked', 'wait', 'mailbox'],
  ['append', null, 'Too many requests', 'throttled', 'wait', 'host'],
  ['append', 'OVERQUOTA', 'Account exceeded command or bandwidth limits.', 'throttled', 'wait', 'host'],
  ['append', null, 'Invalid message', 'message_refused', 'final', 'message'],
  ['append', null, 'Message contains NUL characters', 'message_refused', 'final', 'message'],
  ['append', 'SOMETHINGNEW', '', 'message_refused', 'final', 'message'],
  ['login', 'AUTHENTICATIONFAILED', 'Invalid credentials', 'authentication_failed', 'final', 'mailbox'],
  ['login', 'AUTHORIZATIONFAILED', 'No such authorization-ID', 'authentication_failed', 'final', 'mailbox'],
  ['login', 'EXPIRED', 'Password expired', 'authentication_failed', 'final', 'mailbox'],
  ['login', null, 'LOGIN failed.', 'authentication_failed', 'final', 'mailbox'],
  ['login', 'LIMIT', 'Too much', 'throttled', 'wait', 'mailbox'],
  ['login', 'ALERT', 'Too many simultaneous connections. (Failure)', 'throttled', 'wait', 'mailbox'],
  ['login', 'UNAVAILABLE', 'Temporary authentication failure', 'unreachable', 'wait', 'host'],
  ['login', 'PRIVACYREQUIRED', 'TLS first', 'authentication_unsupported', 'final', 'mailbox'],
  ['folder', 'CANNOT', 'Invalid mailbox name', 'folder_unavailable', 'final', 'mailbox'],
  ['folder', null, 'Whatever', 'folder_unavailable', 'final', 'mailbox'],
  ['fetch', null, 'Whatever', 'server_refused', 'retry', 'mailbox'],
];

describe('the words of an IMAP server that refuses', () => {
  for (const [phase, code, text, error, recovery, scope] of ROWS)
    it(`"${code ?? ''} ${text}" at ${phase} is ${error}`, () => {
      const found = refusal(phase, { status: 'NO', code, text });
      assert.deepEqual([found.code, found.recovery, found.scope], [error, recovery, scope]);
      assert.equal(found.side, 'destination');
    });

  it('stand in the detail, without control characters and not at any length', () => {
    const found = refusal('append', {
      status: 'BAD',
      code: 'PARSE',
      text: `no\x00\x1b[31m${'x'.repeat(999)}`,
    });
    assert.match(found.detail, /^BAD \[PARSE\] no \[31mxxx/);
    assert.equal(found.detail.length, 300);
  });

  it('tell how long to wait', () => {
    const text = 'Request is throttled. Suggested Backoff Time: 299 milliseconds';
    assert.equal(refusal('append', { status: 'BAD', code: null, text }).waitMs, 299);
  });

  it('of a BYE are a lost connection, or throttling', () => {
    assert.equal(farewell('Server shutting down.').code, 'connection_lost');
    assert.equal(farewell('Too many connections').code, 'throttled');
  });

  it('lose the secrets in them', () => {
    const words = {
      status: 'NO',
      code: null,
      text: `s3cret ${Buffer.from('s3cret').toString('base64')}`,
    } as const;
    assert.equal(withoutSecrets(refusal('login', words), ['s3cret', '']).detail, 'NO *** ***');
  });
});
