import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { type Dovecot, startDovecot } from '../support/dovecot.ts';
import { imapClient, readFolder } from '../support/imap-reader.ts';
import { hardCases, hugeMessage, variedMailbox } from '../support/messages.ts';
import { until } from '../support/net.ts';
import { readPop3 } from '../support/pop3-reader.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { migrationBody, Service } from '../support/service.ts';

describe('one mailbox', () => {
  let from: Dovecot;
  let to: Dovecot;
  let redis: RedisServer;
  let service: Service;

  before(async () => {
    [from, to, redis] = await Promise.all([startDovecot(), startDovecot(), startRedis()]);
    service = await Service.start({ redisUrl: redis.url });
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await Promise.all([from?.stop(), to?.stop(), redis?.stop()]);
  });

  const delivered = async (user: string) => {
    const { host, password } = from;
    return readPop3({
      host,
      port: from.ports.pop3s,
      ca: await readFile(from.caFile),
      username: user,
      password,
    });
  };

  it('arrives exactly, hard cases and a message of 20 MB included, in the order of the source', async () => {
    const cases = [...hardCases(), { name: 'huge', bytes: hugeMessage() }];
    await from.deliver(
      'hard',
      cases.map(({ bytes }) => bytes),
    );
    const created = await service.create(migrationBody(from, to, 'hard'));
    const migration = await service.ended(created.id);
    const sent = await delivered('hard');
    const held = await readFolder(to, 'hard');
    assert.equal(sent.length, cases.length);
    assert.equal(migration.state, 'completed', JSON.stringify(migration));
    assert.equal(held.length, sent.length);
    const differing: string[] = [];
    sent.forEach(({ bytes }, at) => {
      if (!held[at]?.bytes.equals(bytes)) differing.push(cases[at]?.name ?? '');
    });
    // What Dovecot alters by itself (PROTOCOL-FACTS 8 and 10) is counted; nothing else differs.
    const expected = cases.filter((each) => 'alteredByDovecot' in each && each.alteredByDovecot);
    assert.deepEqual(differing.sort(), expected.map(({ name }) => name).sort());
    assert.equal(migration.progress.messages.copied, sent.length);
    assert.equal(migration.progress.messages.remaining, 0);
  });

  it('is seen as altered where the destination gives other bytes back', async () => {
    const cases = hardCases();
    await from.deliver(
      'altered',
      cases.map(({ bytes }) => bytes),
    );
    const options = { verify: 'digest' };
    const created = await service.create(migrationBody(from, to, 'altered', { options }));
    const migration = await service.ended(created.id);
    const expected = cases.filter((each) => each.alteredByDovecot === true).length;
    assert.equal(migration.progress.messages.altered, expected);
    const page = await service.call<{ items: { altered: boolean; reason: { code: string } }[] }>(
      'GET',
      `/v1/migrations/${created.id}/messages?flag=altered`,
    );
    assert.equal(page.body.items.length, expected);
    assert.ok(page.body.items.every(({ altered, reason }) => altered && reason.code === 'altered'));
  });

  it('keeps its dates: the topmost Received, else Date, else the time of the run', async () => {
    const dated = [
      'Received: from a by b; Mon, 2 Jan 2023 10:00:00 +0200\r\nReceived: c; Sun, 1 Jan 2023 10:00:00 +0000\r\n',
      'Date: Tue, 3 Jan 2023 10:00:00 +0000\r\n',
      'Received: x; 31 Feb 2020 10:00:00 +0000\r\nDate: Wed, 4 Jan 2023 10:00:00 +0000\r\n',
      'Date: Fri, 1 Jan 2072 10:00:00 +0000\r\n',
    ];
    await from.deliver(
      'dated',
      dated.map((header) => Buffer.from(`${header}Subject: s\r\n\r\nb\r\n`)),
    );
    const start = Math.floor(Date.now() / 1000) * 1000;
    const { id } = await service.create(migrationBody(from, to, 'dated'));
    await service.ended(id);
    const dates = (await readFolder(to, 'dated')).map(({ internalDate }) => internalDate);
    assert.deepEqual(
      dates.slice(0, 3).map((date) => date.toISOString()),
      ['2023-01-02T08:00:00.000Z', '2023-01-03T10:00:00.000Z', '2023-01-04T10:00:00.000Z'],
    );
    assert.ok((dates[3]?.getTime() ?? 0) >= start, 'an absurd date is the time of the run');
  });

  it('gets flags by the policy and goes into a folder that is made and subscribed', async () => {
    await from.deliver('folder', variedMailbox(5, 3));
    const body = migrationBody(from, to, 'folder', { options: { seen: { policy: 'all' } } });
    const path = ['Altpost', 'Überträge & Co'];
    Object.assign(body.destination as object, { folder: { path } });
    const { id } = await service.create(body);
    assert.equal((await service.ended(id)).state, 'completed');
    const held = await readFolder(to, 'folder', path.join('/'));
    assert.equal(held.length, 5);
    assert.ok(held.every(({ flags }) => flags.includes('\\Seen')));
    const client = await imapClient(to, 'folder');
    const listed = (await client.list()).find((each) => each.path === path.join('/'));
    await client.logout();
    assert.equal(listed?.subscribed, true);
  });

  it('adds nothing when it is moved a second time, by the same migration or by another', async () => {
    await from.deliver('again', variedMailbox(40, 4));
    const first = await service.create(migrationBody(from, to, 'again'));
    await service.ended(first.id);
    const second = await service.create(migrationBody(from, to, 'again'));
    const ended = await service.ended(second.id);
    assert.equal(ended.progress.messages.alreadyPresent, 40);
    assert.equal(ended.progress.messages.copied, 0);
    assert.equal((await readFolder(to, 'again')).length, 40);
  });

  it('is shared by all clients afterwards: what one reads the other sees as read', async () => {
    await from.deliver('shared', variedMailbox(12, 5));
    const { id } = await service.create(migrationBody(from, to, 'shared'));
    await service.ended(id);
    const [phone, laptop] = await Promise.all([imapClient(to, 'shared'), imapClient(to, 'shared')]);
    try {
      const [atPhone, atLaptop] = await Promise.all([
        phone.mailboxOpen('INBOX'),
        laptop.mailboxOpen('INBOX'),
      ]);
      assert.deepEqual([atPhone.exists, atLaptop.exists], [12, 12]);
      await phone.messageFlagsAdd('3', ['\\Seen']);
      await until(
        async () => {
          await laptop.noop();
          const message = await laptop.fetchOne('3', { flags: true });
          return message !== false && message.flags?.has('\\Seen');
        },
        { what: 'the other client to see \\Seen' },
      );
    } finally {
      await Promise.all([phone.logout(), laptop.logout()]);
    }
  });

  it('leaves the source when that is asked for, but for what the destination altered', async () => {
    const cases = hardCases();
    await from.deliver(
      'leaving',
      cases.map(({ bytes }) => bytes),
    );
    const before = await delivered('leaving');
    const options = { verify: 'digest', sourceDeletion: { policy: 'delete', minAgeDays: 0 } };
    const { id } = await service.create(migrationBody(from, to, 'leaving', { options }));
    const { state, progress } = await service.ended(id);
    assert.equal(state, 'completed');
    const altered = cases.filter((each) => each.alteredByDovecot === true).length;
    assert.equal(progress.messages.altered, altered);
    assert.equal(progress.messages.deletedFromSource, cases.length - altered);
    const kept = await delivered('leaving');
    assert.equal(kept.length, altered);
    const held = (await readFolder(to, 'leaving')).map(({ bytes }) => bytes.toString('latin1'));
    for (const { uidl, bytes } of before)
      if (!kept.some((each) => each.uidl === uidl)) assert.ok(held.includes(bytes.toString('latin1')));
  });

  it('pauses within 2 seconds in the middle, and goes on where it was', async () => {
    await from.deliver('paused', variedMailbox(3000, 6));
    const { id } = await service.create(migrationBody(from, to, 'paused', { options: { verify: 'digest' } }));
    await until(async () => ((await service.get(id)).progress.messages.copied ?? 0) > 100, {
      what: 'some copies',
    });
    const asked = performance.now();
    const pausing = await service.call('POST', `/v1/migrations/${id}/pause`);
    assert.equal(pausing.status, 202);
    const paused = await service.reach(id, ['paused'], 10_000);
    assert.ok(performance.now() - asked < 2000, `took ${performance.now() - asked} ms`);
    const { copied, remaining, total } = paused.progress.messages;
    assert.ok((remaining ?? 0) > 0, 'it was in the middle');
    assert.equal((copied ?? 0) + (remaining ?? 0), total);
    assert.equal((await readFolder(to, 'paused')).length, copied);
    await service.call('POST', `/v1/migrations/${id}/resume`);
    const ended = await service.ended(id);
    assert.equal(ended.progress.messages.copied, 3000);
    assert.equal((await readFolder(to, 'paused')).length, 3000);
  });
});
