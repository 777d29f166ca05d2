/**
 * `npm test`: types, lint, then every test. `npm test -- test/pop3 test/http/sse.test.ts` runs only the tests
 * under those paths; what else begins with a dash goes to node's test runner.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { glob, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

/** One test file that hangs must not take the whole run with it. */
const FILE_TIMEOUT_MS = 240_000;

const args = process.argv.slice(2);
const options = args.filter((arg) => arg.startsWith('-'));
const paths = args.filter((arg) => !arg.startsWith('-'));

const steps: [string, string[]][] = [
  ...(paths.length > 0 ? [] : checks()),
  [process.execPath, ['--test', ...runnerOptions(), ...options, ...(await testFiles(paths))]],
];
for (const [command, commandArgs] of steps) {
  const status = await run(command, commandArgs);
  if (status !== 0) process.exit(status);
}

function checks(): [string, string[]][] {
  return [
    ['tsc', ['-p', 'tsconfig.json']],
    ['biome', ['check', '--error-on-warnings', '.']],
  ];
}

function runnerOptions(): string[] {
  return [`--test-concurrency=${Math.max(2, availableParallelism())}`, `--test-timeout=${FILE_TIMEOUT_MS}`];
}

async function testFiles(roots: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const root of roots.length > 0 ? roots : ['test']) {
    const pattern = (await stat(root)).isDirectory() ? join(root, '**/*.test.ts') : root;
    for await (const file of glob(pattern)) files.push(file);
  }
  return files.sort();
}

async function run(command: string, commandArgs: readonly string[]): Promise<number> {
  const child = spawn(command, commandArgs, { stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 1;
}
