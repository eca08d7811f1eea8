//! The Redis protocol: sockets for the sessions of [`duly_wire`].
//!
//! What words mean and how answers look is decided there, without a socket; here bytes are moved
//! and what a session wants is carried out. `accept` lets clients in, `conversation` talks with one
//! of them. Nothing here knows a command, decides about deadlines or reads the time.

mod accept;
mod conversation;

use std::sync::Arc;

use duly_engine::time::{Span, Time};
use duly_wire::{Names, Readers, Score, Settings, Unread};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::payload;
use crate::config::Redis;
use crate::handle::Handle;
use crate::units::{self, BadUnit};

/// What every conversation has at hand.
#[derive(Clone)]
struct Room {
    handle: Handle,
    settings: Arc<Settings>,
    /// Turns true when the server stops: conversations end then.
    stopping: watch::Receiver<bool>,
}

/// Serves until `stopping` turns true and what was under way is answered.
pub async fn serve(
    listener: TcpListener,
    handle: Handle,
    redis: &Redis,
    stopping: watch::Receiver<bool>,
) {
    let settings = Arc::new(settings(redis));
    accept::accept(listener, Room { handle, settings, stopping }).await;
}

fn settings(redis: &Redis) -> Settings {
    let score = if redis.score_in_millis { Score::Milliseconds } else { Score::Seconds };
    Settings {
        names: Names::new(redis.strip_prefix.clone(), redis.queues.clone()),
        score,
        read: Readers { span, instant, is_json: payload::is_json },
        show: units::show_instant,
    }
}

fn span(text: &str) -> Result<Span, Unread> {
    units::duration(text).map_err(|bad| unread(&bad))
}

fn instant(text: &str) -> Result<Time, Unread> {
    units::instant(text).map_err(|bad| unread(&bad))
}

fn unread(bad: &BadUnit) -> Unread {
    Unread { code: bad.code, why: bad.to_string() }
}
