import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { parse } from 'csv-parse/sync';
import type { MessageDetail, Migration, RunSummary } from '../../src/domain/migration.ts';
import { type Api, startApi } from '../support/http-api.ts';
import { BACKENDS } from '../support/http-backends.ts';

const EVIL = '=HYPERLINK("http://evil.example","click")';

function row(n: number, over: Partial<MessageDetail> = {}): MessageDetail {
  return {
    uidl: `u${n}`,
    size: n,
    outcome: 'failed',
    altered: false,
    reason: { code: 'message_refused', detail: 'NO, "no",\r\nand no' },
    repair: null,
    folder: 'INBOX',
    uid: null,
    sha256: null,
    subject: 'Grüße 😀',
    from: null,
    date: null,
    messageId: null,
    ...over,
  };
}

for (const [name, backend] of BACKENDS) {
  describe(`the report over ${name}`, () => {
    let api: Api;
    let id: string;
    const messages = Array.from({ length: 450 }, (_, n) => row(n));
    before(async () => {
      api = await startApi({ backend: await backend() });
      id = (await api.create({ label: '+1 mailbox' })).id;
      messages.push(row(450, { subject: EVIL, from: '-1+1', messageId: '@x', date: '\ttab' }));
      await api.backend.work(id, { state: 'completedWithFailures', messages });
    });
    after(() => api[Symbol.asyncDispose]());

    const report = (accept?: string) =>
      api.call('GET', `/v1/migrations/${id}/report`, undefined, {
        headers: accept === undefined ? {} : { accept },
      });

    test('is JSON unless asked otherwise: the migration, its runs and every message', async () => {
      for (const accept of [undefined, '*/*', 'application/json', 'text/csv;q=0.5, application/json']) {
        const answer = await report(accept);
        assert.equal(answer.status, 200);
        assert.match(answer.headers.get('content-type') ?? '', /^application\/json/);
        const whole = answer.json<{ migration: Migration; runs: RunSummary[]; messages: MessageDetail[] }>();
        assert.deepEqual(whole.migration, (await api.call('GET', `/v1/migrations/${id}`)).json());
        assert.equal(whole.runs.length, 1);
        assert.deepEqual(whole.messages, messages);
      }
    });

    test('is a table where asked: a row for the migration, then one a message', async () => {
      const answer = await report('text/csv');
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.get('content-type'), 'text/csv; charset=utf-8');
      assert.equal(answer.headers.get('content-disposition'), `attachment; filename="${id}.csv"`);
      assert.equal(answer.headers.get('vary'), 'accept');
      const rows = parse(answer.text, { columns: true }) as Record<string, string>[];
      assert.equal(rows.length, 452);
      const [whole, first] = rows;
      assert.equal(whole?.record, 'migration');
      assert.equal(whole?.migrationId, id);
      assert.equal(whole?.state, 'completedWithFailures');
      assert.equal(first?.record, 'message');
      assert.equal(first?.uidl, 'u0');
      assert.equal(first?.outcome, 'failed');
      assert.equal(first?.altered, 'false');
      assert.equal(first?.['reason.detail'], 'NO, "no",\r\nand no');
      assert.equal(first?.subject, 'Grüße 😀');
    });

    test('holds no cell that a spreadsheet would take for a formula', async () => {
      const rows = parse((await report('text/csv')).text) as string[][];
      const cells = rows.flat().filter((cell) => /^[=+\-@\t\r]/.test(cell));
      assert.deepEqual(cells, []);
      assert.ok(rows.at(-1)?.includes(`'${EVIL}`));
    });

    test('is refused in other types', async () => {
      const answer = await report('application/pdf');
      assert.equal(answer.problem().code, 'not_acceptable');
    });
  });
}
