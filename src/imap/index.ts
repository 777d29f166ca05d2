import type { Auth, Endpoint } from '../domain/migration.ts';
import type { MailTarget, UpgradingDialer } from '../domain/ports.ts';
import { connect, type ImapTimeouts, type Login } from './connection.ts';
import { provideFolder } from './folder.ts';
import { ImapSession } from './session.ts';

export type { ImapTimeouts } from './connection.ts';

export interface ImapTargetOptions {
  endpoint: Endpoint;
  auth: Auth;
  dialer: UpgradingDialer;
  timeouts?: Partial<ImapTimeouts>;
}

const TIMEOUTS: ImapTimeouts = { greetingMs: 30_000, replyMs: 120_000, closeMs: 3_000 };

/** An IMAP account as the destination of mail. Connects on `open`, not before. */
export function createImapTarget({ endpoint, auth, dialer, timeouts }: ImapTargetOptions): MailTarget {
  const login: Login = { endpoint, auth, dialer, timeouts: { ...TIMEOUTS, ...timeouts } };
  return {
    async open(folder, signal) {
      const client = await connect(login, signal);
      const onAbort = () => client.close();
      signal.addEventListener('abort', onAbort, { once: true });
      try {
        const name = await provideFolder(client, folder);
        return await ImapSession.on(client, name, login);
      } catch (error) {
        client.close();
        signal.throwIfAborted();
        throw error;
      } finally {
        signal.removeEventListener('abort', onAbort);
      }
    },
  };
}
