/**
 * Loaded before a supervised Node process (`--import`): when the supervisor is gone, however it ended, the process
 * gets the SIGTERM that the supervisor would have sent. Nobody is left running unseen.
 */
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
// The listener alone would keep a process alive that has finished.
process.channel?.unref();
