import { startDovecot } from '../support/dovecot.ts';
import { startImapServer } from '../support/imap-server.ts';
import type { HardCase } from '../support/messages.ts';
import { targetContract } from './target.ts';

targetContract({
  name: 'Dovecot with maildir',
  start: () => startDovecot(),
  keeps: asDovecot,
  multiAppend: true,
});

targetContract({
  name: 'Dovecot with sdbox',
  start: () => startDovecot({ storage: 'sdbox' }),
  keeps: asDovecot,
  multiAppend: true,
});

targetContract({
  name: 'Dovecot that hides MULTIAPPEND',
  start: () => startDovecot({ extra: 'imap_capability = IMAP4rev1 LITERAL+ UIDPLUS NAMESPACE' }),
  keeps: asDovecot,
  multiAppend: false,
});

targetContract({
  name: 'Dovecot that hides LITERAL+',
  start: () => startDovecot({ extra: 'imap_capability = IMAP4rev1 MULTIAPPEND UIDPLUS NAMESPACE' }),
  keeps: asDovecot,
  multiAppend: true,
});

targetContract({
  name: 'a server with LITERAL- and MULTIAPPEND',
  start: () => startImapServer({ capabilities: ['IMAP4rev1', 'LITERAL-', 'MULTIAPPEND', 'UIDPLUS'] }),
  keeps: ({ bytes }) => bytes,
  multiAppend: true,
});

targetContract({
  name: 'a scripted server',
  start: () => startImapServer(),
  keeps: ({ bytes }) => bytes,
  multiAppend: true,
});

/** PROTOCOL-FACTS 8 and 10; and what it stores by lines, it gives back with CRLF. */
function asDovecot({ bytes, alteredByDovecot }: HardCase): Buffer | null {
  if (alteredByDovecot) return null;
  return Buffer.from(bytes.toString('latin1').replaceAll(/(?<!\r)\n/g, '\r\n'), 'latin1');
}
