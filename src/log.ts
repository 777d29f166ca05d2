export { createLogger } from './http/logging.ts';
