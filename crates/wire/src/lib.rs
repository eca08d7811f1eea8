//! The Redis protocol as Duly speaks it.
//!
//! A [`Session`] is one client's conversation without its socket: bytes go in, what is to be done
//! comes out ([`Todo`]), answers go in, bytes come out. Whoever owns the socket and the engine
//! carries it out. So the same session runs in the server, in a test that cuts the bytes anywhere,
//! and in a fuzzer.
//!
//! A request travels like this: `reading` cuts it out of the bytes; `commands` finds its row in
//! the table and begins it, which gives a reply at once, or commands for the engine and what to do
//! with their answers; `session` keeps requests in order and gathers those that arrived together,
//! so that a pipeline is one group commit; `reply` writes what was said in the client's version
//! of the protocol.
//!
//! What is not here: sockets, clocks (who wants to know the time asks the engine for the one that it
//! decides by), and rules. Whether a key may be set is decided by the engine, and a refusal is worded
//! in one place, `refusal`.

mod commands;
mod cost;
mod glob;
mod name;
mod number;
mod reading;
mod refusal;
mod reply;
mod session;
mod telling;

pub use commands::names as command_names;
pub use name::Names;
pub use session::{Listing, Page, Session, Todo, Wait};

use std::collections::BTreeSet;

use duly_engine::queue::Policy;
use duly_engine::time::{Span, Time};

/// What a conversation goes by; the operator's choice and the server's own reading of words.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which queue and key a Redis key means.
    pub names: Names,
    /// What a score of a sorted set counts.
    pub score: Score,
    /// The tables of the configuration that targets may lead to.
    pub tables: BTreeSet<String>,
    /// How durations, instants and JSON are read: as everywhere else in the server.
    pub read: Readers,
    /// How they are written: as everywhere else in the server.
    pub show: Writers,
}

/// What a score of a sorted set counts since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// Seconds, with fractions.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// How words of the API are read. They are handed in, because a duration must mean the same over
/// every protocol.
#[derive(Clone, Copy, Debug)]
pub struct Readers {
    /// A duration, as in `30m`.
    pub span: fn(&str) -> Result<Span, Unread>,
    /// An instant, as in `2026-11-22T12:30:00Z`.
    pub instant: fn(&str) -> Result<Time, Unread>,
    /// Is it a JSON value within the limits of a payload?
    pub is_json: fn(&[u8]) -> bool,
    /// A policy, as a document of JSON; its target may lead to these tables of the configuration.
    pub policy: fn(&[u8], &BTreeSet<String>) -> Result<Policy, Unread>,
}

/// How things of the API are written. They are handed in for the same reason.
#[derive(Clone, Copy, Debug)]
pub struct Writers {
    /// An instant.
    pub instant: fn(Time, &mut Vec<u8>),
    /// A policy, as a document of JSON.
    pub policy: fn(&Policy) -> String,
}

/// Why a word cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The stable code, as over every protocol.
    pub code: &'static str,
    /// What is wrong, and what to write instead.
    pub why: String,
}
