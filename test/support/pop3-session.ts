import type { SourceEntry, SourceSession } from '../../src/domain/ports.ts';
import type { Pop3SourceOptions } from '../../src/pop3/index.ts';
import { never, pop3Source } from './pop3-client.ts';
import { type Pop3Server, type Pop3ServerOptions, startPop3Server } from './pop3-server.ts';

/** A session on a scripted server, signed in and with its listing read. */
export interface OpenSession extends AsyncDisposable {
  server: Pop3Server;
  session: SourceSession;
  entries: SourceEntry[];
}

/** Starts a scripted server and opens a session; `server.lines` holds what comes from then on. */
export async function openSession(
  serverOptions: Pop3ServerOptions,
  options: Pick<Pop3SourceOptions, 'timeouts' | 'limits'> = {},
): Promise<OpenSession> {
  const server = await startPop3Server(serverOptions);
  const session = await pop3Source(server, options).open(never);
  const entries = await session.list(never);
  server.lines.length = 0;
  return {
    server,
    session,
    entries,
    async [Symbol.asyncDispose]() {
      session.destroy();
      await server[Symbol.asyncDispose]();
    },
  };
}
