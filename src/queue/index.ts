export type { MigrationQueue, QueueDepth, QueueOptions } from './producer.ts';
export { createQueue } from './producer.ts';
export type { MigrationWorker, WorkerOptions } from './worker.ts';
export { createWorker } from './worker.ts';
