//! The deadline server as a library: what `main` runs and what tests drive.

pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod database;
pub mod deliver;
pub mod demo;
pub mod driver;
pub mod handle;
mod json;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod note;
pub mod outbox;
pub mod policy;
pub mod reconciliation;
pub mod run;
pub mod units;
pub mod watch;
