import { Readable } from 'node:stream';
import { stringify } from 'csv-stringify';
import type { MessageDetail, Migration, RunSummary } from '../domain/migration.ts';
import type { MigrationStore } from '../domain/migrations.ts';

// Larger than a caller may ask for: the store looks at all of a migration's rows for every page.
const PAGE = 2_000;

/** Rows of `/messages`, fetched a page at a time: a report may have more of them than memory should hold. */
export async function* messagesOf(
  store: MigrationStore,
  tenant: string,
  id: string,
): AsyncGenerator<MessageDetail> {
  let cursor: string | null | undefined;
  do {
    const page = await store.messages(tenant, id, { limit: PAGE, ...(cursor != null && { cursor }) });
    // Erased while it is read: what was sent stands, and the reader sees that the answer broke off.
    if (page === null) throw new Error('the migration is gone');
    yield* page.items;
    cursor = page.nextCursor;
  } while (cursor !== null);
}

/** Turns a value into JSON by its schema, so that nothing but its documented fields gets out. */
export interface Serializers {
  migration: (value: Migration) => string;
  run: (value: RunSummary) => string;
  message: (value: MessageDetail) => string;
}

/** `{migration, runs, messages}`. */
export function jsonReport(
  migration: Migration,
  runs: readonly RunSummary[],
  messages: AsyncIterable<MessageDetail>,
  to: Serializers,
): Readable {
  return Readable.from(
    (async function* () {
      yield `{"migration":${to.migration(migration)},"runs":[${runs.map(to.run).join(',')}],"messages":[`;
      let separator = '';
      for await (const message of messages) {
        yield separator + to.message(message);
        separator = ',';
      }
      yield ']}';
    })(),
  );
}

/**
 * One table: a `migration` row with state and sums, then a `message` row each. Spreadsheets take a cell that
 * begins with =, +, - or @ for a formula, and subjects come from strangers: those get a quote in front.
 */
export function csvReport(migration: Migration, messages: AsyncIterable<MessageDetail>): Readable {
  const table = stringify({
    header: true,
    columns: COLUMNS,
    escape_formulas: true,
    record_delimiter: 'windows',
    cast: { boolean: (value) => String(value) },
  });
  const rows = Readable.from(
    (async function* () {
      yield migrationRow(migration);
      for await (const message of messages) yield messageRow(migration, message);
    })(),
  );
  rows.once('error', (error) => table.destroy(error));
  table.once('close', () => rows.destroy());
  return rows.pipe(table);
}

type Row = Partial<Record<(typeof COLUMNS)[number], string | number | boolean | null>>;

const COLUMNS = [
  'record',
  'migrationId',
  'label',
  'uidl',
  'size',
  'outcome',
  'altered',
  'reason.code',
  'reason.detail',
  'repair',
  'folder',
  'uid',
  'sha256',
  'subject',
  'from',
  'date',
  'messageId',
  'state',
  'source.host',
  'source.username',
  'destination.host',
  'destination.username',
  'createdAt',
  'startedAt',
  'finishedAt',
  'runs',
  'messages.total',
  'messages.copied',
  'messages.alreadyPresent',
  'messages.skipped',
  'messages.failed',
  'messages.remaining',
  'messages.altered',
  'messages.repaired',
  'messages.deletedFromSource',
  'bytes.total',
  'bytes.settled',
  'error.code',
  'error.detail',
] as const;

function migrationRow(migration: Migration): Row {
  const { id, label, state, source, destination, createdAt, startedAt, finishedAt, runs, progress } =
    migration;
  const { messages, bytes } = progress;
  return {
    record: 'migration',
    migrationId: id,
    label,
    state,
    'source.host': source.host,
    'source.username': source.username,
    'destination.host': destination.host,
    'destination.username': destination.username,
    createdAt,
    startedAt,
    finishedAt,
    runs,
    'messages.total': messages.total,
    'messages.copied': messages.copied,
    'messages.alreadyPresent': messages.alreadyPresent,
    'messages.skipped': messages.skipped,
    'messages.failed': messages.failed,
    'messages.remaining': messages.remaining,
    'messages.altered': messages.altered,
    'messages.repaired': messages.repaired,
    'messages.deletedFromSource': messages.deletedFromSource,
    'bytes.total': bytes.total,
    'bytes.settled': bytes.settled,
    'error.code': migration.error?.code ?? null,
    'error.detail': migration.error?.detail ?? null,
  };
}

function messageRow({ id, label }: Migration, { reason, ...message }: MessageDetail): Row {
  return {
    record: 'message',
    migrationId: id,
    label,
    ...message,
    'reason.code': reason?.code ?? null,
    'reason.detail': reason?.detail ?? null,
  };
}
