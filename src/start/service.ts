import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { StartError } from './failure.ts';

/** First wait before a crashed process is started again; doubled with each crash. Milliseconds. */
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 10_000;
/** A process that lived this long has recovered: its next crash counts as the first. */
const RECOVERED_MS = 60_000;

export interface ServiceSpec {
  /** For people. */
  name: string;
  command: string;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
  /** Handed to the process on its standard input. */
  input?: string;
  /** A Node process: gets a channel, which `leash.ts` watches. */
  leashed?: boolean;
  /** Between SIGTERM and SIGKILL, milliseconds. */
  graceMs: number;
  onLine: (line: string, stream: 'stdout' | 'stderr') => void;
  /** Told, in words, of an end that nobody asked for, and when it is started again. */
  onCrash: (what: string) => void;
}

/** How a process ended, in words: `with exit code 1`, `by SIGKILL`. */
type Ending = string;

/**
 * One supervised process, in a process group of its own, so that Ctrl-C in a terminal reaches the supervisor
 * only. It runs from construction; from `keep()` on it is started again whenever it ends.
 */
export class Service {
  readonly name: string;
  readonly #spec: ServiceSpec;
  #child: ChildProcess;
  #exit: Promise<Ending>;
  #state: 'starting' | 'kept' | 'stopping' = 'starting';
  #crashes = 0;
  #startedAt = 0;
  #restart: NodeJS.Timeout | undefined;
  #forced = false;

  constructor(spec: ServiceSpec) {
    this.name = spec.name;
    this.#spec = spec;
    [this.#child, this.#exit] = this.#spawn();
  }

  /** Of the process that runs now; undefined between two. */
  get pid(): number | undefined {
    return hasEnded(this.#child) ? undefined : this.#child.pid;
  }

  /** Waits for `ready`, or for the end of the process, which is a failure to start. @throws StartError */
  async untilReady(ready: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const controller = new AbortController();
    const died = this.#exit.then((how) => {
      throw new StartError(`${this.name} ended ${how} while it was starting`);
    });
    try {
      await Promise.race([died, ready(AbortSignal.any([signal, controller.signal]))]);
    } finally {
      controller.abort();
    }
  }

  /** From now on it is started again whenever it ends, with a growing pause. */
  keep(): void {
    if (this.#state !== 'starting') return;
    this.#state = 'kept';
    this.#watch();
  }

  /** SIGTERM, SIGKILL after the grace; resolves when it is gone. Idempotent. */
  async stop(): Promise<void> {
    this.#state = 'stopping';
    clearTimeout(this.#restart);
    if (hasEnded(this.#child)) return;
    this.#child.kill(this.#forced ? 'SIGKILL' : 'SIGTERM');
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), this.#spec.graceMs);
    await this.#exit;
    clearTimeout(killer);
  }

  /** SIGKILL now, or as soon as `stop()` is called. */
  force(): void {
    this.#forced = true;
    if (this.#state === 'stopping') this.#child.kill('SIGKILL');
  }

  #spawn(): [ChildProcess, Promise<Ending>] {
    const { command, args, env, input, leashed, onLine } = this.#spec;
    const stdio: StdioOptions = [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'];
    if (leashed === true) stdio.push('ipc');
    this.#startedAt = performance.now();
    const child = spawn(command, args, { env, stdio, detached: true });
    for (const stream of ['stdout', 'stderr'] as const) {
      const source = child[stream];
      if (source !== null) createInterface({ input: source }).on('line', (line) => onLine(line, stream));
    }
    child.stdin?.on('error', () => {}).end(input);
    const exit = new Promise<Ending>((resolve) => {
      child.once('error', (error: NodeJS.ErrnoException) => resolve(`before it ran (${error.code})`));
      child.once('close', (code, signal) =>
        resolve(signal === null ? `with exit code ${code}` : `by ${signal}`),
      );
    });
    return [child, exit];
  }

  #watch(): void {
    this.#exit.then((how) => {
      if (this.#state !== 'kept') return;
      if (performance.now() - this.#startedAt > RECOVERED_MS) this.#crashes = 0;
      const delay = Math.min(FIRST_DELAY_MS * 2 ** this.#crashes++, LONGEST_DELAY_MS);
      this.#spec.onCrash(`${this.name} ended ${how}; it is started again in ${delay / 1000} s`);
      this.#restart = setTimeout(() => {
        [this.#child, this.#exit] = this.#spawn();
        this.#watch();
      }, delay);
    });
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
}
