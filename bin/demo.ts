/**
 * `npm run demo`: two mail servers, one mailbox moved between them through the REST API, and the proof that
 * nothing was lost, doubled or changed. `-- --once` ends after the proof: with 0 when it holds, else with 1.
 */
import { once } from 'node:events';
import type { Migration } from '../src/domain/migration.ts';
import { openClient, readDestination, showTwoDevices } from './demo/destination.ts';
import { follow } from './demo/progress.ts';
import { holds, type Proof, prove } from './demo/proof.ts';
import { readSource, type Servers, startServers, USER } from './demo/servers.ts';
import { messagesOf, type Service, startService } from './demo/service.ts';

/** Stopped by a signal before there was a proof. */
const INTERRUPTED = 130;

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    // Who asks twice does not want to wait for the order.
    if (stop.signal.aborted) process.exit(INTERRUPTED);
    stop.abort();
  });

process.exitCode = await main(process.argv.includes('--once'), stop.signal);

async function main(onlyOnce: boolean, signal: AbortSignal): Promise<number> {
  await using stack = new AsyncDisposableStack();
  stack.defer(() => console.log('Everything is stopped.'));
  const verdict = { code: INTERRUPTED };
  const aborted = once(signal, 'abort').then(() => verdict.code);
  const work = demonstrate(onlyOnce, verdict, stack, signal);
  try {
    return await Promise.race([work, aborted]);
  } catch (error) {
    if (signal.aborted) return INTERRUPTED;
    console.error(`\nThe demo failed: ${error instanceof Error ? error.message : error}`);
    return 1;
  }
}

async function demonstrate(
  onlyOnce: boolean,
  verdict: { code: number },
  stack: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<number> {
  console.log('Starting two mail servers and filling a POP3 mailbox …');
  const servers = await startServers(stack);
  console.log('Starting popbridge …');
  const service = await startService(servers, stack);
  console.log(`Moving ${servers.names.length} messages from POP3 to IMAP, both over TLS:`);
  const created = await service.post<Migration>('/v1/migrations', order(servers));
  const migration = await Promise.race([follow(service, created.id, signal), service.ended]);
  verdict.code = (await showProof(servers, service, migration)) ? 0 : 1;
  if (onlyOnce) return verdict.code;
  showWayIn(servers, service, migration);
  return service.ended;
}

function order({ source, destination }: Servers): unknown {
  const account = (host: string, port: number, password: string) => ({
    host,
    port,
    security: 'tls',
    username: USER,
    auth: { type: 'password', password },
  });
  return {
    label: USER,
    source: account(source.host, source.ports.pop3s, source.password),
    destination: {
      ...account(destination.host, destination.ports.imaps, destination.password),
      folder: { path: ['INBOX'] },
    },
    options: { verify: 'digest' },
  };
}

async function showProof(servers: Servers, service: Service, migration: Migration): Promise<boolean> {
  if (migration.error !== null)
    console.log(`  ${migration.error.code}: ${migration.error.detail}. ${migration.error.hint}`);
  console.log('\nReading both mailboxes and comparing every message …\n');
  await using clients = new AsyncDisposableStack();
  const altered = await messagesOf(service, migration.id, 'flag=altered');
  const copies = await readDestination(await openClient(servers, clients));
  const proof = prove(await readSource(servers), copies, altered, servers.names);
  printTable(rows(proof, migration));
  for (const name of proof.altered)
    console.log(`  altered by the destination server, and reported as such: ${name}`);
  for (const name of proof.missing) console.log(`  MISSING: ${name}`);
  const devices = await showTwoDevices(servers);
  console.log('\nWhat it is for: two IMAP clients, a phone and a laptop, opened the new mailbox at once.');
  console.log(
    `  both see all messages, and what the phone read is read on the laptop: ${devices.seenByBoth ? 'yes' : 'NO'}`,
  );
  console.log(`  the laptop was told after ${Math.round(devices.noticedAfterMs)} ms`);
  const good = holds(proof, altered) && devices.seenByBoth && migration.state === 'completed';
  console.log(
    good
      ? `\nProven: ${proof.equal} messages arrived once and byte for byte${exceptions(proof)}.`
      : `\nNOT proven. The migration is ${migration.state}.`,
  );
  return good;
}

function exceptions({ altered }: Proof): string {
  if (altered.length === 0) return '';
  return `, and the ${altered.length} that the destination's server stores otherwise were named`;
}

function rows(proof: Proof, migration: Migration): [string, string][] {
  const seconds = (Date.parse(migration.finishedAt ?? '') - Date.parse(migration.startedAt ?? '')) / 1_000;
  return [
    ['messages in the POP3 mailbox', `${proof.messages}`],
    ['bytes', proof.bytes.toLocaleString('en')],
    ['copies with an equal SHA-256', `${proof.equal}`],
    ['altered by the destination, and reported', `${proof.altered.length}`],
    ['missing', `${proof.missing.length}`],
    ['duplicates', `${proof.surplus}`],
    ['in the order of the source', proof.inOrder ? 'yes' : 'no'],
    ['time', `${seconds.toFixed(2)} s, every copy read back and compared`],
    [
      'rate',
      `${(proof.messages / seconds).toFixed(0)} messages/s, ${(proof.bytes / seconds / 1e6).toFixed(1)} MB/s`,
    ],
  ];
}

function printTable(table: readonly [string, string][]): void {
  const width = Math.max(...table.map(([label]) => label.length));
  for (const [label, value] of table) console.log(`  ${label.padEnd(width)}  ${value}`);
}

function showWayIn(servers: Servers, service: Service, { id }: Migration): void {
  const { destination } = servers;
  console.log(`
The service goes on at  ${service.url}  (API documentation: ${service.url}/docs)
  its key:      ${service.key}
  try:          curl -H "Authorization: Bearer ${service.key}" ${service.url}/v1/migrations/${id}
  the new mail: IMAP with TLS at ${destination.host}:${destination.ports.imaps}, user ${USER}, password ${destination.password}

Ctrl-C stops everything.`);
}
