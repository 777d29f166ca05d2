import { setFlagsFromString } from 'node:v8';
import { fatal } from '../src/start/failure.ts';

// A worker holds bytes, not objects: message bytes lie outside of V8's heap. Its young generation would grow to
// 48 MB all the same while modules load; kept small, eight mailboxes at once peak 60 MB lower, at the same rate.
setFlagsFromString('--semi-space-growth-factor=1');

const { startWorker } = await import('./worker.ts');
await startWorker().catch(fatal);
