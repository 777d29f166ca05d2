import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface CertificateOptions {
  /** Subject alternative names, default `DNS:localhost` and `IP:127.0.0.1`. */
  names?: readonly string[];
  /** Over since yesterday. */
  expired?: boolean;
}

export interface Certificate {
  certFile: string;
  keyFile: string;
}

/** A certificate authority in a directory of the caller's. */
export interface Authority {
  /** PEM, to be trusted by clients. */
  readonly caFile: string;
  /** A server certificate; files `NAME.pem` and `NAME.key` in the authority's directory. */
  issue(name: string, options?: CertificateOptions): Promise<Certificate>;
}

export async function createAuthority(dir: string): Promise<Authority> {
  const caFile = join(dir, 'ca.pem');
  const caKey = join(dir, 'ca.key');
  await makeKey(caKey);
  const subject = ['-subj', '/CN=popbridge test authority'];
  const extensions = ['-addext', 'keyUsage=critical,keyCertSign', '-days', '3650'];
  await openssl(['req', '-x509', '-new', '-key', caKey, '-out', caFile, ...subject, ...extensions]);
  return {
    caFile,
    async issue(name, options = {}) {
      const keyFile = join(dir, `${name}.key`);
      const certFile = join(dir, `${name}.pem`);
      const request = join(dir, `${name}.csr`);
      await makeKey(keyFile);
      await openssl(['req', '-new', '-key', keyFile, '-subj', `/CN=${name}`, '-out', request]);
      await sign(dir, { caFile, caKey, request, certFile }, options);
      return { certFile, keyFile };
    },
  };
}

interface Signing {
  caFile: string;
  caKey: string;
  request: string;
  certFile: string;
}

/** `openssl ca` because it alone takes dates of the past in every version. */
async function sign(dir: string, files: Signing, options: CertificateOptions): Promise<void> {
  const names = options.names ?? ['DNS:localhost', 'IP:127.0.0.1'];
  const base = files.certFile.slice(0, -'.pem'.length);
  const config = `${base}.cnf`;
  const text = [
    '[ca]',
    'default_ca = test',
    '[test]',
    `database = ${base}.index`,
    `new_certs_dir = ${dir}`,
    'rand_serial = yes',
    'default_md = sha256',
    'policy = any',
    'x509_extensions = server',
    '[any]',
    'commonName = supplied',
    '[server]',
    'basicConstraints = CA:false',
    'extendedKeyUsage = serverAuth',
    `subjectAltName = ${names.join(',')}`,
  ];
  await writeFile(config, `${text.join('\n')}\n`);
  await writeFile(`${base}.index`, '');
  const dates = options.expired === true ? [daysAgo(30), daysAgo(1)] : [daysAgo(1), daysAgo(-365)];
  const [from = '', to = ''] = dates;
  const signer = ['-config', config, '-cert', files.caFile, '-keyfile', files.caKey];
  const what = ['-in', files.request, '-out', files.certFile, '-startdate', from, '-enddate', to];
  await openssl(['ca', '-batch', '-notext', ...signer, ...what]);
}

/** `YYYYMMDDHHMMSSZ` */
function daysAgo(days: number): string {
  const date = new Date(Date.now() - days * 86_400_000);
  return `${date.toISOString().replaceAll(/[-:T]|\.\d+Z/g, '')}Z`;
}

/** P-256: made in milliseconds, and taken by everything that speaks TLS 1.2. */
async function makeKey(file: string): Promise<void> {
  await openssl(['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', file]);
}

async function openssl(args: string[]): Promise<void> {
  await run('openssl', args);
}
