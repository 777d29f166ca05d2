/** What imapflow's parser makes of one element of a response; `null` is NIL, an array a list. */
export type Token = null | TokenNode | Token[];

export interface TokenNode {
  type: string;
  /** A literal is a Buffer, everything else a string (read as UTF-8). */
  value?: string | Buffer;
  /** `[…]` after an atom, or a response code. */
  section?: Token[];
}

/** A response line, tagged or untagged. `command` is OK, NO, FETCH's message number, … */
export interface Response {
  tag: string;
  command: string;
  attributes?: Token[];
}

/** An argument of a command as imapflow's compiler takes it; a plain string becomes a quoted one. */
export type Argument = string | { type: string; value: string; section?: Argument[] } | Argument[];

export function atom(value: string, section?: Argument[]): Argument {
  return section === undefined ? { type: 'ATOM', value } : { type: 'ATOM', value, section };
}

export function stringOf(token: Token | undefined): string | null {
  const value = nodeOf(token)?.value;
  if (Buffer.isBuffer(value)) return value.toString();
  return value ?? null;
}

/** A number of at most 32 bits, else null. */
export function numberOf(token: Token | undefined): number | null {
  const text = stringOf(token);
  if (text === null || !/^\d{1,10}$/.test(text)) return null;
  const value = Number(text);
  return value <= 0xffff_ffff ? value : null;
}

/** An nstring's octets. A quoted string was read as UTF-8, so that only a literal is sure to be exact. */
export function octetsOf(token: Token | undefined): Buffer | null {
  const value = nodeOf(token)?.value;
  return typeof value === 'string' ? Buffer.from(value) : (value ?? null);
}

/** The response code (RFC 9051 section 7.1), upper case, and what follows it inside the brackets. */
export function responseCode(response: Response): { name: string; args: Token[] } | null {
  const section = nodeOf(response.attributes?.[0])?.section;
  const name = stringOf(section?.[0]);
  return section === undefined || name === null
    ? null
    : { name: name.toUpperCase().trim(), args: section.slice(1) };
}

/** The text for people at the end of a status response. */
export function responseText(response: Response): string {
  const texts = (response.attributes ?? []).map(nodeOf).filter((node) => node?.type === 'TEXT');
  return texts
    .map((node) => String(node?.value ?? '').trim())
    .join(' ')
    .trim();
}

/** The data items of an untagged FETCH by upper-case name; a section (`BODY[…]`) stands under its atom. */
export function fetchItems(response: Response): Map<string, Token> {
  return pairs(response.attributes?.[1]);
}

/** A list `name value name value …`, as FETCH and STATUS have it. */
export function pairs(list: Token | undefined): Map<string, Token> {
  const items = new Map<string, Token>();
  if (!Array.isArray(list)) return items;
  for (let at = 0; at + 1 < list.length; at += 2) {
    const name = stringOf(list[at]);
    if (name !== null) items.set(name.toUpperCase(), list[at + 1] ?? null);
  }
  return items;
}

function nodeOf(token: Token | undefined): TokenNode | null {
  return token === undefined || Array.isArray(token) ? null : token;
}
