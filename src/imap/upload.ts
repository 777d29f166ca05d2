import { BridgeError } from '../domain/errors.ts';
import type { AppendOutcome, ImapUid, Outgoing, Upload } from '../domain/ports.ts';
import type { AppendCommand, AppendEnd, ImapClient } from './client.ts';
import { quoted, unsendable } from './frames.ts';
import type { Lanes } from './lanes.ts';
import { numberOf, type Response, responseCode, stringOf } from './tokens.ts';
import { parseUidSet } from './uid-set.ts';

/** Where and how the groups of a session go. */
export interface UploadContext {
  lanes: Lanes;
  /** The folder as in a command, not quoted. */
  wire: string;
  uidValidity: number;
  multiAppend: boolean;
  literal8: boolean;
}

/** One group on its way over one lane. An abort of its signal abandons it. */
export class GroupUpload implements Upload {
  readonly ready: Promise<AppendOutcome | null>;
  readonly #context: UploadContext;
  readonly #group: readonly Outgoing[];
  readonly #stop = new AbortController();
  #client: ImapClient | null = null;
  #command: AppendCommand | null = null;
  #outcome: Promise<AppendOutcome> | null = null;

  constructor(context: UploadContext, group: readonly Outgoing[], signal: AbortSignal) {
    this.#context = context;
    this.#group = group;
    const onAbort = () => this.#abandon(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    const forget = () => signal.removeEventListener('abort', onAbort);
    this.ready = this.#start().then((early) => {
      if (early === null) this.#outcome?.then(forget);
      else forget();
      return early;
    });
  }

  async release(): Promise<AppendOutcome> {
    if (this.#command === null || this.#outcome === null) throw new Error('released before it was ready');
    this.#command.sendLast();
    return this.#outcome;
  }

  abandon(): void {
    this.#abandon(undefined);
  }

  #abandon(reason: unknown): void {
    if (this.#stop.signal.aborted) return;
    const detail = 'the upload was abandoned';
    this.#stop.abort(
      reason instanceof BridgeError
        ? reason
        : new BridgeError('connection_lost', { side: 'destination', detail }),
    );
    this.#client?.close();
  }

  async #start(): Promise<AppendOutcome | null> {
    const refusal = localRefusal(this.#group, this.#context);
    if (refusal !== null) return { kind: 'refused', error: refusal };
    const client = await this.#context.lanes
      .take(this.#stop.signal)
      .catch((error) => BridgeError.from(error));
    if (client instanceof BridgeError) return { kind: 'unsent', error: client };
    if (this.#stop.signal.aborted) {
      this.#context.lanes.giveBack(client, false);
      return { kind: 'unsent', error: BridgeError.from(this.#stop.signal.reason) };
    }
    this.#client = client;
    this.#command = client.appendGroup(quoted(this.#context.wire), this.#group.map(literalOf));
    this.#outcome = this.#command.end.then((end) => this.#settle(client, end));
    return (await this.#command.accepted) ? null : this.#outcome;
  }

  #settle(client: ImapClient, end: AppendEnd): AppendOutcome {
    // From here on the connection is another group's.
    this.#client = null;
    this.#context.lanes.giveBack(client, end.kind === 'refused');
    if (end.kind === 'ok')
      return {
        kind: 'appended',
        uids: appendUids(end.response, this.#context.uidValidity, this.#group.length),
      };
    if (end.kind === 'refused') return end;
    return { kind: end.sent ? 'unknown' : 'unsent', error: end.error };
  }
}

/** What cannot be sent to this server. The whole group is refused, as a server would. */
function localRefusal(group: readonly Outgoing[], context: UploadContext): BridgeError | null {
  if (group.some(({ bytes }) => bytes.length === 0))
    return new BridgeError('message_empty', { side: 'destination' });
  const fault = unfit(group, context) ?? group.map(literalOf).map(unsendable).find(Boolean) ?? null;
  return fault === null
    ? null
    : new BridgeError('message_refused', { side: 'destination', detail: `not sent: ${fault}` });
}

function unfit(group: readonly Outgoing[], { multiAppend, literal8 }: UploadContext): string | null {
  // A server without MULTIAPPEND would read the second message as commands.
  if (group.length === 0 || (group.length > 1 && !multiAppend)) return `a group of ${group.length} messages`;
  return group.some((message) => message.literal8) && !literal8
    ? 'literal8, which the server does not offer'
    : null;
}

function literalOf({ bytes, literal8, flags, internalDate }: Outgoing) {
  return { octets: bytes, literal8, flags, internalDate };
}

/** APPENDUID (RFC 4315 section 3); null where it is missing or cannot be the answer to this group. */
function appendUids(response: Response, uidValidity: number, count: number): ImapUid[] | null {
  const code = responseCode(response);
  if (code?.name !== 'APPENDUID' || numberOf(code.args[0]) !== uidValidity) return null;
  return parseUidSet(stringOf(code.args[1]) ?? '', count);
}
