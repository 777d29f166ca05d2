/** popbridge cannot start: one line for the operator. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** For a process that cannot start: the one line, and exit code 1. */
export function fatal(thrown: unknown): never {
  process.stderr.write(`${thrown instanceof Error ? thrown.message : String(thrown)}\n`);
  process.exit(1);
}
