import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { FolderChoice } from '../../src/domain/migration.ts';
import { type Dovecot, startDovecot } from '../support/dovecot.ts';
import { type ImapServerOptions, startImapServer } from '../support/imap-server.ts';
import { ALWAYS, appendAll, openOn, outgoing, targetOn } from '../support/imap-target.ts';

describe('a destination folder on Dovecot', () => {
  let dovecot: Dovecot;
  const namespace = [
    'namespace inbox {',
    'prefix = INBOX.',
    'separator = .',
    'mailbox Gesendet {',
    'special_use = \\Sent',
    'auto = create',
    '}',
    'mailbox Trash {',
    'special_use = \\Trash',
    'auto = create',
    '}',
    '}',
  ].join('\n');

  before(async () => {
    dovecot = await startDovecot({ extra: namespace });
  });
  after(() => dovecot.stop());

  const opened = async (folder: FolderChoice) => {
    await using session = await openOn(dovecot, folder);
    await appendAll(session, [outgoing('Subject: x\r\n\r\n')]);
    return session.folder.path;
  };

  it('stands in the personal namespace, with its prefix and delimiter', async () => {
    assert.equal(await opened({ path: ['Archive', '2014'] }), 'INBOX.Archive.2014');
    assert.equal(await opened({ path: ['INBOX', 'Other'] }), 'INBOX.Other');
    assert.equal(await opened({ path: ['Inbox'] }), 'INBOX');
    const made = await dovecot.doveadm('mailbox', 'list', '-u', 'alice');
    assert.match(made, /^INBOX\.Archive\.2014$/m);
    assert.match(made, /^INBOX\.Other$/m);
  });

  it('is subscribed, also when it was there before', async () => {
    await dovecot.doveadm('mailbox', 'create', '-u', 'alice', 'INBOX.There');
    await opened({ path: ['There'] });
    await opened({ path: ['Über & Co', '日本語'] });
    const subscribed = await dovecot.doveadm('mailbox', 'list', '-s', '-u', 'alice');
    assert.match(subscribed, /^INBOX\.There$/m);
    assert.match(subscribed, /^INBOX\.Über & Co\.日本語$/m);
  });

  it('is found by its special use', async () => {
    assert.equal(await opened({ specialUse: 'sent' }), 'INBOX.Gesendet');
  });

  it('is not found by a special use that no folder has, and those that there are, are named', async () => {
    await assert.rejects((await targetOn(dovecot)).open({ specialUse: 'archive' }, ALWAYS), {
      code: 'folder_unavailable',
      detail: 'no folder is marked as "archive"; marked are: sent, trash',
    });
  });

  for (const [what, path, detail] of [
    ['the delimiter', ['a.b'], /"a\.b" holds "\."/],
    ['control characters', ['a\r\nb'], /control characters/],
    ['an empty level', ['a', ''], /empty/],
    ['nothing at all', [], /no name/],
  ] as const)
    it(`is refused before anything is made when its path holds ${what}`, async () => {
      await assert.rejects((await targetOn(dovecot)).open({ path: [...path] }, ALWAYS), {
        code: 'folder_unavailable',
        detail,
      });
    });

  it('that the server will not make is refused in its words', async () => {
    const tooLong = 'x'.repeat(300);
    await assert.rejects((await targetOn(dovecot)).open({ path: [tooLong] }, ALWAYS), {
      code: 'folder_unavailable',
      detail: /^NO /,
    });
  });
});

describe('a destination folder on other servers', () => {
  const open = async (options: ImapServerOptions, folder: FolderChoice) => {
    await using server = await startImapServer(options);
    await using session = await openOn(server, folder);
    return { folder: session.folder, server };
  };

  it('has no levels where the server has no delimiter', async () => {
    await assert.rejects(open({ delimiter: null }, { path: ['a', 'b'] }), {
      code: 'folder_unavailable',
      detail: /no folders inside folders/,
    });
    const { folder } = await open({ delimiter: null }, { path: ['a/b.c'] });
    assert.equal(folder.path, 'a/b.c');
  });

  it('gets the levels above it made where the server does not make them by itself', async () => {
    const made = new Set<string>();
    const { server } = await open(
      {
        respond: ({ name, line }) => {
          if (name !== 'CREATE') return undefined;
          const folder = /"(.*)"/.exec(line)?.[1] ?? '';
          const parent = folder.split('/').slice(0, -1).join('/');
          if (parent !== '' && !made.has(parent)) return ['TAG NO parent is missing'];
          made.add(folder);
          return undefined;
        },
      },
      { path: ['a', 'b', 'c'] },
    );
    assert.deepEqual([...made], ['a', 'a/b', 'a/b/c']);
    assert.ok(server.subscribed.has('a/b/c'));
  });

  it('is found by a usual name where the server marks none', async () => {
    const list = (...names: string[]): ImapServerOptions => ({
      capabilities: ['IMAP4rev1', 'NAMESPACE', 'AUTH=PLAIN'],
      respond: ({ name, line }) =>
        name === 'LIST' && !line.includes('"" ""')
          ? [...names.map((folder) => `* LIST () "/" "${folder}"`), 'TAG OK listed']
          : name === 'EXAMINE'
            ? ['* OK [UIDVALIDITY 7] x', '* OK [UIDNEXT 1] x', 'TAG OK x']
            : undefined,
    });
    const { folder } = await open(list('INBOX', 'Sent', 'Spam'), { specialUse: 'sent' });
    assert.equal(folder.path, 'Sent');
    await assert.rejects(open(list('INBOX', 'Sent'), { specialUse: 'drafts' }), {
      detail: 'no folder is marked as "drafts"; marked are: sent',
    });
  });

  it('tells UIDNEXT by STATUS where EXAMINE does not', async () => {
    const { folder } = await open(
      {
        respond: ({ name }) =>
          name === 'EXAMINE'
            ? ['* 4 EXISTS', '* OK [UIDVALIDITY 7] x', 'TAG OK x']
            : name === 'STATUS'
              ? ['* STATUS "INBOX" (UIDNEXT 55)', 'TAG OK x']
              : undefined,
      },
      { path: ['INBOX'] },
    );
    assert.deepEqual(folder, { path: 'INBOX', uidValidity: 7, uidNext: 55, exists: 4 });
  });

  for (const [what, lines] of Object.entries({
    'UIDs that do not last': [
      '* OK [UIDNOTSTICKY] x',
      '* OK [UIDVALIDITY 7] x',
      '* OK [UIDNEXT 1] x',
      'TAG OK x',
    ],
    'no UIDVALIDITY': ['* OK [UIDNEXT 1] x', 'TAG OK x'],
    'no UIDNEXT anywhere': ['* OK [UIDVALIDITY 7] x', 'TAG OK x'],
  }))
    it(`is unavailable with ${what}`, async () => {
      const options: ImapServerOptions = { respond: ({ name }) => (name === 'EXAMINE' ? lines : undefined) };
      await assert.rejects(open(options, { path: ['INBOX'] }), { code: 'folder_unavailable' });
    });

  it('has an APPENDLIMIT of its own, or that of the server, or none', async () => {
    const base = ['IMAP4rev1', 'NAMESPACE', 'AUTH=PLAIN'];
    const limitOf = async (capability: string[]) => {
      await using server = await startImapServer({
        capabilities: [...base, ...capability],
        respond: ({ name }) =>
          name === 'STATUS' ? ['* STATUS "INBOX" (APPENDLIMIT 1234)', 'TAG OK x'] : undefined,
      });
      await using session = await openOn(server);
      return session.appendLimit;
    };
    assert.equal(await limitOf(['APPENDLIMIT=35651584']), 35_651_584);
    assert.equal(await limitOf(['APPENDLIMIT']), 1_234);
    assert.equal(await limitOf([]), null);
  });
});
