//! What is refused before anything is allocated for it.

/// Envelopes in one push.
pub const ENVELOPES_PER_PUSH: usize = 5_000;
/// Octets of a push's sealed reports.
pub const PUSH_LEN: usize = 4 * 1024 * 1024;
/// Octets of one report.
pub const REPORT_LEN: usize = 2 * 1024;
/// Octets of a batch's sealed body.
pub const BATCH_LEN: usize = 8 * 1024 * 1024;
/// Octets of a page of batches, unless its only batch is longer.
pub const PAGE_LEN: usize = 2 * 1024 * 1024;
/// Octets of a signed key list.
pub const KEY_LIST_LEN: usize = 64 * 1024;
/// Octets of any message on the wire: the longest batch and the fields around it.
pub const MESSAGE_LEN: usize = BATCH_LEN + 64 * 1024;
/// The longest that a pull waits at the tail.
pub const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(30);
