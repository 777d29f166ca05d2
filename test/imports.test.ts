import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { violations } from './support/imports.ts';

describe('who may import whom', () => {
  it('is kept by every file of src and workers', async () => {
    const files = await sources();
    assert.ok(files.size > 20, `only ${files.size} files were found`);
    assert.deepEqual(violations(files), []);
  });

  const planted: [string, string, string][] = [
    ['src/domain/a.ts', "import { b } from '../store/b.ts';", 'domain must not import src/store/b.ts'],
    ['src/domain/a.ts', "import { connect } from 'node:net';", 'domain must not import node:net'],
    ['src/domain/a.ts', "import Fastify from 'fastify';", 'domain must not import fastify'],
    ['src/pop3/a.ts', "import type { B } from '../imap/b.ts';", 'pop3 must not import src/imap/b.ts'],
    ['src/imap/a.ts', "export * from '../net/b.ts';", 'imap must not import src/net/b.ts'],
    ['src/store/a.ts', "const b = await import('../queue/b.ts');", 'store must not import src/queue/b.ts'],
    ['src/http/a.ts', "let b: import('../store/b.ts').B;", 'http must not import src/store/b.ts'],
    ['src/http/a.ts', "import type { Config } from '../config.ts';", 'http must not import src/config.ts'],
    ['src/http/a.ts', "import { Queue } from 'bullmq';", 'http must not import bullmq'],
    ['src/start.ts', "import '../workers/main.ts';", 'src must not import workers/main.ts'],
    ['src/main.ts', "import { b } from '../test/support/b.ts';", 'src must not import test/support/b.ts'],
    ['workers/a.ts', "import { b } from '../src/imap/b.ts';", 'workers must not import src/imap/b.ts'],
    ['workers/a.ts', "import { b } from '../bin/b.ts';", 'workers must not import bin/b.ts'],
    ['src/pop3/a.ts', "import { b } from '../domain/b.js';", 'imports ../domain/b.js without .ts'],
    ['src/pop3/a.ts', 'export const a = await import(name);', 'imports something unknown'],
    ['src/net/a.ts', "if (process.env.A === 'b') run();", 'reads process.env'],
    ['src/net/a.ts', 'const { env } = process;', 'reads process.env'],
    ['src/net/a.ts', "import { env } from 'node:process';", 'reads process.env'],
    ['workers/main.ts', "const a = process['env'];", 'reads process.env'],
  ];
  for (const [path, source, complaint] of planted)
    it(`does not let ${path} say: ${source}`, () => {
      assert.deepEqual(violations(new Map([[path, source]])), [`${path}:1 ${complaint}`]);
    });

  const allowed: [string, string][] = [
    ['src/domain/a.ts', "import type { Socket } from 'node:net'; import { createHash } from 'node:crypto';"],
    ['src/domain/a.ts', "import { b } from './b.ts'; // import { c } from '../store/c.ts'"],
    ['src/pop3/a.ts', "import { b } from '../domain/b.ts'; import { connect } from 'node:net';"],
    ['src/main.ts', "import { b } from './imap/b.ts'; import { c } from './config.ts';"],
    ['workers/main.ts', "import { b } from '../src/imap/b.ts'; import { c } from './migrate.ts';"],
    ['src/config.ts', 'export const read = () => process.env;'],
    ['src/http/a.ts', "const text = 'process.env'; const environment = process.environment;"],
  ];
  for (const [path, source] of allowed)
    it(`lets ${path} say: ${source}`, () => {
      assert.deepEqual(violations(new Map([[path, source]])), []);
    });
});

/** Path in the project to content. */
async function sources(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const path of glob('{src,workers}/**/*.ts')) found.set(path, await readFile(path, 'utf8'));
  return found;
}
