// `npm start`: API and worker, and a Redis where none is configured, in one go. Nothing is imported before Node's
// version is known: an older one would fail on it with a riddle.
const major = Number(process.versions.node.split('.')[0]);
if (major < 24) {
  console.error(`popbridge needs Node.js 24 or later, this is ${process.version}: run it by "npm start"`);
  process.exit(1);
}
const { runCli } = await import('./start/cli.ts');
process.exitCode = await runCli({
  api: new URL('./main.ts', import.meta.url),
  worker: new URL('../workers/main.ts', import.meta.url),
});

// TypeScript takes a file without import or export for a script, where `await` cannot stand.
export {};
