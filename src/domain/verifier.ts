import type { Item, Settlement } from './item.ts';
import type { ImapUid, TargetSession } from './ports.ts';
import type { Repaired } from './repair.ts';

export interface Copied {
  item: Item;
  form: Repaired;
  uid: ImapUid | null;
  /** Index in the journal. */
  record: number;
}

export interface VerifierContext {
  target: TargetSession;
  verify: 'size' | 'digest';
  signal: AbortSignal;
  /** The run is to stop: what would take long is left to the next one. */
  stop: AbortSignal;
  /** Called when the destination cannot be asked any more. */
  halt(): void;
  /** The copy was compared: it holds what was sent, or other bytes, or is gone from the folder. */
  seen(copied: Copied, result: VerifyResult): void;
}

export type VerifyResult =
  /** `read`: all its bytes were compared, not its size alone. */
  { kind: 'equal'; read: boolean } | { kind: 'altered'; settlement: Settlement } | { kind: 'gone' };

/**
 * Looks at each copy after its OK, behind the appends: by RFC822.SIZE, or by reading it back. A message is held
 * until then, so that an altered copy is compared with the very bytes that were sent.
 */
export class Verifier {
  readonly #context: VerifierContext;
  #work: Promise<void> = Promise.resolve();
  #failure: { error: unknown } | null = null;

  constructor(context: VerifierContext) {
    this.#context = context;
  }

  add(group: readonly Copied[]): void {
    this.#work = this.#work.then(() => this.#verifyAll(group));
  }

  /** Waits for all that was added. @throws BridgeError when the destination could not be asked */
  async finish(): Promise<void> {
    await this.#work;
    if (this.#failure !== null) throw this.#failure.error;
  }

  async #verifyAll(group: readonly Copied[]): Promise<void> {
    try {
      if (this.#failure === null) await this.#compare(group);
    } catch (error) {
      // The records stay unverified; the next attempt or run looks again.
      this.#failure = { error };
      this.#context.halt();
    } finally {
      for (const { item } of group) item.release();
    }
  }

  async #compare(group: readonly Copied[]): Promise<void> {
    const { target, verify, signal } = this.#context;
    const known = group.filter((copied): copied is Copied & { uid: ImapUid } => copied.uid !== null);
    if (known.length === 0 || (verify === 'digest' && this.#context.stop.aborted)) return;
    const sizes =
      verify === 'size'
        ? await target.sizes(
            known.map(({ uid }) => uid),
            signal,
          )
        : null;
    for (const copied of known) {
      const size = sizes?.get(copied.uid);
      if (sizes !== null && size === undefined) this.#context.seen(copied, { kind: 'gone' });
      else if (size === copied.form.bytes.length) this.#context.seen(copied, { kind: 'equal', read: false });
      else this.#context.seen(copied, await this.#readBack(copied));
    }
  }

  async #readBack(copied: Copied & { uid: ImapUid }): Promise<VerifyResult> {
    const bytes = await this.#context.target.read(copied.uid, this.#context.signal);
    return compareCopy(copied.form, bytes);
  }
}

/** What came back against what was sent. */
export function compareCopy(form: Repaired, bytes: Buffer | null): VerifyResult {
  if (bytes === null) return { kind: 'gone' };
  if (bytes.equals(form.bytes)) return { kind: 'equal', read: true };
  const detail = `The destination gives back ${bytes.length} bytes, other than the ${form.bytes.length} sent.`;
  return {
    kind: 'altered',
    settlement: {
      outcome: 'copied',
      altered: true,
      verified: true,
      repair: form.repair,
      reason: { code: 'altered', detail },
    },
  };
}
