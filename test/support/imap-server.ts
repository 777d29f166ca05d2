import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { ImapWire } from './imap-wire.ts';

/** Where an APPEND is. `index` counts its messages from 0. */
export interface AppendMoment {
  at: 'announced' | 'received' | 'complete';
  index: number;
  synchronising: boolean;
  /** Connections are counted from 0. */
  connection: number;
}

/**
 * What the server does instead of going on.
 * - `no`: says NO (with these words) at once and counts on what was announced without a `+`, as Dovecot does
 * - `say`: says this line first, then goes on
 * - `bye`: says BYE and closes; `drop`: closes; `mute`: never answers, and reads on
 * - `ok`: at `complete`, stores the messages and says OK with these words
 * - at `complete`, with `store`: the messages are stored before that
 */
export type AppendAction =
  | { no: string }
  | { say: string }
  | { ok: string }
  | { bye: string; store?: boolean }
  | { drop: true; store?: boolean }
  | { mute: true };

export interface ImapServerOptions {
  /** Default: what a modern server has. */
  capabilities?: readonly string[];
  delimiter?: string | null;
  prefix?: string;
  /** Called at each moment of each APPEND; undefined: goes on. */
  append?: (moment: AppendMoment) => AppendAction | undefined;
  /**
   * Lines instead of the usual answer to a command, `TAG` standing for its tag; undefined: the usual one. The
   * line `CLOSE` closes. Called with an empty name for the greeting.
   */
  respond?: (command: { name: string; line: string; connection: number }) => readonly string[] | undefined;
}

export interface StoredMessage {
  uid: number;
  octets: Buffer;
  head: string;
}

export interface StoredFolder {
  uidValidity: number;
  uidNext: number;
  messages: StoredMessage[];
}

/** A small IMAP server in memory, for the faults that no real server gives on command. Any password but `wrong`. */
export interface ImapServer extends AsyncDisposable {
  readonly port: number;
  readonly folders: Map<string, StoredFolder>;
  readonly subscribed: Set<string>;
  /** Every line that was taken for a command, without its tag. */
  readonly commands: { connection: number; line: string }[];
  /** Connections so far, and open now. */
  readonly connections: { made: number; open: number };
}

const MODERN = 'IMAP4rev1 LITERAL+ MULTIAPPEND UIDPLUS BINARY NAMESPACE SPECIAL-USE AUTH=PLAIN'.split(' ');

export async function startImapServer(options: ImapServerOptions = {}): Promise<ImapServer> {
  const state: State = {
    options,
    capabilities: options.capabilities ?? MODERN,
    folders: new Map([['INBOX', { uidValidity: 1_000, uidNext: 1, messages: [] }]]),
    subscribed: new Set(),
    commands: [],
    connections: { made: 0, open: 0 },
  };
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    state.connections.open++;
    socket.once('close', () => {
      sockets.delete(socket);
      state.connections.open--;
    });
    void new Session(state, new ImapWire(socket), state.connections.made++).run();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    folders: state.folders,
    subscribed: state.subscribed,
    commands: state.commands,
    connections: state.connections,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface State {
  options: ImapServerOptions;
  capabilities: readonly string[];
  folders: Map<string, StoredFolder>;
  subscribed: Set<string>;
  commands: { connection: number; line: string }[];
  connections: { made: number; open: number };
}

class Session {
  readonly #state: State;
  readonly #wire: ImapWire;
  readonly #connection: number;
  #selected: StoredFolder | null = null;

  constructor(state: State, wire: ImapWire, connection: number) {
    this.#state = state;
    this.#wire = wire;
    this.#connection = connection;
  }

  async run(): Promise<void> {
    if (!this.#scripted('', '', '')) this.#wire.say('* OK ready');
    for (let line = await this.#wire.line(); line !== null; line = await this.#wire.line()) {
      const [tag = '', name = '', ...rest] = line.split(' ');
      this.#state.commands.push({ connection: this.#connection, line: line.slice(tag.length + 1) });
      if (this.#scripted(tag, name.toUpperCase(), line)) continue;
      if (name.toUpperCase() === 'APPEND') {
        if ((await this.#append(tag, rest.join(' '))) === 'stop') return;
      } else await this.#command(tag, name.toUpperCase(), rest.join(' '));
    }
  }

  #scripted(tag: string, name: string, line: string): boolean {
    const lines = this.#state.options.respond?.({ name, line, connection: this.#connection });
    for (const answer of lines ?? []) {
      if (answer === 'CLOSE') this.#wire.socket.destroySoon();
      else this.#wire.say(answer.replace('TAG', tag));
    }
    return lines !== undefined;
  }

  async #command(tag: string, name: string, rest: string): Promise<void> {
    const { folders, subscribed, capabilities } = this.#state;
    const target = unquote(rest);
    const done = (...untagged: (string | Buffer)[]) => this.#wire.say(...untagged, `${tag} OK ${name} done`);
    const no = (text: string) => this.#wire.say(`${tag} NO ${text}`);
    switch (name) {
      case 'CAPABILITY':
        return done(`* CAPABILITY ${capabilities.join(' ')}`);
      case 'AUTHENTICATE':
        this.#wire.say('+ ');
        return this.#signIn(tag, Buffer.from((await this.#wire.line()) ?? '', 'base64').toString());
      case 'LOGIN':
        return this.#signIn(tag, rest);
      case 'NAMESPACE':
        return done(`* NAMESPACE ((${quote(this.#prefix)} ${this.#delimiter})) NIL NIL`);
      case 'LIST':
        if (target.endsWith('" "'))
          return done(`* LIST (\\Noselect) ${this.#delimiter} ${quote(this.#prefix)}`);
        return done(...[...folders.keys()].map((folder) => `* LIST () ${this.#delimiter} ${quote(folder)}`));
      case 'CREATE':
        if (folders.has(target)) return no('[ALREADYEXISTS] there');
        folders.set(target, { uidValidity: 1_000 + folders.size, uidNext: 1, messages: [] });
        return done();
      case 'SUBSCRIBE':
        subscribed.add(target);
        return done();
      case 'EXAMINE':
        return this.#examine(tag, target);
      case 'UID':
        return done(...this.#fetch(rest));
      case 'LOGOUT':
        this.#wire.say('* BYE bye', `${tag} OK bye`);
        return void this.#wire.socket.end();
      case 'NOOP':
      case 'LSUB':
        return done();
      default:
        return this.#wire.say(`${tag} BAD unknown command`);
    }
  }

  #signIn(tag: string, words: string): void {
    if (words.includes('wrong')) this.#wire.say(`${tag} NO [AUTHENTICATIONFAILED] no, ${words} is wrong`);
    else this.#wire.say(`${tag} OK [CAPABILITY ${this.#state.capabilities.join(' ')}] hello`);
  }

  #examine(tag: string, name: string): void {
    const folder = this.#state.folders.get(name);
    this.#selected = folder ?? null;
    if (folder === undefined) {
      this.#wire.say(`${tag} NO [NONEXISTENT] no such folder`);
      return;
    }
    const { uidValidity, uidNext, messages } = folder;
    const codes = [`* OK [UIDVALIDITY ${uidValidity}] valid`, `* OK [UIDNEXT ${uidNext}] next`];
    this.#wire.say(`* ${messages.length} EXISTS`, ...codes, `${tag} OK [READ-ONLY] examined`);
  }

  /** Of `UID FETCH set (items)` the forms that the target uses. `n:*` gives the last message in any case. */
  #fetch(rest: string): (string | Buffer)[] {
    const set = rest.split(' ')[1] ?? '';
    const messages = this.#selected?.messages ?? [];
    const last = messages.at(-1)?.uid ?? 0;
    const ranges = set.split(',').map((range) => range.split(':').map((end) => (end === '*' ? last : +end)));
    return messages.flatMap((message, index) => {
      const inside = ranges.some(
        ([a = 0, b = a]) => message.uid >= Math.min(a, b) && message.uid <= Math.max(a, b),
      );
      return inside ? fetched(index + 1, message, rest) : [];
    });
  }

  async #append(tag: string, text: string): Promise<'on' | 'stop'> {
    const staged: { octets: Buffer; head: string }[] = [];
    let name = '';
    let refused = false;
    for (let index = 0, rest: string | null = text; rest; index++) {
      const match = /^(?:("(?:[^"\\]|\\.)*") )?(.*?) ?~?\{(\d+)(\+?)\}$/.exec(rest.trimStart());
      if (match === null) {
        if (!refused) this.#wire.say(`${tag} BAD no literal`);
        return 'on';
      }
      name = match[1] === undefined ? name : unquote(match[1]);
      const synchronising = match[4] === '';
      if (!refused && !this.#state.folders.has(name)) {
        this.#wire.say(`${tag} NO [TRYCREATE] no such folder`);
        refused = true;
      }
      if (!refused) {
        const action = this.#act(
          { at: 'announced', index, synchronising, connection: this.#connection },
          tag,
        );
        if (action === 'stop') return 'stop';
        refused = action === 'refused';
      }
      if (refused && synchronising) return 'on';
      if (synchronising) this.#wire.say('+ go ahead');
      const octets = await this.#wire.octets(Number(match[3]));
      if (octets === null) return 'stop';
      staged.push({ octets, head: match[2] ?? '' });
      if (!refused) {
        const action = this.#act({ at: 'received', index, synchronising, connection: this.#connection }, tag);
        if (action === 'stop') return 'stop';
        refused = action === 'refused';
      }
      rest = await this.#wire.line();
      if (rest === null) return 'stop';
    }
    return refused ? 'on' : this.#complete(tag, name, staged);
  }

  #complete(tag: string, name: string, staged: { octets: Buffer; head: string }[]): 'on' | 'stop' {
    const moment: AppendMoment = {
      at: 'complete',
      index: staged.length - 1,
      synchronising: false,
      connection: this.#connection,
    };
    const action = this.#state.options.append?.(moment);
    const goesOn = action === undefined || 'say' in action || 'ok' in action;
    const stored = goesOn || ('store' in action && action.store === true);
    const folder = this.#state.folders.get(name);
    const first = folder?.uidNext ?? 0;
    if (stored) for (const message of staged) folder?.messages.push({ uid: folder.uidNext++, ...message });
    const then = this.#perform(action, tag);
    if (then !== 'on') return then === 'stop' ? 'stop' : 'on';
    const uids = staged.length === 1 ? first : `${first}:${first + staged.length - 1}`;
    const usual = `[APPENDUID ${folder?.uidValidity} ${uids}] stored`;
    this.#wire.say(`${tag} OK ${action !== undefined && 'ok' in action ? action.ok : usual}`);
    return 'on';
  }

  #act(moment: AppendMoment, tag: string): 'on' | 'refused' | 'stop' {
    return this.#perform(this.#state.options.append?.(moment), tag);
  }

  #perform(action: AppendAction | undefined, tag: string): 'on' | 'refused' | 'stop' {
    if (action === undefined) return 'on';
    if ('ok' in action) return 'on';
    if ('say' in action) {
      this.#wire.say(action.say.replace('TAG', tag));
      return 'on';
    }
    if ('no' in action) {
      this.#wire.say(`${tag} NO ${action.no}`);
      return 'refused';
    }
    if ('bye' in action) this.#wire.say(`* BYE ${action.bye}`);
    if (!('mute' in action)) this.#wire.socket.destroySoon();
    return 'stop';
  }

  get #delimiter(): string {
    const { delimiter = '/' } = this.#state.options;
    return delimiter === null ? 'NIL' : quote(delimiter);
  }

  get #prefix(): string {
    return this.#state.options.prefix ?? '';
  }
}

function fetched(
  sequence: number,
  { uid, octets, head: appended }: StoredMessage,
  items: string,
): (string | Buffer)[] {
  // What stood before the literal: `(flags) "date"`.
  const date = items.includes('INTERNALDATE') ? ` INTERNALDATE ${/"[^"]*"/.exec(appended)?.[0]}` : '';
  const head = `* ${sequence} FETCH (UID ${uid} RFC822.SIZE ${octets.length}${date}`;
  const whole = items.includes('BODY.PEEK[]');
  if (!whole && !items.includes('HEADER.FIELDS')) return [`${head})`];
  const content = whole ? octets : headerOf(octets);
  const section = whole ? 'BODY[]' : 'BODY[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]';
  return [`${head} ${section} {${content.length}}`, content, ')'];
}

function headerOf(octets: Buffer): Buffer {
  const header = octets.toString('latin1').split('\r\n\r\n')[0] ?? '';
  const kept = header.split('\r\n').filter((line) => /^(message-id|date|from|subject):/i.test(line));
  return Buffer.from(`${[...kept, '', ''].join('\r\n')}`, 'latin1');
}

function quote(text: string): string {
  return `"${text}"`;
}

function unquote(text: string): string {
  return text.startsWith('"') ? text.slice(1, -1).replaceAll(/\\(.)/g, '$1') : text;
}
