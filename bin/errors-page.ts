/** `npm run docs` writes docs/errors.md anew from the tables in the code; a test says when that is due. */
import { writeFile } from 'node:fs/promises';
import { ERRORS } from '../src/domain/errors.ts';
import { WAIT_REASONS, type WaitReason } from '../src/domain/migration.ts';
import { PROBLEMS } from '../src/http/problems.ts';

export const ERRORS_PAGE = new URL('../docs/errors.md', import.meta.url);

const REASONS: Record<WaitReason, string> = {
  mailbox_locked: 'another mail program has the POP3 mailbox open',
  login_delay: 'the POP3 server wants a pause between two sign-ins',
  over_quota: 'the destination is full',
  throttled: 'a server asked to slow down',
  unreachable: 'a server cannot be reached at this moment',
  destination_busy: 'another migration works on the same accounts and folder',
  no_permit: 'as many connections to a host are open as are allowed',
  credentials_required: 'new credentials are needed: `PUT /v1/migrations/{id}/credentials`',
};

const INTRODUCTION = `# Errors and reasons

Every fault in a migration has one of the codes below, as its \`error.code\` or as \`reason.code\` of a message. \`scope\` says how much it stops, and \`recovery\` what helps: \`retry\` (the
same again, at once), \`wait\` (the same again, later, by itself) or \`final\` (nothing, before somebody changes
something). The server's own words stand in \`detail\`, what to do in \`hint\`. Where a code can arise in another scope
than its usual one, the error itself says so.

This page is made from the tables in the code by \`npm run docs\`.
`;

/** The whole page, Markdown. */
export function errorsPage(): string {
  const codes = Object.entries(ERRORS).map(
    ([code, { scope, recovery, hint }]) => `| \`${code}\` | ${scope} | ${recovery} | ${hint} |`,
  );
  const problems = Object.entries(PROBLEMS).map(
    ([code, { status, title }]) => `| \`${code}\` | ${status} | ${title} |`,
  );
  const reasons = WAIT_REASONS.map((reason) => `| \`${reason}\` | ${REASONS[reason]} |`);
  return [
    INTRODUCTION,
    '## Faults\n',
    '| code | scope | recovery | what to do |',
    '| --- | --- | --- | --- |',
    ...codes,
    '\n## Reasons for waiting\n',
    'The `stateReason` of a migration in state `waiting`. It goes on by itself at `nextRunAt`, or, where credentials',
    'are needed, as soon as it has them.\n',
    '| reason | means |',
    '| --- | --- |',
    ...reasons,
    '\n## Answers of the API\n',
    'The `code` of a problem document (RFC 9457). `errors[]` names each mistake in the request by JSON pointer.\n',
    '| code | status | means |',
    '| --- | --- | --- |',
    ...problems,
    '',
  ].join('\n');
}

if (import.meta.main) await writeFile(ERRORS_PAGE, errorsPage());
