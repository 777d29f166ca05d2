import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { JobRef } from '../../src/domain/ports.ts';
import { hasExited, spawnBound } from '../support/child.ts';
import type { FromWorker, ToWorker, Wiring } from './worker.ts';

const SCRIPT = fileURLToPath(new URL('./worker.ts', import.meta.url));

/** One worker process, from its start to its end. */
export class WorkerProcess {
  /** What it said, for the message of a failure. */
  readonly log: string[] = [];
  readonly #child: ChildProcess;
  readonly #ready: Promise<void>;
  #running: { done: Promise<void>; end: () => void } | null = null;
  #isFrozen = false;

  constructor() {
    this.#child = spawnBound(process.execPath, [SCRIPT], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    this.#child.on('message', (message) => this.#hear(message as FromWorker));
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on('data', (chunk: Buffer) => this.log.push(chunk.toString()));
    this.#child.once('exit', () => this.#running?.end());
    this.#ready = this.#answer('ready');
    this.#ready.catch(() => {});
  }

  /** Has a job, or is frozen in the middle of one. */
  get isBusy(): boolean {
    return this.#running !== null;
  }

  get isAlive(): boolean {
    return !hasExited(this.#child);
  }

  get isFrozen(): boolean {
    return this.#isFrozen;
  }

  async wire(wiring: Wiring): Promise<void> {
    await this.#ready;
    const wired = this.#answer('wired');
    this.#send({ kind: 'wire', ...wiring });
    await wired;
  }

  async takeFromQueue(): Promise<void> {
    const queueing = this.#answer('queueing');
    this.#send({ kind: 'queue' });
    await queueing;
  }

  /** Resolves when the job is over, or the process. */
  run(job: JobRef): Promise<void> {
    if (this.#running !== null) throw new Error('this worker has a job already');
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = () => {
      this.#running = null;
      resolve();
    };
    this.#running = { done: promise, end };
    this.#send({ kind: 'run', job });
    return promise;
  }

  /** Resolves when it has no job, at once if so. */
  async idle(): Promise<void> {
    await this.#running?.done;
  }

  /** SIGKILL; from this instant on it does nothing. Resolves when it is gone. */
  async kill(): Promise<void> {
    if (hasExited(this.#child)) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }

  freeze(): void {
    this.#isFrozen = this.#child.kill('SIGSTOP');
  }

  thaw(): void {
    this.#isFrozen = false;
    this.#child.kill('SIGCONT');
  }

  #send(message: ToWorker): void {
    this.#child.send(message);
  }

  #hear(message: FromWorker): void {
    if (message.kind === 'log') this.log.push(message.text);
    if (message.kind !== 'ran') return;
    if (message.fault !== null) this.log.push(message.fault);
    this.#running?.end();
  }

  #answer(kind: FromWorker['kind']): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onMessage = (message: unknown) => {
      if ((message as FromWorker).kind !== kind) return;
      this.#child.off('message', onMessage);
      resolve();
    };
    this.#child.on('message', onMessage);
    this.#child.once('exit', () => reject(new Error(`a worker ended: ${this.log.join('\n')}`)));
    return promise;
  }
}

/** Worker processes started ahead, so that nobody waits for a start. */
export class WorkerPool implements AsyncDisposable {
  readonly #spare: WorkerProcess[];
  readonly #all = new Set<WorkerProcess>();
  // One that is frozen when this process ends would never hear of it.
  readonly #onExit = () => {
    for (const worker of this.#all) void worker.kill();
  };

  constructor(spare: number) {
    this.#spare = Array.from({ length: spare }, () => this.#start());
    process.on('exit', this.#onExit);
  }

  take(): WorkerProcess {
    this.#spare.push(this.#start());
    return this.#spare.shift() as WorkerProcess;
  }

  #start(): WorkerProcess {
    const worker = new WorkerProcess();
    this.#all.add(worker);
    return worker;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#all].map((worker) => worker.kill()));
    process.off('exit', this.#onExit);
  }
}
