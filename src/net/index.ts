export { createDialer, type DialerOptions, type NetDialer, type Resolve } from './dialer.ts';
export { createEgressGuard, type EgressGuard } from './guard.ts';
