import type { Auth, Endpoint } from '../domain/migration.ts';
import type { Dialer, MailSource } from '../domain/ports.ts';
import { DEFAULT_LIMITS, DEFAULT_TIMEOUTS, type Pop3Limits, type Pop3Timeouts } from './limits.ts';
import { Pop3Session } from './session.ts';

export type { Pop3Limits, Pop3Timeouts } from './limits.ts';

export interface Pop3SourceOptions {
  endpoint: Endpoint;
  auth: Auth;
  dialer: Dialer;
  /** What differs from the defaults, milliseconds. */
  timeouts?: Partial<Pop3Timeouts>;
  /** What differs from the defaults. */
  limits?: Partial<Pop3Limits>;
}

/** A POP3 account as a {@link MailSource}: each `open` is a session of its own. */
export function createPop3Source(options: Pop3SourceOptions): MailSource {
  const { endpoint, auth, dialer } = options;
  const timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  return { open: (signal) => Pop3Session.open({ endpoint, auth, dialer, timeouts, limits }, signal) };
}
