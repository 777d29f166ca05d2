import type { FastifyInstance } from 'fastify';
import { stringify } from 'yaml';

/** What the OpenAPI document says beyond the routes. */
export const documentInfo = {
  openapi: '3.1.0',
  info: {
    title: 'popbridge',
    version: '1',
    description:
      'Moves mailboxes from POP3 to IMAP: byte for byte, exactly once. Errors are RFC 9457 problem documents with a stable `code`. POST calls take an `Idempotency-Key`, kept for 24 hours.',
    license: { name: 'MIT', identifier: 'MIT' },
  },
  tags: [
    { name: 'migrations', description: 'One source into one destination.' },
    { name: 'events', description: 'What happens, as server-sent events.' },
    { name: 'service', description: 'The service itself.' },
  ],
  components: {
    securitySchemes: { key: { type: 'http' as const, scheme: 'bearer', description: 'An API key.' } },
  },
};

/** The whole document, every part written out where it stands. */
export function openapiYaml(app: FastifyInstance): string {
  return stringify(app.swagger(), { aliasDuplicateObjects: false, lineWidth: 110 });
}

type Node = { [key: string]: unknown };

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null;
}

/**
 * The document with each discriminator's mapping written out. Without one, OpenAPI takes the values for component
 * names, which they are not; Ajv in turn, which reads the same schemas, refuses a mapping.
 */
export function withMappings<T extends object>(document: T): T {
  const schemas = componentsOf(document);
  visit(document, (node) => {
    const { discriminator, oneOf } = node;
    if (!isNode(discriminator) || !Array.isArray(oneOf)) return;
    const mapping = mappingOf(String(discriminator.propertyName), oneOf, schemas);
    if (mapping === null) delete node.discriminator;
    else node.discriminator = { ...discriminator, mapping };
  });
  return document;
}

function componentsOf(document: object): Node {
  const components = (document as Node).components;
  const schemas = isNode(components) ? components.schemas : undefined;
  return isNode(schemas) ? schemas : {};
}

/** Null where a branch has no name to map to. */
function mappingOf(tag: string, branches: readonly unknown[], schemas: Node): Record<string, string> | null {
  const entries = branches.map((branch) => {
    const reference = isNode(branch) ? branch.$ref : undefined;
    if (typeof reference !== 'string') return null;
    const target = schemas[reference.replace('#/components/schemas/', '')];
    const properties = isNode(target) ? target.properties : undefined;
    const property = isNode(properties) ? properties[tag] : undefined;
    return isNode(property) ? ([String(literalOf(property)), reference] as const) : null;
  });
  const named = entries.filter((entry) => entry !== null);
  return named.length === entries.length ? Object.fromEntries(named) : null;
}

/** A literal's value, which @fastify/swagger writes as an enum of one. */
function literalOf({ enum: values, const: value }: Node): unknown {
  return Array.isArray(values) ? values[0] : value;
}

function visit(value: unknown, seen: (node: Node) => void): void {
  if (Array.isArray(value)) for (const item of value) visit(item, seen);
  else if (isNode(value)) {
    seen(value);
    for (const member of Object.values(value)) visit(member, seen);
  }
}
