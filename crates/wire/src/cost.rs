//! What a question costs, so that what one client asks at once is bounded.
//!
//! One number: records looked at, which is about what the engine does and what its answers hold. It
//! is known before anything is asked. What would make a question cost more than [`MOST`] waits for
//! the next one; what costs more by itself is asked alone, and a server takes few such questions at a
//! time. Payloads cost nothing here: they are fetched one by one as they are told.

use duly_engine::command::Command;
use duly_engine::limits::{QUEUES, SLICE};

/// What is asked at once, and no more: a pipeline gains nothing beyond, and others would wait longer.
pub(crate) const MOST: usize = 4_096;

/// So many bytes that wait for their turn to be said cost as much as a record.
const BYTES: usize = 64;

/// What these commands cost.
pub(crate) fn of(commands: &[Command]) -> usize {
    commands.iter().map(one).sum()
}

/// What a reply costs that has to wait for those before it.
pub(crate) fn of_said(bytes: &[u8]) -> usize {
    1 + bytes.len() / BYTES
}

/// A queue's figures are as much as a record.
fn one(command: &Command) -> usize {
    match command {
        Command::Scan(_) | Command::Count(_) => SLICE,
        Command::ListQueues => QUEUES,
        Command::Waiting { limit: most, .. } | Command::Lease { max: most, .. } => (*most).max(1),
        _ => 1,
    }
}
