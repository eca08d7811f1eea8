//! The Redis protocol: sockets for the sessions of [`duly_wire`].
//!
//! What words mean and how answers look is decided there, without a socket; here bytes are moved
//! and what a session wants is carried out. `bind` takes the places where clients come, `accept` lets
//! them in, `conversation` talks with one of them over its `socket`, `patience` ends what would last for
//! ever. Nothing here knows a command, decides about deadlines or reads the time.

mod accept;
mod bind;
mod conversation;
mod patience;
mod socket;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use duly_engine::queue::Policy;
use duly_engine::time::{Span, Time};
use duly_wire::{Names, Readers, Score, Settings, Unread, Writers};
use tokio::sync::{Semaphore, watch};

pub use bind::Listeners;

use super::{payload, policy};
use crate::config::Redis;
use crate::handle::Handle;
use crate::metrics::RedisFigures;
use crate::units::{self, BadUnit};

/// Clients that may be in the middle of a long request, or of a long list, at once: each may be 16 MiB.
const LONG_REQUESTS: usize = 8;
/// Large questions that may be asked at once: the answers of each may be tens of MiB.
const LARGE_QUESTIONS: usize = 8;

/// What every conversation has at hand.
#[derive(Clone)]
struct Room {
    handle: Handle,
    settings: Arc<Settings>,
    figures: RedisFigures,
    /// How long a client may send nothing.
    idle: Option<Duration>,
    /// Places for clients.
    places: Arc<Semaphore>,
    /// Places for those whose request is longer than what is read ahead, and for those who list.
    long: Arc<Semaphore>,
    /// Places for those who ask about thousands of records in one request.
    large: Arc<Semaphore>,
    /// The number of the next client.
    next: Arc<AtomicU64>,
    /// Turns true when the server stops: conversations end then.
    stopping: watch::Receiver<bool>,
}

/// Serves until `stopping` turns true and what was under way is answered.
pub async fn serve(
    listeners: Listeners,
    handle: Handle,
    redis: &Redis,
    tables: BTreeSet<String>,
    figures: RedisFigures,
    stopping: watch::Receiver<bool>,
) {
    let clients = bind::clients(redis.connections);
    let room = Room {
        handle,
        settings: Arc::new(settings(redis, tables)),
        figures,
        idle: redis.idle,
        places: Arc::new(Semaphore::new(clients as usize)),
        long: Arc::new(Semaphore::new(LONG_REQUESTS)),
        large: Arc::new(Semaphore::new(LARGE_QUESTIONS)),
        next: Arc::new(AtomicU64::new(1)),
        stopping,
    };
    accept::accept_all(listeners, room, clients).await;
}

fn settings(redis: &Redis, tables: BTreeSet<String>) -> Settings {
    let score = if redis.score_in_millis { Score::Milliseconds } else { Score::Seconds };
    Settings {
        names: Names::new(redis.strip_prefix.clone(), redis.queues.clone()),
        score,
        tables,
        read: Readers { span, instant, is_json: payload::is_json, policy: read_policy },
        show: Writers { instant: units::write_instant, policy: policy::shown },
    }
}

fn read_policy(document: &[u8], tables: &BTreeSet<String>) -> Result<Policy, Unread> {
    let read = policy::read(document, tables);
    read.map_err(|policy::Unread { code, why }| Unread { code, why })
}

fn span(text: &str) -> Result<Span, Unread> {
    units::duration_or_seconds(text).map_err(|bad| unread(&bad))
}

fn instant(text: &str) -> Result<Time, Unread> {
    units::instant(text).map_err(|bad| unread(&bad))
}

fn unread(bad: &BadUnit) -> Unread {
    Unread { code: bad.code, why: bad.to_string() }
}
