import { readFile } from 'node:fs/promises';
import { after, before } from 'node:test';
import type { Security } from '../../src/domain/migration.ts';
import { type Dovecot, startDovecot } from '../support/dovecot.ts';
import { hardCases } from '../support/messages.ts';
import { pop3Source } from '../support/pop3-client.ts';
import { readPop3 } from '../support/pop3-reader.ts';
import { CAPABILITIES, startPop3Server } from '../support/pop3-server.ts';
import { type SourceFixture, sourceContract } from './source.ts';

let dovecot: Dovecot;
let ca: string;
let delivered: Buffer[];
let users = 0;

const CRLF = Buffer.from('\r\n');
const ended = hardCases().map(({ bytes }) => withFinalNewline(bytes));

before(async () => {
  dovecot = await startDovecot();
  ca = await readFile(dovecot.caFile, 'utf8');
  const { host, ports, password } = dovecot;
  await dovecot.deliver(
    'full',
    hardCases().map(({ bytes }) => bytes),
  );
  const read = await readPop3({ host, port: ports.pop3s, ca, username: 'full', password });
  delivered = read.map(({ bytes }) => bytes);
});

after(() => dovecot.stop());

for (const security of ['tls', 'starttls', 'none'] satisfies Security[]) {
  sourceContract(`Dovecot, security ${security}`, async () => onDovecot(security));
}

for (const missing of [[], ['PIPELINING'], ['TOP'], ['TOP', 'PIPELINING']]) {
  const name = missing.length === 0 ? 'scripted server' : `scripted server without ${missing.join(' and ')}`;
  sourceContract(name, () => scripted(CAPABILITIES.filter((keyword) => !missing.includes(keyword))));
}

function onDovecot(security: Security): SourceFixture {
  const port = security === 'tls' ? dovecot.ports.pop3s : dovecot.ports.pop3;
  const source = (username: string, password = dovecot.password) =>
    pop3Source({ host: 'localhost', port, security, ca, username, auth: { password } });
  return {
    messages: delivered,
    source,
    async fresh() {
      const user = `fresh-${users++}`;
      await dovecot.deliver(
        user,
        hardCases().map(({ bytes }) => bytes),
      );
      return source(user);
    },
    async [Symbol.asyncDispose]() {},
  };
}

async function scripted(capabilities: readonly string[]): Promise<SourceFixture> {
  const full = await startPop3Server({ messages: ended, capabilities });
  const empty = await startPop3Server({ capabilities });
  return {
    messages: ended,
    source: (mailbox, password = 'secret') =>
      pop3Source({ ...at(mailbox === 'full' ? full : empty), auth: { password } }),
    // Each fixture starts a server of its own.
    fresh: async () => pop3Source(at(full)),
    async [Symbol.asyncDispose]() {
      await full[Symbol.asyncDispose]();
      await empty[Symbol.asyncDispose]();
    },
  };
}

/** RFC 1939 section 3: what an answer holds ends with a line end, whatever the message does. */
function withFinalNewline(bytes: Buffer): Buffer {
  return bytes.subarray(-2).equals(CRLF) ? bytes : Buffer.concat([bytes, CRLF]);
}

function at({ host, port }: { host: string; port: number }): { host: string; port: number } {
  return { host, port };
}
