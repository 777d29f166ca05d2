import type { FoundCopy, ImapUid, Outgoing, TargetFolder, TargetSession, Upload } from '../domain/ports.ts';
import type { ImapClient } from './client.ts';
import { connect, type Login } from './connection.ts';
import { Control } from './control.ts';
import { appendLimit, type FolderName } from './folder.ts';
import { Lanes } from './lanes.ts';
import { GroupUpload, type UploadContext } from './upload.ts';

/** Connections that append, besides the one that looks. */
const LANES = 4;

/** A folder of an account, opened. Connections that are lost are made anew when they are needed. */
export class ImapSession implements TargetSession {
  readonly folder: TargetFolder;
  readonly multiAppend: boolean;
  readonly literal8: boolean;
  readonly appendLimit: number | null;
  readonly #closeMs: number;
  readonly #control: Control;
  readonly #lanes: Lanes;
  readonly #context: UploadContext;

  private constructor(
    login: Login,
    client: ImapClient,
    facts: { name: FolderName; folder: TargetFolder; appendLimit: number | null; control: Control },
  ) {
    this.folder = facts.folder;
    this.appendLimit = facts.appendLimit;
    this.multiAppend = client.capabilities.has('MULTIAPPEND');
    this.literal8 = client.capabilities.has('BINARY');
    this.#closeMs = login.timeouts.closeMs;
    this.#control = facts.control;
    // Without both, each append must be found by a look at the folder, and several at once would find each other's.
    const told = this.multiAppend || client.capabilities.has('UIDPLUS');
    this.#lanes = new Lanes((signal) => connect(login, signal), told ? LANES : 1);
    this.#context = {
      lanes: this.#lanes,
      wire: facts.name.wire,
      uidValidity: facts.folder.uidValidity,
      multiAppend: this.multiAppend,
      literal8: this.literal8,
    };
  }

  /** Takes a connection that is signed in, and a folder that is there. @throws BridgeError */
  static async on(client: ImapClient, name: FolderName, login: Login): Promise<ImapSession> {
    const control = new Control(name, (signal) => connect(login, signal));
    const folder = await control.open(client);
    const limit = await appendLimit(client, name);
    return new ImapSession(login, client, { name, folder, appendLimit: limit, control });
  }

  get lanes(): number {
    return this.#lanes.limit;
  }

  upload(group: readonly Outgoing[], signal: AbortSignal): Upload {
    return new GroupUpload(this.#context, group, signal);
  }

  scan(from: ImapUid, below: ImapUid | null, signal: AbortSignal): Promise<FoundCopy[]> {
    return this.#control.scan(from, below, signal);
  }

  sizes(uids: readonly ImapUid[], signal: AbortSignal): Promise<Map<ImapUid, number>> {
    return this.#control.sizes(uids, signal);
  }

  internalDates(uids: readonly ImapUid[], signal: AbortSignal): Promise<Map<ImapUid, Date>> {
    return this.#control.internalDates(uids, signal);
  }

  read(uid: ImapUid, signal: AbortSignal): Promise<Buffer | null> {
    return this.#control.read(uid, signal);
  }

  refresh(signal: AbortSignal): Promise<TargetFolder> {
    return this.#control.refresh(signal);
  }

  async close(): Promise<void> {
    this.#lanes.stop();
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise((resolve) => {
      timer = setTimeout(resolve, this.#closeMs);
    });
    const farewells = [this.#control.logout(), ...[...this.#lanes.clients].map((client) => client.leave())];
    await Promise.race([Promise.allSettled(farewells), patience]);
    clearTimeout(timer);
    this.destroy();
  }

  destroy(): void {
    this.#lanes.destroy();
    this.#control.destroy();
  }
}
