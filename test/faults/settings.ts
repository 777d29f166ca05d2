import type { GroupLimits } from '../../src/domain/intake.ts';

/** As short as a busy machine allows: waiting out leases is most of the time of a round. */
export const LEASE_MS = 600;
export const SETTLE_MS = 200;
/** Small, so that a small mailbox makes several groups. */
export const GROUP_LIMITS: GroupLimits = { messages: 4, bytes: 64 * 1024, patienceMs: 5 };
export { RING } from '../store/support.ts';
export const TENANT = 'default';
