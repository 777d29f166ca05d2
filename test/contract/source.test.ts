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

sourceContract('scripted server', () => scripted(CAPABILITIES));
sourceContract('scripted server without PIPELINING', () =>
  scripted(CAPABILITIES.filter((capability) => capability !== 'PIPELINING')),
);

function onDovecot(security: Security): SourceFixture {
  const port = security === 'tls' ? dovecot.ports.pop3s : dovecot.ports.pop3;
  return {
    messages: delivered,
    source: (username, password = dovecot.password) =>
      pop3Source({ host: 'localhost', port, security, ca, username, auth: { password } }),
    async [Symbol.asyncDispose]() {},
  };
}

async function scripted(capabilities: readonly string[]): Promise<SourceFixture> {
  const messages = Array.from({ length: 40 }, (_, n) =>
    Buffer.from(`Subject: ${n}\r\n\r\n${'.line\r\n'.repeat(n * 20)}`),
  );
  const full = await startPop3Server({ messages, capabilities });
  const empty = await startPop3Server({ capabilities });
  return {
    messages,
    source: (mailbox, password = 'secret') =>
      pop3Source({ ...at(mailbox === 'full' ? full : empty), auth: { password } }),
    async [Symbol.asyncDispose]() {
      await full[Symbol.asyncDispose]();
      await empty[Symbol.asyncDispose]();
    },
  };
}

function at({ host, port }: { host: string; port: number }): { host: string; port: number } {
  return { host, port };
}
