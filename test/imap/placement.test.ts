import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { startDovecot } from '../support/dovecot.ts';
import { appendAll, openOn, outgoing } from '../support/imap-target.ts';

describe('what the destination is told of a message', () => {
  it('arrives: internal dates and flags', async () => {
    await using dovecot = await startDovecot();
    await using session = await openOn(dovecot);
    const dates = [
      '1970-01-01T00:00:01Z',
      '2001-02-03T04:05:06Z',
      '2024-02-29T23:59:59Z',
      '1999-12-31T23:59:59Z',
    ];
    const group = dates.map((date) => outgoing(`Subject: ${date}\r\n\r\n`, { internalDate: new Date(date) }));
    const flagged = outgoing('Subject: flags\r\n\r\n', { flags: ['\\Seen', '\\Answered', '\\Flagged'] });
    const drafts = outgoing('Subject: draft\r\n\r\n', { flags: ['\\Draft', '\\Deleted'] });
    await appendAll(session, [...group, flagged, drafts]);
    const fetched = await dovecot.doveadm(
      '-f',
      'tab',
      'fetch',
      '-u',
      'alice',
      'date.received.unixtime flags',
      'all',
    );
    const rows = fetched.trim().split('\n').slice(1);
    assert.deepEqual(
      rows.slice(0, dates.length).map((row) => Number(row.split('\t')[0])),
      dates.map((date) => Date.parse(date) / 1_000),
    );
    assert.deepEqual(
      rows.map((row) =>
        (row.split('\t')[1] ?? '').split(' ').filter((flag) => !['', '\\Recent'].includes(flag)),
      ),
      [...dates.map(() => []), ['\\Answered', '\\Flagged', '\\Seen'], ['\\Deleted', '\\Draft']],
    );
  });

  it('is taken to the last second of 2037, though Dovecot stores now for what is to come', async () => {
    await using dovecot = await startDovecot();
    await using session = await openOn(dovecot);
    const internalDate = new Date('2037-12-31T23:59:59Z');
    assert.equal((await appendAll(session, [outgoing('Subject: late\r\n\r\n', { internalDate })])).length, 1);
  });

  it('does not take the mark of new mail away from the owner', async () => {
    await using dovecot = await startDovecot();
    await using session = await openOn(dovecot);
    await appendAll(session, [outgoing('Subject: new\r\n\r\n')]);
    await session.scan(session.folder.uidNext, null, new AbortController().signal);
    await session.close();
    assert.match(await dovecot.doveadm('fetch', '-u', 'alice', 'flags', 'all'), /\\Recent/);
  });
});
