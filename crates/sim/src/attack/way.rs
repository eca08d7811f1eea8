//! The ways to ask: two protocols on two ports, and one truth behind them.
//!
//! Half of the clients and workers of an attack speak HTTP and half the Redis protocol, about the same
//! deadlines. What each was told is judged by the same oracle and put into the same history, so that
//! an answer of one protocol can be held against one of the other.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::ask::Reply;
use super::name::Name;
use super::resp::Conversation;
use super::wire::Connection;
use crate::history::Asked;

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doors {
    pub(super) http: SocketAddr,
    pub(super) redis: SocketAddr,
}

/// What somebody speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Http,
    Redis,
}

impl Way {
    /// Both.
    pub(super) const ALL: [Way; 2] = [Way::Http, Way::Redis];

    /// What the nth of several speaks: every second one the same.
    pub(super) fn of_nth(nth: u64) -> Way {
        if nth.is_multiple_of(2) { Way::Http } else { Way::Redis }
    }

    /// The figure of what was asked this way and answered.
    pub(super) fn figure(self) -> &'static str {
        match self {
            Way::Http => "over_http",
            Way::Redis => "over_redis",
        }
    }

    /// Connects.
    pub(super) fn open(self, doors: Doors) -> io::Result<Box<dyn Line>> {
        Ok(match self {
            Way::Http => Box::new(Connection::open(doors.http)?),
            Way::Redis => Box::new(Conversation::open(doors.redis)?),
        })
    }
}

/// A connection, whatever is spoken on it. An error means that it broke: nobody knows what became of
/// what was asked last.
pub(super) trait Line {
    /// Asks these questions together; answers come in their order.
    fn answers(&mut self, questions: &[(Name, Asked)]) -> io::Result<Vec<Reply>>;

    /// Takes up to `max` leases of so long, or waits for some; the answer as HTTP shows it.
    fn lease(&mut self, queue: &str, max: u64, wait: &str, lease_ms: u64) -> io::Result<Value>;

    /// Says how an attempt ended.
    fn verdict(&mut self, delivery: &str, token: &str, verdict: &str) -> io::Result<Reply>;

    /// Asks to keep a lease for so long from now.
    fn touch(&mut self, delivery: &str, token: &str, lease_ms: u64) -> io::Result<Reply>;
}

/// How many were answered, each way.
#[derive(Debug, Default)]
pub(super) struct Tally([AtomicU64; 2]);

impl Tally {
    pub(super) fn add(&self, way: Way, more: usize) {
        self.0[way as usize].fetch_add(more as u64, Ordering::Relaxed);
    }

    pub(super) fn of(&self, way: Way) -> u64 {
        self.0[way as usize].load(Ordering::Relaxed)
    }
}
