import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { it } from 'node:test';
import { ERRORS_PAGE, errorsPage } from '../bin/errors-page.ts';

it('docs/errors.md lists the codes and reasons that the code has (npm run docs writes it anew)', async () => {
  assert.equal(await readFile(ERRORS_PAGE, 'utf8'), errorsPage());
});
