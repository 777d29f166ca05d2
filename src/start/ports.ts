import { type AddressInfo, createServer } from 'node:net';
import { StartError } from './failure.ts';

/** @throws StartError when nobody could listen there now; `variable` is the one that names the port */
export function assertPortFree(host: string, port: number, variable: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(new StartError(explain(error.code ?? '', host, port, variable)));
    });
    server.listen({ host, port, exclusive: true }, () => {
      const { port: bound } = server.address() as AddressInfo;
      server.close(() => resolve(bound));
    });
  });
}

function explain(code: string, host: string, port: number, variable: string): string {
  if (code === 'EADDRINUSE')
    return `port ${port} on ${host} is taken by another program: stop that one, or set ${variable} to another port`;
  if (code === 'EACCES') return `port ${port} may not be used by this user: set ${variable} to 1024 or above`;
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return `HOST ${host} is no address of this machine: set HOST to one, as 127.0.0.1 or 0.0.0.0`;
  return `port ${port} on ${host} cannot be listened on (${code}): set HOST and ${variable}`;
}
