import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  createServer as createTlsServer,
  getCACertificates,
  setDefaultCACertificates,
  TLSSocket,
  type TlsOptions,
} from 'node:tls';
import { promisify } from 'node:util';
import { BridgeError, type ErrorCode } from '../../src/domain/errors.ts';
import type { Endpoint, TlsOptions as EndpointTls, Security } from '../../src/domain/migration.ts';
import { createDialer, type DialerOptions } from '../../src/net/index.ts';
import { freePort, type TempDir, tempDir, until } from '../support/net.ts';
import { type Authority, createAuthority } from '../support/tls.ts';

let temp: TempDir;
let authority: Authority;
let extraCa: string;

before(async () => {
  temp = await tempDir();
  authority = await createAuthority(temp.path);
  extraCa = await readFile(authority.caFile, 'utf8');
});
after(() => temp[Symbol.asyncDispose]());

const never = new AbortController().signal;

function dialer(options: Partial<DialerOptions> = {}) {
  return createDialer({
    allowNetworks: ['127.0.0.0/8', '::1/128'],
    allowPlaintext: false,
    allowLegacyTls: false,
    extraCa,
    connectTimeoutMs: 5_000,
    ...options,
  });
}

function endpoint(host: string, port: number, security: Security = 'tls', tls?: EndpointTls): Endpoint {
  const base = { host, port, security, username: 'u', auth: { type: 'password' } as const };
  return tls === undefined ? base : { ...base, tls };
}

/** What the resolver would have said. */
const resolvesTo =
  (...addresses: string[]) =>
  async () =>
    addresses.map((address) => ({ address }));

class Listening implements AsyncDisposable {
  readonly server: Server;
  readonly sockets = new Set<Socket>();

  constructor(server: Server) {
    this.server = server;
    server.on('connection', (socket: Socket) => {
      this.sockets.add(socket);
      socket.on('error', () => {}).once('close', () => this.sockets.delete(socket));
    });
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** The client has let go of every connection. */
  async deserted(): Promise<void> {
    await until(() => this.sockets.size === 0, { what: 'no connection to be left' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

async function listen(server: Server, host = '127.0.0.1', port = 0): Promise<Listening> {
  const listening = new Listening(server);
  server.listen(port, host);
  await once(server, 'listening');
  return listening;
}

async function tlsServer(
  certificate: { certFile: string; keyFile: string },
  options: TlsOptions = {},
  host?: string,
): Promise<Listening> {
  const [cert, key] = await Promise.all([readFile(certificate.certFile), readFile(certificate.keyFile)]);
  const server = createTlsServer({ cert, key, ...options }, (socket) => {
    socket.on('error', () => {});
    socket.end(`hello ${socket.servername}\r\n`);
  });
  server.on('tlsClientError', () => {});
  return listen(server, host);
}

async function refused(attempt: Promise<unknown>, code: ErrorCode, words: RegExp): Promise<BridgeError> {
  const error = await attempt.then(
    () => assert.fail('connected'),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof BridgeError, String(error));
  assert.equal(error.code, code);
  assert.match(error.detail, words);
  return error;
}

async function readAll(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

test('connects with TLS to a name whose certificate is good, and sends the name as SNI', async () => {
  await using server = await tlsServer(await authority.issue('good', { names: ['DNS:mail.test'] }));
  const net = dialer({ resolve: resolvesTo('127.0.0.1') });
  const socket = await net.connect(endpoint('mail.test', server.port), 'source', never);
  assert(socket instanceof TLSSocket);
  assert.equal(socket.authorized, true);
  assert.equal(await readAll(socket), 'hello mail.test\r\n');
  await server.deserted();
});

test('checks an IP literal against the IP names of the certificate, without SNI', async () => {
  await using server = await tlsServer(await authority.issue('ip', { names: ['IP:127.0.0.1'] }));
  const socket = await dialer().connect(endpoint('127.0.0.1', server.port), 'source', never);
  assert.equal(await readAll(socket), 'hello false\r\n');
});

test('an IP literal does not pass for localhost', async () => {
  await using server = await tlsServer(await authority.issue('local', { names: ['DNS:localhost'] }));
  const attempt = dialer().connect(endpoint('127.0.0.1', server.port), 'source', never);
  await refused(attempt, 'tls_name_mismatch', /the certificate is for localhost, not 127\.0\.0\.1/);
});

test('a certificate for another name is a name mismatch that tells the names', async () => {
  const names = ['DNS:mx.other.test', 'DNS:*.other.test', 'IP:192.0.2.7'];
  await using server = await tlsServer(await authority.issue('other', { names }));
  const net = dialer({ resolve: resolvesTo('127.0.0.1') });
  const attempt = net.connect(endpoint('mail.test', server.port), 'destination', never);
  const error = await refused(
    attempt,
    'tls_name_mismatch',
    /^mail\.test:\d+: the certificate is for mx\.other\.test, \*\.other\.test, 192\.0\.2\.7, not mail\.test$/,
  );
  assert.equal(error.side, 'destination');
  await server.deserted();
});

test('tls.serverName is the name that is sent and checked', async () => {
  await using server = await tlsServer(await authority.issue('named', { names: ['DNS:real.test'] }));
  const wanted = endpoint('127.0.0.1', server.port, 'tls', { serverName: 'real.test' });
  const socket = await dialer().connect(wanted, 'source', never);
  assert.equal(await readAll(socket), 'hello real.test\r\n');
});

test('an expired certificate is named as such, with its last day', async () => {
  await using server = await tlsServer(await authority.issue('old', { expired: true }));
  const day = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10);
  const attempt = dialer().connect(endpoint('127.0.0.1', server.port), 'source', never);
  await refused(attempt, 'tls_certificate_expired', new RegExp(`the certificate has expired, on ${day}$`));
  await server.deserted();
});

test('a certificate of an unknown authority is untrusted, and trusted once the authority is given', async () => {
  await using server = await tlsServer(await authority.issue('private'));
  const at = endpoint('127.0.0.1', server.port);
  await refused(
    dialer({ extraCa: null }).connect(at, 'source', never),
    'tls_untrusted',
    /authority is unknown/,
  );
  const socket = await dialer().connect(at, 'source', never);
  socket.destroy();
});

test('a self-signed certificate is untrusted', async () => {
  const itself = { certFile: join(temp.path, 'self.crt'), keyFile: join(temp.path, 'self.key') };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', itself.keyFile];
  const names = ['-subj', '/CN=self', '-addext', 'subjectAltName=IP:127.0.0.1'];
  await promisify(execFile)('openssl', ['req', '-x509', ...key, '-out', itself.certFile, ...names]);
  await using server = await tlsServer(itself);
  const attempt = dialer().connect(endpoint('127.0.0.1', server.port), 'source', never);
  await refused(attempt, 'tls_untrusted', /signed by itself/);
});

test('extra authorities are trusted besides the default ones, several of one file too', async (t) => {
  const dir = join(temp.path, 'more');
  await mkdir(dir);
  const [usual, first, second] = await Promise.all(
    ['usual', 'first', 'second'].map(async (name) => {
      await mkdir(join(dir, name));
      return createAuthority(join(dir, name));
    }),
  );
  assert(usual && first && second);
  const defaults = getCACertificates('default');
  t.after(() => setDefaultCACertificates(defaults));
  setDefaultCACertificates([await readFile(usual.caFile, 'utf8')]);
  const net = dialer({
    extraCa: await readFile(first.caFile, 'utf8').then(
      async (pem) => pem + (await readFile(second.caFile, 'utf8')),
    ),
  });
  for (const one of [usual, first, second]) {
    await using server = await tlsServer(await one.issue('more'));
    const socket = await net.connect(endpoint('127.0.0.1', server.port), 'source', never);
    assert.equal(await readAll(socket), 'hello false\r\n');
  }
});

test('a server that speaks no TLS on the port is a TLS failure that says so', async () => {
  await using server = await listen(createServer((socket) => socket.resume().write('+OK POP3 ready\r\n')));
  const attempt = dialer().connect(endpoint('127.0.0.1', server.port), 'source', never);
  const error = await refused(attempt, 'tls_failed', /does not speak TLS on this port/);
  assert.match(error.hint, /110\/143: "starttls"/);
  await server.deserted();
});

test('a connection closed in the handshake is lost, not refused for good', async () => {
  await using server = await listen(createServer((socket) => socket.once('data', () => socket.destroy())));
  const attempt = dialer().connect(endpoint('127.0.0.1', server.port), 'source', never);
  const error = await refused(attempt, 'connection_lost', /closed by the other side/);
  assert.equal(error.recovery, 'retry');
});

const OLD: TlsOptions = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' };

test('TLS below 1.2 is refused, and its error says what would allow it', async () => {
  await using server = await tlsServer(await authority.issue('legacy'), OLD);
  const attempt = dialer({ allowLegacyTls: true }).connect(
    endpoint('127.0.0.1', server.port),
    'source',
    never,
  );
  const error = await refused(attempt, 'tls_failed', /no TLS version that is allowed/);
  assert.match(error.hint, /tls\.minVersion.*POPBRIDGE_ALLOW_LEGACY_TLS=true/);
});

test('TLS below 1.2 is spoken where endpoint and configuration both ask for it', async () => {
  await using server = await tlsServer(await authority.issue('legacy2'), OLD);
  const at = endpoint('127.0.0.1', server.port, 'tls', { minVersion: 'TLSv1' });
  const socket = await dialer({ allowLegacyTls: true }).connect(at, 'source', never);
  assert.equal((socket as TLSSocket).getProtocol(), 'TLSv1.1');
  socket.destroy();
  const attempt = dialer().connect(at, 'source', never);
  const error = await refused(attempt, 'tls_failed', /minVersion TLSv1 is not allowed/);
  assert.match(error.hint, /POPBRIDGE_ALLOW_LEGACY_TLS=true/);
});

test('plaintext needs permission', async () => {
  await using server = await listen(createServer((socket) => socket.end('* OK\r\n')));
  const at = endpoint('127.0.0.1', server.port, 'none');
  await refused(dialer().connect(at, 'source', never), 'plaintext_not_allowed', /security "none"/);
  assert.equal(server.sockets.size, 0);
  const socket = await dialer({ allowPlaintext: true }).connect(at, 'source', never);
  assert.equal(await readAll(socket), '* OK\r\n');
});

async function stls(socket: Socket): Promise<void> {
  socket.write('STLS\r\n');
  await once(socket, 'data');
}

test('starttls begins in plaintext without that permission, and secure() makes TLS of it', async () => {
  const { certFile, keyFile } = await authority.issue('upgrade');
  const [cert, key] = await Promise.all([readFile(certFile), readFile(keyFile)]);
  const plain = createServer((socket) => {
    socket.once('data', () => {
      socket.pause().write('+OK begin\r\n');
      const secured = new TLSSocket(socket, { isServer: true, cert, key });
      secured.on('error', () => {});
      secured.resume().once('secure', () => secured.end('secured\r\n'));
    });
  });
  await using server = await listen(plain);
  const net = dialer();
  const at = endpoint('127.0.0.1', server.port, 'starttls');
  const first = await net.connect(at, 'source', never);
  assert(!(first instanceof TLSSocket));
  await stls(first);
  assert.equal(await readAll(await net.secure(first, at, 'source', never)), 'secured\r\n');

  const second = await net.connect(at, 'source', never);
  await stls(second);
  const sync = net.startTls(second, at, 'source');
  await once(sync, 'secureConnect');
  assert.equal(await readAll(sync), 'secured\r\n');

  const third = await net.connect(at, 'source', never);
  await stls(third);
  const strict = dialer({ extraCa: null });
  await refused(strict.secure(third, at, 'source', never), 'tls_untrusted', /authority is unknown/);
  assert.equal(third.destroyed, true);

  const fourth = await net.connect(at, 'destination', never);
  await stls(fourth);
  const [thrown] = (await once(strict.startTls(fourth, at, 'destination'), 'error')) as [Error];
  assert.equal(strict.explain(thrown, at, 'destination').code, 'tls_untrusted');
  await server.deserted();
});

test('an address that is not allowed is refused before any connection', async () => {
  await using server = await listen(createServer((socket) => socket.resume()));
  let connections = 0;
  server.server.on('connection', () => connections++);
  const attempt = dialer({ allowNetworks: [] }).connect(endpoint('127.0.0.1', server.port), 'source', never);
  const error = await refused(attempt, 'address_not_allowed', /^127\.0\.0\.1 is a loopback address$/);
  assert.match(error.hint, /POPBRIDGE_ALLOW_NETWORKS/);
  assert.equal(connections, 0);
});

test('odd spellings are judged by what the resolver makes of them', async () => {
  await using server = await listen(createServer((socket) => socket.resume()));
  for (const host of [
    '0x7f.1',
    '2130706433',
    '127.1',
    '0177.0.0.1',
    '①②⑦.0.0.1',
    '::ffff:127.0.0.1',
    'localhost',
  ]) {
    const attempt = dialer({ allowNetworks: [] }).connect(endpoint(host, server.port), 'source', never);
    await refused(attempt, 'address_not_allowed', /is a loopback address$/);
  }
  const net = dialer({ allowPlaintext: true });
  const socket = await net.connect(endpoint('0x7f.1', server.port, 'none'), 'source', never);
  assert.equal(socket.remoteAddress, '127.0.0.1');
  socket.destroy();
});

test('a name with one refused address among several is refused whole', async () => {
  await using server = await listen(createServer((socket) => socket.resume()));
  const net = dialer({ resolve: resolvesTo('127.0.0.1', '10.0.0.7') });
  const attempt = net.connect(endpoint('mixed.test', server.port), 'source', never);
  await refused(
    attempt,
    'address_not_allowed',
    /mixed\.test has the address 10\.0\.0\.7, which is a private address/,
  );
  assert.equal(server.sockets.size, 0);
});

test('connects to the address that was checked, though the name changes its mind (DNS rebinding)', async () => {
  await using checked = await listen(createServer((socket) => socket.end('checked')));
  await using other = await listen(
    createServer((socket) => socket.end('other')),
    '127.0.0.2',
    checked.port,
  );
  let asked = 0;
  const net = dialer({
    allowNetworks: ['127.0.0.1/32'],
    allowPlaintext: true,
    resolve: async () => [{ address: asked++ === 0 ? '127.0.0.1' : '127.0.0.2' }],
  });
  const at = endpoint('rebind.test', checked.port, 'none');
  assert.equal(await readAll(await net.connect(at, 'source', never)), 'checked');
  assert.equal(asked, 1);
  await refused(net.connect(at, 'source', never), 'address_not_allowed', /127\.0\.0\.2/);
  assert.equal(other.sockets.size, 0);
});

test('takes the next address when the first one refuses', async () => {
  await using server = await listen(
    createServer((socket) => socket.end('second')),
    '127.0.0.2',
  );
  const net = dialer({ allowPlaintext: true, resolve: resolvesTo('127.0.0.1', '127.0.0.2') });
  const socket = await net.connect(endpoint('two.test', server.port, 'none'), 'source', never);
  assert.equal(socket.remoteAddress, '127.0.0.2');
  assert.equal(await readAll(socket), 'second');
});

test('a refused port is unreachable, with host, port and reason of every address', async () => {
  const port = await freePort();
  const one = dialer().connect(endpoint('127.0.0.1', port), 'source', never);
  const error = await refused(
    one,
    'unreachable',
    new RegExp(`^127\\.0\\.0\\.1:${port}: connection refused, nothing`),
  );
  assert.equal(error.recovery, 'wait');
  const net = dialer({ resolve: resolvesTo('127.0.0.1', '127.0.0.2') });
  const two = net.connect(endpoint('two.test', port), 'source', never);
  await refused(two, 'unreachable', /refused.*\(127\.0\.0\.1\); .*refused.*\(127\.0\.0\.2\)$/);
});

test('an unknown host is not found; a silent name server is no verdict', async () => {
  const failing = (code: string) => async () => {
    throw Object.assign(new Error(`getaddrinfo ${code}`), { code });
  };
  const at = endpoint('nowhere.test', 993);
  const ask = (code: string) => dialer({ resolve: failing(code) }).connect(at, 'source', never);
  await refused(ask('ENOTFOUND'), 'host_not_found', /no address for nowhere\.test/);
  await refused(
    ask('EAI_AGAIN'),
    'unreachable',
    /name server gave no answer for nowhere\.test \(EAI_AGAIN\)/,
  );
  await refused(ask('EAI_FAIL'), 'unreachable', /EAI_FAIL/);
  await refused(
    dialer({ resolve: resolvesTo() }).connect(at, 'source', never),
    'host_not_found',
    /no address/,
  );
  for (const host of ['', 'a b', 'a\0b', '127.0.0.1 x', '127.0.0.1\0.example.com'])
    await refused(dialer().connect(endpoint(host, 993), 'source', never), 'host_not_found', /no address/);
});

/** A listener whose queue is full and who never accepts: the kernel drops further SYNs. */
class Blackhole implements AsyncDisposable {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #fill: Socket[];

  private constructor(port: number, child: ChildProcess, fill: Socket[]) {
    this.port = port;
    this.#child = child;
    this.#fill = fill;
  }

  static async open(): Promise<Blackhole> {
    const script = `const s = require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      process.stdout.write(String(s.address().port), () => process.kill(process.pid, 'SIGSTOP'));
    })`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    const port = Number(said.toString());
    const fill: Socket[] = [];
    for (let connected = true; connected; ) {
      const socket = connect({ port, host: '127.0.0.1' });
      socket.on('error', () => {});
      fill.push(socket);
      const full = until(() => socket.readyState === 'open', {
        what: 'a place in the queue',
        timeoutMs: 300,
      });
      connected = await full.catch(() => false);
    }
    return new Blackhole(port, child, fill);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#fill) socket.destroy();
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}

test('a host that swallows every packet ends in a time-out', async () => {
  await using hole = await Blackhole.open();
  const net = dialer({ connectTimeoutMs: 300 });
  const attempt = net.connect(endpoint('127.0.0.1', hole.port), 'source', never);
  await refused(
    attempt,
    'timeout',
    new RegExp(`^127\\.0\\.0\\.1:${hole.port}: no connection within 0\\.3 s$`),
  );
});

test('does not wait for an address that swallows packets when another one answers', async () => {
  await using hole = await Blackhole.open();
  await using server = await listen(
    createServer((socket) => socket.end('here')),
    '127.0.0.2',
    hole.port,
  );
  const net = dialer({ allowPlaintext: true, resolve: resolvesTo('127.0.0.1', '127.0.0.2') });
  const socket = await net.connect(endpoint('two.test', server.port, 'none'), 'source', never);
  assert.equal(await readAll(socket), 'here');
});

test('a server that is silent in the TLS handshake ends in a time-out, and keeps no connection', async () => {
  await using server = await listen(createServer((socket) => socket.resume()));
  const net = dialer({ connectTimeoutMs: 200 });
  await refused(net.connect(endpoint('127.0.0.1', server.port), 'source', never), 'timeout', /within 0\.2 s/);
  await server.deserted();
});

test('a resolver that does not answer ends in a time-out', async () => {
  const net = dialer({ connectTimeoutMs: 50, resolve: () => new Promise(() => {}) });
  await refused(net.connect(endpoint('slow.test', 993), 'source', never), 'timeout', /slow\.test:993/);
});

test('abort ends resolving, connecting and handshake with its own reason, and closes the socket', async () => {
  const aborted = async (attempt: (signal: AbortSignal) => Promise<unknown>, reached: () => unknown) => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const result = attempt(controller.signal);
    result.catch(() => {});
    await until(reached, { what: 'the attempt to be under way' });
    controller.abort(reason);
    await assert.rejects(result, reason);
  };
  let asked = false;
  const deaf = dialer({
    resolve: () => {
      asked = true;
      return new Promise(() => {});
    },
  });
  await aborted(
    (signal) => deaf.connect(endpoint('slow.test', 993), 'source', signal),
    () => asked,
  );

  await using server = await listen(createServer((socket) => socket.resume()));
  const at = endpoint('127.0.0.1', server.port);
  await aborted(
    (signal) => dialer().connect(at, 'source', signal),
    () => server.sockets.size > 0,
  );
  await server.deserted();

  await using hole = await Blackhole.open();
  await aborted(
    (signal) => dialer().connect(endpoint('127.0.0.1', hole.port), 'source', signal),
    () => true,
  );

  const over = AbortSignal.abort(new Error('before'));
  await assert.rejects(dialer().connect(at, 'source', over), /before/);
  const open = await dialer().connect(endpoint('127.0.0.1', server.port, 'starttls'), 'source', never);
  await assert.rejects(dialer().secure(open, at, 'source', over), /before/);
  open.destroy();
});

test('an error on a socket that nobody listens to yet does not end the process', async () => {
  await using server = await listen(createServer());
  const net = dialer({ allowPlaintext: true });
  const socket = await net.connect(endpoint('127.0.0.1', server.port, 'none'), 'source', never);
  for (const peer of server.sockets) peer.resetAndDestroy();
  socket.resume();
  await until(() => socket.destroyed, { what: 'the reset to arrive' });
  assert.equal(net.explain(socket.errored, endpoint('127.0.0.1', 1), 'source').code, 'connection_lost');
});

test('every error has a code, even what no table knows', () => {
  const at = endpoint('mail.test', 993);
  for (const thrown of [
    null,
    undefined,
    'text',
    {},
    new Error('odd'),
    Object.assign(new Error('x'), { code: 'EODD' }),
  ])
    assert.equal(dialer().explain(thrown, at, 'source').code, 'connection_lost');
  const ssl = Object.assign(new Error('long text'), { code: 'ERR_SSL_ODD', reason: 'odd thing' });
  const explained = dialer().explain(ssl, at, 'source');
  assert.equal(explained.code, 'tls_failed');
  assert.equal(explained.detail, 'mail.test:993: TLS handshake failed: odd thing');
});
