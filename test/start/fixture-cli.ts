// `npm start` with the two stand-ins.
import { runCli } from '../../src/start/cli.ts';

process.exitCode = await runCli({
  api: new URL('./fixture-api.ts', import.meta.url),
  worker: new URL('./fixture-worker.ts', import.meta.url),
});
