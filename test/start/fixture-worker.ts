// Stands for the worker process: takes its time to stop, or does not stop at all.
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:net';

const { TRACE = '', WORKER_FAULT = '' } = process.env;
if (WORKER_FAULT === 'dies') process.exit(7);
appendFileSync(TRACE, `worker started ${process.pid} ${JSON.stringify(process.env)}\n`);
createServer().listen(0, '127.0.0.1');
process.on('SIGTERM', () => {
  appendFileSync(TRACE, 'worker told to stop\n');
  if (WORKER_FAULT === 'hangs') return;
  setTimeout(() => {
    appendFileSync(TRACE, 'worker stopped\n');
    process.exit(0);
  }, 100);
});
