//! What the server itself counts, read from `/v1/stats`.

use anyhow::Context as _;
use serde::Deserialize;

use super::child::Child;
use super::report::Times;
use super::wire::{Connection, request};

/// What `/v1/stats` says.
#[derive(Deserialize)]
pub(super) struct Stats {
    queues: Vec<QueueStats>,
    pub(super) lateness: Lateness,
}

#[derive(Deserialize)]
struct QueueStats {
    name: String,
    now: Now,
    total: Total,
}

#[derive(Deserialize)]
struct Now {
    pending: u64,
}

#[derive(Deserialize)]
struct Total {
    done: u64,
}

#[derive(Clone, Copy, Deserialize)]
pub(super) struct Lateness {
    pub(super) count: u64,
    p50_ms: u32,
    p99_ms: u32,
    max_ms: u32,
}

impl Stats {
    fn queue(&self, name: &str) -> Option<&QueueStats> {
        self.queues.iter().find(|queue| queue.name == name)
    }

    pub(super) fn pending(&self, name: &str) -> u64 {
        self.queue(name).map_or(0, |queue| queue.now.pending)
    }

    pub(super) fn done(&self, name: &str) -> u64 {
        self.queue(name).map_or(0, |queue| queue.total.done)
    }
}

impl From<Lateness> for Times {
    fn from(lateness: Lateness) -> Times {
        Times {
            p50_ms: lateness.p50_ms.into(),
            p99_ms: lateness.p99_ms.into(),
            max_ms: lateness.max_ms.into(),
        }
    }
}

pub(super) async fn stats(child: &Child) -> anyhow::Result<Stats> {
    let mut connection = Connection::open(child.address()).await?;
    let body = connection.ask_well(&request("GET", "/v1/stats", "")).await?;
    serde_json::from_slice(body).context("what /v1/stats says")
}
