import type {
  Auth,
  Credentials,
  Endpoint,
  MigrationDraft,
  MigrationOptions,
  PasswordAuth,
  RepairRung,
  Security,
  TlsOptions,
} from '../domain/migration.ts';
import { PROBLEMS, type ProblemCode, ProblemError } from './problems.ts';
import type { AuthInput, EndpointInput } from './schemas/endpoint.ts';
import type { CredentialsInput, MigrationInput, MigrationPatch } from './schemas/migration.ts';
import type { OptionsInput } from './schemas/options.ts';
import type { Violation } from './schemas/problem.ts';
import type { Policy } from './services.ts';

/** Collects what is well-formed and impossible, all of it, before it is refused. */
class Findings {
  readonly #found: Violation[] = [];

  get count(): number {
    return this.#found.length;
  }

  add(pointer: string, code: ProblemCode, detail: string): null {
    this.#found.push({ pointer, code, detail });
    return null;
  }

  unsupported(pointer: string, what: string): null {
    return this.add(pointer, 'unsupported_option', `${what} is not built yet`);
  }

  /** The first one's code stands for all. */
  problem(): ProblemError {
    const code = (this.#found[0]?.code ?? 'unsupported_option') as ProblemCode;
    const detail = this.#found.map((found) => `${found.pointer}: ${found.detail}`).join('; ');
    return new ProblemError(code in PROBLEMS ? code : 'unsupported_option', `${detail}.`, {
      errors: this.#found,
    });
  }
}

/**
 * What `POST /v1/migrations` asks for, secrets apart from the record.
 * @throws ProblemError 422 that lists everything impossible
 */
export function draftOf(
  input: MigrationInput,
  policy: Policy,
): { draft: MigrationDraft; credentials: Credentials } {
  const findings = new Findings();
  const source = accountOf(input.source, '/source', POP3_PORTS, policy, findings);
  const destination = accountOf(input.destination, '/destination', IMAP_PORTS, policy, findings);
  const options = optionsOf(input.options, findings);
  if (source === null || destination === null || options === null) throw findings.problem();
  return {
    draft: {
      label: input.label,
      source: source.endpoint,
      destination: { ...destination.endpoint, folder: input.destination.folder },
      options,
    },
    credentials: { source: source.auth, destination: destination.auth },
  };
}

/** @throws ProblemError 422 */
export function credentialsOf(input: CredentialsInput): { source?: Auth; destination?: Auth } {
  const findings = new Findings();
  const source = input.source && authOf(input.source.auth, '/source/auth', findings);
  const destination = input.destination && authOf(input.destination.auth, '/destination/auth', findings);
  if (source === null || destination === null) throw findings.problem();
  return { ...(source && { source }), ...(destination && { destination }) };
}

/** The stored options with the given ones over them, option by option. @throws ProblemError 422 */
export function patchedOptions(stored: MigrationOptions, patch: MigrationPatch): MigrationOptions {
  const findings = new Findings();
  if (patch.schedule !== undefined && patch.schedule !== null)
    findings.unsupported('/schedule', 'a schedule');
  const options = optionsOf({ ...stored, ...patch.options }, findings);
  if (options === null || findings.count > 0) throw findings.problem();
  return options;
}

const POP3_PORTS: Record<Security, number> = { tls: 995, starttls: 110, none: 110 };
const IMAP_PORTS: Record<Security, number> = { tls: 993, starttls: 143, none: 143 };

function accountOf(
  input: EndpointInput,
  at: string,
  ports: Record<Security, number>,
  policy: Policy,
  findings: Findings,
): { endpoint: Endpoint; auth: PasswordAuth } | null {
  const before = findings.count;
  const auth = authOf(input.auth, `${at}/auth`, findings);
  checkText(input.username, `${at}/username`, findings);
  if (input.tls !== undefined) checkTls(input.tls, `${at}/tls`, policy, findings);
  if (input.provider !== undefined) return findings.unsupported(`${at}/provider`, 'a provider');
  checkReach(input, at, policy, findings);
  if (auth === null || findings.count > before) return null;
  const { type, authorizationId } = auth;
  const { host, security, username, tls } = input;
  return {
    auth,
    endpoint: {
      host,
      port: input.port ?? ports[security],
      security,
      username,
      auth: { type, ...(authorizationId !== undefined && { authorizationId }) },
      ...(tls && { tls }),
    },
  };
}

function checkReach(
  { host, security }: { host: string; security: Security },
  at: string,
  policy: Policy,
  findings: Findings,
): void {
  if (security === 'none' && !policy.allowPlaintext) {
    findings.add(
      `${at}/security`,
      'plaintext_not_allowed',
      'must be "tls" or "starttls", unless the operator sets POPBRIDGE_ALLOW_PLAINTEXT=true',
    );
  }
  if (!policy.isAddressAllowed(host)) {
    findings.add(
      `${at}/host`,
      'address_not_allowed',
      'is a private, loopback or reserved address; the operator can allow its network in POPBRIDGE_ALLOW_NETWORKS',
    );
  }
}

function checkTls(tls: TlsOptions, at: string, policy: Policy, findings: Findings): void {
  if (tls.pinSha256 !== undefined) findings.unsupported(`${at}/pinSha256`, 'a pinned certificate');
  const legacy = tls.minVersion === 'TLSv1' || tls.minVersion === 'TLSv1.1';
  if (legacy && !policy.allowLegacyTls) {
    findings.add(
      `${at}/minVersion`,
      'legacy_tls_not_allowed',
      'must be "TLSv1.2" or later, unless the operator sets POPBRIDGE_ALLOW_LEGACY_TLS=true',
    );
  }
}

function authOf(input: AuthInput, at: string, findings: Findings): PasswordAuth | null {
  if (input.type !== 'password') return findings.unsupported(`${at}/type`, 'this type');
  const sane = checkText(input.password, `${at}/password`, findings);
  const saneId =
    input.authorizationId === undefined ||
    checkText(input.authorizationId, `${at}/authorizationId`, findings);
  return sane && saneId ? input : null;
}

/** Neither POP3 nor SASL PLAIN can carry these, and on a command line they would begin another command. */
function checkText(value: string, pointer: string, findings: Findings): boolean {
  if (!/[\r\n\0]/.test(value)) return true;
  findings.add(pointer, 'invalid_credentials', 'must not hold line breaks or NUL');
  return false;
}

function optionsOf(input: OptionsInput, findings: Findings): MigrationOptions | null {
  const before = findings.count;
  const { sourceDeletion } = input;
  // Only what was read back and found equal may be deleted.
  if (sourceDeletion.policy === 'delete' && input.verify !== 'digest')
    findings.add('/options/sourceDeletion', 'verify_required', 'needs verify "digest"');
  const filter = filterOf(input.filter, findings);
  const repair = repairOf(input.repair, findings);
  if (input.schedule !== null) findings.unsupported('/options/schedule', 'a schedule');
  if (findings.count > before) return null;
  return { ...input, repair, filter, sourceDeletion, schedule: null };
}

function filterOf(filter: OptionsInput['filter'], findings: Findings): MigrationOptions['filter'] {
  for (const [name, value] of Object.entries(filter)) {
    if (value !== null) findings.unsupported(`/options/filter/${name}`, 'this filter');
  }
  return { since: null, before: null, maxBytes: null };
}

function repairOf(repair: OptionsInput['repair'], findings: Findings): RepairRung[] {
  return repair.filter((rung, index): rung is RepairRung => {
    if (rung === 'attach') findings.unsupported(`/options/repair/${index}`, 'this repair');
    return rung !== 'attach';
  });
}
