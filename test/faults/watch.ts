import { setTimeout as delay } from 'node:timers/promises';
import type { Migration } from '../../src/domain/migration.ts';

const EVERY_MS = 10;
const GROWING = ['copied', 'alreadyPresent', 'failed', 'altered', 'repaired', 'deletedFromSource'] as const;

/** Looks at a migration all the time, as a user of the API may: what is seen must always be true. */
export class Watch {
  readonly violations: string[] = [];
  /** The journal was lost in part or whole. */
  hasForgotten = false;
  readonly #get: () => Promise<Migration | null>;
  readonly #done: Promise<void>;
  #last: Migration | null = null;
  /** Odd while nothing is looked at. */
  #blinks = 0;
  #isRetried = false;
  #isOver = false;

  /** @param get the migration now; may throw while Redis is down */
  constructor(get: () => Promise<Migration | null>) {
    this.#get = get;
    this.#done = this.#look();
  }

  /** Redis is made to forget, or a failure is tried again: nothing is looked at meanwhile, and what was seen goes. */
  async blink(work: () => Promise<unknown>): Promise<void> {
    this.hasForgotten = true;
    this.#blinks += 1;
    await work();
    this.#blinks += 1;
    this.#last = null;
  }

  /** What failed is tried again: it counts no more from then on. */
  expectRetry(): void {
    this.#isRetried = true;
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#done;
  }

  async #look(): Promise<void> {
    while (!this.#isOver) {
      const blinks = this.#blinks;
      const now = await this.#get().catch(() => null);
      if (now !== null && blinks % 2 === 0 && blinks === this.#blinks) {
        const before = this.#last?.id === now.id ? this.#last : null;
        this.violations.push(...sums(now), ...(before === null ? [] : this.#steps(before, now)));
        this.#last = now;
      }
      await delay(EVERY_MS);
    }
  }

  #steps(before: Migration, now: Migration): string[] {
    const [from, to] = [before.progress, now.progress];
    const wrong = GROWING.filter((name) => (to.messages[name] ?? 0) < (from.messages[name] ?? 0))
      .filter((name) => name !== 'failed' || !this.#isRetried)
      .map((name) => `${name} went back: ${JSON.stringify([from.messages, to.messages])}`);
    if ((to.bytes.settled ?? 0) < (from.bytes.settled ?? 0) && !this.#isRetried)
      wrong.push('bytes went back');
    if (now.runs < before.runs) wrong.push(`runs went back: ${before.runs}, ${now.runs}`);
    return wrong;
  }
}

/** `total = copied + alreadyPresent + skipped + failed + remaining` (the REST contract). */
function sums({ progress: { messages, bytes } }: Migration): string[] {
  const { total, copied, alreadyPresent, skipped, failed, remaining, altered, repaired } = messages;
  if (total === null) return [];
  const wrong: string[] = [];
  const sum = (copied ?? 0) + (alreadyPresent ?? 0) + (skipped ?? 0) + (failed ?? 0) + (remaining ?? 0);
  if (sum !== total) wrong.push(`sum ${sum} of ${JSON.stringify(messages)}`);
  if ((altered ?? 0) > (copied ?? 0) || (repaired ?? 0) > (copied ?? 0))
    wrong.push(`more marked than copied: ${JSON.stringify(messages)}`);
  if ((bytes.settled ?? 0) > (bytes.total ?? 0)) wrong.push(`bytes ${JSON.stringify(bytes)}`);
  return wrong;
}
