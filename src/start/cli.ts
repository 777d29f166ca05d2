import { ConfigError, loadConfig } from '../config.ts';
import { StartError } from './failure.ts';
import { type Running, type StartOptions, start } from './run.ts';

const streams: StartOptions['streams'] = {
  print: (line) => process.stdout.write(`${line}\n`),
  complain: (line) => process.stderr.write(`${line}\n`),
};

/**
 * `npm start`: runs until SIGINT or SIGTERM, then stops all in order; a second one forces. Resolves with the exit
 * code: 0 after an orderly end, 1 when it could not start (one line on stderr says why).
 */
export async function runCli(scripts: StartOptions['scripts']): Promise<number> {
  // What Redis and the secrets' files hold is for this user only.
  process.umask(0o077);
  const stopping = new AbortController();
  const forcing = new AbortController();
  const onSignal = () => {
    if (stopping.signal.aborted) {
      streams.complain('popbridge: forced, not waiting any longer');
      forcing.abort();
    } else {
      streams.complain('popbridge: stopping (once more to force)');
      stopping.abort();
    }
  };
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, onSignal);
  try {
    const config = loadConfig();
    const running = await start({ config, scripts, streams, signal: stopping.signal, force: forcing.signal });
    welcome(running);
    await aborted(stopping.signal);
    await running.stop();
  } catch (error) {
    if (!stopping.signal.aborted) {
      streams.complain(`popbridge cannot start: ${describe(error)}`);
      return 1;
    }
  }
  streams.complain('popbridge: stopped');
  return 0;
}

function welcome({ url, newApiKey }: Running): void {
  streams.print(`popbridge is ready: ${url} (the API's description: ${url}/docs)`);
  if (newApiKey !== null) {
    streams.print(`API key, made just now and shown this once: ${newApiKey.value}`);
    streams.print(`It is kept in ${newApiKey.file}`);
  }
}

function describe(error: unknown): string {
  if (error instanceof StartError || error instanceof ConfigError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
