import { posix } from 'node:path';
import { parse } from '@babel/parser';

/** Composition roots: the only files that may wire everything. */
const ROOTS = ['src/main.ts', 'src/start.ts', 'workers/main.ts', 'workers/worker.ts'];
const ENVIRONMENT_READER = 'src/config.ts';

/** What each part may import besides itself. The roots may import all parts of their own tree, and src. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  domain: [],
  pop3: ['domain'],
  imap: ['domain'],
  net: ['domain'],
  store: ['domain'],
  queue: ['domain'],
  http: ['domain'],
  workers: ['domain'],
  /** What `npm start` does around the processes: a piece of the composition root. */
  start: ['domain', 'src'],
  /** Files directly in src that are no roots, as the configuration. */
  src: ['domain'],
};

/** What would tie the domain to a machine or a network is not for it; these compute or wait. */
const DOMAIN_BUILTINS = ['node:crypto', 'node:timers/promises'];

/** Packages that only some parts may know. */
const PACKAGE_OWNERS: Record<string, readonly string[]> = {
  'node-pop3': ['pop3'],
  imapflow: ['imap'],
  bullmq: ['queue', 'workers'],
  ioredis: ['store', 'queue'],
  fastify: ['http'],
};

interface Import {
  /** Null: not a literal. */
  specifier: string | null;
  typeOnly: boolean;
  line: number;
}

/** Each breach of the import rules as `path:line what`. `files`: path in the project to content. */
export function violations(files: ReadonlyMap<string, string>): string[] {
  return [...files].flatMap(([path, source]) => {
    const { imports, environmentReads } = read(source);
    const complaints = imports.map((found) => [found.line, complaint(path, found)] as const);
    if (path !== ENVIRONMENT_READER)
      complaints.push(...environmentReads.map((line) => [line, 'reads process.env'] as const));
    return complaints.filter(([, text]) => text !== null).map(([line, text]) => `${path}:${line} ${text}`);
  });
}

function complaint(path: string, found: Import): string | null {
  const { specifier } = found;
  if (specifier === null) return 'imports something unknown';
  const mayNot = (what: string) => `${partOf(path)} must not import ${what}`;
  if (!specifier.startsWith('.'))
    return packageAllowed(path, specifier, found.typeOnly) ? null : mayNot(specifier);
  if (!/\.(ts|json)$/.test(specifier)) return `imports ${specifier} without .ts`;
  const target = posix.join(posix.dirname(path), specifier);
  return fileAllowed(path, target) ? null : mayNot(target);
}

function fileAllowed(path: string, target: string): boolean {
  const tree = treeOf(target);
  if (tree !== 'src' && !(tree === 'workers' && treeOf(path) === 'workers')) return false;
  if (ROOTS.includes(path)) return true;
  const part = partOf(target);
  return part === partOf(path) || (MAY_IMPORT[partOf(path)] ?? []).includes(part);
}

function packageAllowed(path: string, specifier: string, typeOnly: boolean): boolean {
  const part = partOf(path);
  if (part === 'domain')
    return specifier.startsWith('node:') && (typeOnly || DOMAIN_BUILTINS.includes(specifier));
  const owners = PACKAGE_OWNERS[specifier];
  return owners === undefined || owners.includes(part) || ROOTS.includes(path);
}

function treeOf(path: string): string {
  return path.split('/', 1)[0] ?? '';
}

/** `src/pop3/x.ts` belongs to pop3, `workers/x.ts` to workers, `src/x.ts` to src. */
function partOf(path: string): string {
  const [tree = '', second = ''] = path.split('/');
  return tree === 'src' && path.split('/').length > 2 ? second : tree;
}

interface Node {
  type: string;
  loc: { start: { line: number } };
  [field: string]: unknown;
}

function read(source: string): { imports: Import[]; environmentReads: number[] } {
  const { program } = parse(source, {
    sourceType: 'module',
    plugins: ['typescript', 'explicitResourceManagement'],
    createImportExpressions: true,
  });
  const imports: Import[] = [];
  const environmentReads: number[] = [];
  visit(program, (node) => {
    const found = importOf(node);
    if (found !== null) imports.push(found);
    if (readsEnvironment(node)) environmentReads.push(node.loc.start.line);
  });
  return { imports, environmentReads };
}

function visit(value: unknown, look: (node: Node) => void): void {
  if (Array.isArray(value)) for (const item of value) visit(item, look);
  else if (isNode(value)) {
    look(value);
    for (const field of Object.values(value)) visit(field, look);
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && 'loc' in value;
}

function importOf(node: Node): Import | null {
  const line = node.loc.start.line;
  const typeOnly = node.importKind === 'type' || node.exportKind === 'type';
  switch (node.type) {
    case 'ImportDeclaration':
      return { specifier: literal(node.source), typeOnly, line };
    case 'ExportAllDeclaration':
    case 'ExportNamedDeclaration':
      return node.source ? { specifier: literal(node.source), typeOnly, line } : null;
    case 'ImportExpression':
      return { specifier: literal(node.source), typeOnly: false, line };
    case 'TSImportType':
      return { specifier: literal(node.argument), typeOnly: true, line };
    default:
      return null;
  }
}

function readsEnvironment(node: Node): boolean {
  switch (node.type) {
    case 'MemberExpression':
    case 'OptionalMemberExpression':
      return nameOf(node.object) === 'process' && nameOf(node.property) === 'env';
    case 'VariableDeclarator':
      return nameOf(node.init) === 'process' && hasKey(node.id, 'env');
    case 'ImportDeclaration':
      return literal(node.source) === 'node:process';
    default:
      return false;
  }
}

function hasKey(pattern: unknown, key: string): boolean {
  const properties = isNode(pattern) ? pattern.properties : undefined;
  return Array.isArray(properties) && properties.some((property: Node) => nameOf(property.key) === key);
}

function literal(value: unknown): string | null {
  return isNode(value) && typeof value.value === 'string' ? value.value : null;
}

/** Of an identifier, or of a string that stands for one, as in `process['env']`. */
function nameOf(value: unknown): string | null {
  if (!isNode(value)) return null;
  return value.type === 'Identifier' ? String(value.name) : literal(value);
}
