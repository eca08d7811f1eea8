//! What Duly keeps on disk.
//!
//! Two things live in a data directory. The **journal** is the truth: an append-only log of facts,
//! synced before anybody is told anything, replayed when the server opens. The **archive** is where
//! final records go when the journal no longer needs them: a documented database that anyone may
//! open and count.
//!
//! This crate knows bytes, files and their failures. It holds no rule about deadlines, no clock, no
//! randomness, no network and no thread of its own: every moving part is stepped by its caller, so
//! that the same code runs on a real disk and on one that lies.

pub mod archive;
pub mod disk;
mod error;
pub mod journal;
mod lock;
mod secret;

pub use error::Error;
pub use lock::{Directory, FORMAT_VERSION, FreshIdentity};
pub use secret::SECRET_BYTES;
