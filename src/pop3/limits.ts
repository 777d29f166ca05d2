/** How long each wait may take, in milliseconds. None of them is the server's to choose. */
export interface Pop3Timeouts {
  /** Name look-up, TCP and TLS handshake; STLS again. */
  connectMs: number;
  /** From the connection to the greeting. */
  greetingMs: number;
  /** From a command to the first octet of its answer: a LIST of a large mailbox takes servers a while. */
  replyMs: number;
  /** Between octets in the middle of an answer. */
  idleMs: number;
  /** For the answer to QUIT. */
  quitMs: number;
  /** For the answer to QUIT after DELE: the server removes the messages before it answers (RFC 1939 section 6). */
  updateMs: number;
  /**
   * How long the socket stays paused for a consumer that takes nothing, before the session is given up. RFC 1939
   * section 3 lets a server hang up after ten minutes, and Dovecot does so then; some are less patient.
   */
  stallMs: number;
}

export const DEFAULT_TIMEOUTS: Pop3Timeouts = {
  connectMs: 30_000,
  greetingMs: 60_000,
  replyMs: 120_000,
  idleMs: 60_000,
  quitMs: 3_000,
  updateMs: 60_000,
  stallMs: 240_000,
};

/** What one session may take. */
export interface Pop3Limits {
  /**
   * Bytes (of messages, as LIST says) asked for and not yet handed to the consumer; the budget may allow less. A window of 64 commands
   * was too small at 40 ms (PROTOCOL-FACTS 15), 16 MiB at 40 ms carry 400 MB/s. The socket pauses while half of
   * it lies here complete and unfetched, so that not even a LIST that lies about sizes fills the memory.
   */
  windowBytes: number;
  /** Commands sent and not yet answered to the consumer. */
  windowCommands: number;
  /** A larger message is dropped while it arrives and reported as `message_too_large`. */
  maxMessageBytes: number;
}

export const DEFAULT_LIMITS: Pop3Limits = {
  windowBytes: 16 * 1024 * 1024,
  windowCommands: 1024,
  maxMessageBytes: 256 * 1024 * 1024,
};
