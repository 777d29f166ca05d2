import { basename } from 'node:path';
import type { Certificate } from './tls.ts';

export interface DovecotPorts {
  pop3: number;
  pop3s: number;
  imap: number;
  imaps: number;
}

export interface MailOwner {
  uid: number;
  gid: number;
  /** Set where Dovecot runs as somebody who is not root: the names of that user and of its group. */
  rootless: { user: string; group: string } | null;
}

export interface DovecotFacts {
  dir: string;
  ports: DovecotPorts;
  password: string;
  certificate: Certificate;
  storage: 'maildir' | 'sdbox';
  quota: { storage?: string; maxMailSize?: string };
  extra: string;
  owner: MailOwner;
}

/** The configuration of a private Dovecot 2.3, whole. Braces must stand on lines of their own. */
export function dovecotConfig(facts: DovecotFacts): string {
  const { dir, owner, certificate } = facts;
  return `
base_dir = ${dir}/run
state_dir = ${dir}/state
instance_name = ${basename(dir)}
protocols = imap pop3
listen = 127.0.0.1
log_path = ${dir}/dovecot.log
ssl = yes
ssl_cert = <${certificate.certFile}
ssl_key = <${certificate.keyFile}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
first_valid_uid = ${owner.uid}
first_valid_gid = ${owner.gid}
mail_uid = ${owner.uid}
mail_gid = ${owner.gid}
mail_location = ${facts.storage === 'maildir' ? 'maildir:~/Maildir' : 'sdbox:~/sdbox'}
passdb {
  driver = static
  args = password=${facts.password}
}
userdb {
  driver = static
  args = uid=${owner.uid} gid=${owner.gid} home=${dir}/mail/%u
}
namespace inbox {
  inbox = yes
  separator = /
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
${listeners(facts.ports)}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
protocol imap {
  mail_max_userip_connections = 200
}
protocol pop3 {
  mail_max_userip_connections = 200
  pop3_uidl_format = %08Xu%08Xv
  pop3_lock_session = yes
}
${quotaPlugin(facts.quota)}
${owner.rootless === null ? '' : rootless(owner.rootless)}
${facts.extra}
`;
}

/** One login process for many connections: a fork for each would be most of a short test's time. */
function listeners(ports: DovecotPorts): string {
  return `
service pop3-login {
  service_count = 0
  inet_listener pop3 {
    port = ${ports.pop3}
  }
  inet_listener pop3s {
    port = ${ports.pop3s}
    ssl = yes
  }
}
service imap-login {
  service_count = 0
  inet_listener imap {
    port = ${ports.imap}
  }
  inet_listener imaps {
    port = ${ports.imaps}
    ssl = yes
  }
}`;
}

function quotaPlugin(quota: DovecotFacts['quota']): string {
  if (quota.storage === undefined && quota.maxMailSize === undefined) return '';
  return `
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = count:User quota
  quota_vsizes = yes
  ${quota.storage === undefined ? '' : `quota_rule = *:storage=${quota.storage}`}
  ${quota.maxMailSize === undefined ? '' : `quota_max_mail_size = ${quota.maxMailSize}`}
}`;
}

/** Who is not root cannot change user or root directory, and therefore must not be asked to. */
function rootless(names: { user: string; group: string }): string {
  const chrooted = ['anvil', 'imap-login', 'pop3-login', 'stats'];
  return [
    `default_internal_user = ${names.user}`,
    `default_internal_group = ${names.group}`,
    `default_login_user = ${names.user}`,
    ...chrooted.map((service) => `service ${service} {\n  chroot =\n}`),
  ].join('\n');
}
