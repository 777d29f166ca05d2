import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { buildApp } from './app.ts';
import { openapiYaml } from './document.ts';
import type { HttpServices } from './services.ts';

/** The contract as `openapi.yaml` holds it: made from the route schemas alone, so it needs no services. */
export async function openapiDocument(): Promise<string> {
  const app = buildApp({} as HttpServices, { logger: pino({ level: 'silent' }) });
  await app.ready();
  try {
    return openapiYaml(app);
  } finally {
    await app.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await writeFile(new URL('../../openapi.yaml', import.meta.url), await openapiDocument());
}
