import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import fp from 'fastify-plugin';
import { COMPONENTS } from '../schemas/index.ts';

function validator(coerceTypes: false | 'array'): Ajv2020 {
  const ajv = new Ajv2020({
    allErrors: true,
    removeAdditional: false,
    coerceTypes,
    useDefaults: true,
    discriminator: true,
    strict: true,
    strictTypes: false,
    strictRequired: false,
  });
  addFormats.default(ajv, ['date-time', 'uri']);
  for (const component of COMPONENTS) ajv.addSchema(component);
  return ajv;
}

/**
 * Bodies are taken as they are: nothing coerced, nothing dropped. What stands in a URL is text, so there
 * numbers are read and a single value counts as a list of one.
 */
export const validation = fp(async (app) => {
  const body = validator(false);
  const url = validator('array');
  for (const component of COMPONENTS) app.addSchema(component);
  app.setValidatorCompiler(({ schema, httpPart }) => (httpPart === 'body' ? body : url).compile(schema));
});
