import { digestOfAltered, isAlterationOf, nomination, sha256 } from './fingerprint.ts';
import type { Repair } from './migration.ts';
import type { FoundCopy, ImapUid } from './ports.ts';
import type { Repaired } from './repair.ts';

interface Copy {
  uid: ImapUid;
  size: number;
  /** Read when first needed; null: the message is gone from the folder. */
  digests?: { exact: string; altered: string } | null;
}

export interface Match {
  uid: ImapUid;
  /** False: the destination holds it with other bytes than were sent. */
  exact: boolean;
  repair: Repair;
}

/**
 * Messages of the destination that may be copies of what is still to be settled. Header fields nominate, the
 * whole message confirms, and each copy is claimed once.
 */
export class CopyIndex {
  readonly #read: (uid: ImapUid) => Promise<Buffer | null>;
  readonly #byNomination = new Map<string, Copy[]>();
  readonly #unclaimed = new Set<ImapUid>();
  readonly #ascending: ImapUid[] = [];
  #next = 0;

  constructor(read: (uid: ImapUid) => Promise<Buffer | null>) {
    this.#read = read;
  }

  get size(): number {
    return this.#unclaimed.size;
  }

  add(found: readonly FoundCopy[]): void {
    for (const { uid, size, header } of found) {
      const key = nomination(header);
      const same = this.#byNomination.get(key);
      if (same === undefined) this.#byNomination.set(key, [{ uid, size }]);
      else same.push({ uid, size });
      this.#unclaimed.add(uid);
      this.#ascending.push(uid);
    }
    this.#ascending.sort((a, b) => a - b);
    this.#next = 0;
  }

  has(uid: ImapUid): boolean {
    return this.#unclaimed.has(uid);
  }

  /** The lowest UID at or above `floor` (the same at every call) that nobody claimed; null where there is none. */
  lowestUnclaimed(floor: ImapUid): ImapUid | null {
    for (let uid = this.#ascending[this.#next]; uid !== undefined; uid = this.#ascending[++this.#next])
      if (uid >= floor && this.#unclaimed.has(uid)) return uid;
    return null;
  }

  /**
   * Claims a copy of a message: one with exactly the bytes of one of its forms.
   * @param message as POP3 delivered it, or as it was sent
   * @param forms what a run may have sent instead of it, and the message as it is; asked for only where a copy is
   *   nominated
   */
  async claim(message: Buffer, forms: () => readonly Repaired[]): Promise<Match | null> {
    const nominated = this.#nominated(message);
    if (nominated.length === 0) return null;
    for (const form of forms()) {
      const digest = sha256(form.bytes);
      const copy = await this.#find(nominated, (digests) => digests.exact === digest);
      if (copy !== null) return this.#take(copy, true, form.repair);
    }
    return null;
  }

  /** Whether `claimAltered` would find one now. */
  async hasAltered(message: Buffer): Promise<boolean> {
    return (await this.#findAltered(message)) !== null;
  }

  /**
   * Claims a copy that the destination altered. To be asked only when every message that may own a copy exactly has
   * been, or a message would take the copy of one that is nearly equal.
   */
  async claimAltered(message: Buffer): Promise<Match | null> {
    const copy = await this.#findAltered(message);
    return copy === null ? null : this.#take(copy, false, null);
  }

  #nominated(message: Buffer): Copy[] {
    const copies = (this.#byNomination.get(nomination(message)) ?? []).filter(({ uid }) => this.has(uid));
    return copies.sort((a, b) => Number(b.size === message.length) - Number(a.size === message.length));
  }

  async #findAltered(message: Buffer): Promise<Copy | null> {
    const nominated = this.#nominated(message);
    if (nominated.length === 0) return null;
    const altered = digestOfAltered(message);
    for (const copy of nominated) {
      const digests = await this.#digests(copy);
      if (digests?.altered !== altered) continue;
      const bytes = await this.#read(copy.uid);
      if (bytes !== null && isAlterationOf(message, bytes)) return copy;
    }
    return null;
  }

  #take(copy: Copy, exact: boolean, repair: Repair): Match {
    this.#unclaimed.delete(copy.uid);
    return { uid: copy.uid, exact, repair };
  }

  async #find(
    copies: readonly Copy[],
    fits: (digests: { exact: string; altered: string }) => boolean,
  ): Promise<Copy | null> {
    for (const copy of copies) {
      const digests = await this.#digests(copy);
      if (digests !== null && fits(digests)) return copy;
    }
    return null;
  }

  async #digests(copy: Copy): Promise<{ exact: string; altered: string } | null> {
    if (copy.digests === undefined) {
      const bytes = await this.#read(copy.uid);
      copy.digests = bytes === null ? null : { exact: sha256(bytes), altered: digestOfAltered(bytes) };
    }
    return copy.digests;
  }
}
