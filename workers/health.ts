import { once } from 'node:events';
import { createServer } from 'node:http';

export interface HealthOptions {
  host: string;
  port: number;
  /** Whether Redis answers. */
  ready(): Promise<boolean>;
}

/** `/health/live` and `/health/ready` of a worker. @throws the error of listen */
export async function serveHealth(options: HealthOptions): Promise<{ close(): Promise<void> }> {
  const server = createServer((request, response) => {
    status(request.url ?? '', options).then((code) => response.writeHead(code).end());
  });
  server.listen(options.port, options.host);
  await once(server, 'listening');
  return {
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function status(url: string, { ready }: HealthOptions): Promise<200 | 404 | 503> {
  if (url === '/health/live') return 200;
  if (url !== '/health/ready') return 404;
  return (await ready().catch(() => false)) ? 200 : 503;
}
