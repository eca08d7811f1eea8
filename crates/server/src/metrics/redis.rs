//! What clients of the Redis protocol do, counted where it happens.
//!
//! Commands are counted by the names of the protocol's own table: what a client calls them is never
//! a label.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Counters;

/// Why a client was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It does not take what it is told, or is slower than what is kept for those who listen.
    Slow,
    /// It has begun a request and does not end it.
    Unfinished,
    /// It has sent nothing for as long as the operator allows.
    Idle,
}

impl Cut {
    /// All of them.
    pub const ALL: [Cut; 3] = [Cut::Slow, Cut::Unfinished, Cut::Idle];

    /// A stable word.
    pub fn reason(self) -> &'static str {
        match self {
            Cut::Slow => "slow",
            Cut::Unfinished => "unfinished",
            Cut::Idle => "idle",
        }
    }
}

/// The figures; every clone is the same.
#[derive(Clone, Debug)]
pub struct RedisFigures(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    connections: Gauge,
    accepted: Counter,
    refused: Counter,
    received: Counter,
    sent: Counter,
    cut: Counters,
    /// In the order of the protocol's table.
    commands: Vec<(&'static str, Counter)>,
}

impl Default for RedisFigures {
    fn default() -> RedisFigures {
        let commands = duly_wire::command_names().map(|name| (name, Counter::default())).collect();
        let cut = Counters::default();
        for why in Cut::ALL {
            drop(cut.get_or_create(&vec![("why", why.reason().to_owned())]));
        }
        RedisFigures(Arc::new(Counts {
            connections: Gauge::default(),
            accepted: Counter::default(),
            refused: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
            cut,
            commands,
        }))
    }
}

/// One client that is connected, until dropped.
#[derive(Debug)]
pub struct Connected(RedisFigures);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.0.connections.dec();
    }
}

impl RedisFigures {
    /// A client has come.
    pub fn connect(&self) -> Connected {
        self.0.accepted.inc();
        self.0.connections.inc();
        Connected(self.clone())
    }

    /// There was no place for a client.
    pub fn refuse(&self) {
        self.0.refused.inc();
    }

    /// A client was cut off.
    pub fn cut(&self, why: Cut) {
        self.0.cut.get_or_create(&vec![("why", why.reason().to_owned())]).inc();
    }

    /// So many bytes have come.
    pub fn received(&self, bytes: usize) {
        self.0.received.inc_by(bytes as u64);
    }

    /// So many bytes have been taken.
    pub fn sent(&self, bytes: usize) {
        self.0.sent.inc_by(bytes as u64);
    }

    /// A command was begun, by its number in the protocol's table.
    pub fn command(&self, number: usize) {
        self.0.commands[number].1.inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let counts = &self.0;
        registry.register(
            "redis_connections",
            "Clients of the Redis protocol that are connected",
            counts.connections.clone(),
        );
        let counters = [
            ("redis_accepted", "Clients of the Redis protocol that came", &counts.accepted),
            ("redis_refused", "Clients for whom there was no place", &counts.refused),
            ("redis_received_bytes", "Bytes from clients of the Redis protocol", &counts.received),
            ("redis_sent_bytes", "Bytes to clients of the Redis protocol", &counts.sent),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("redis_cut", "Clients cut off, by why", counts.cut.clone());
        let commands = Counters::default();
        for (name, counter) in counts.commands.iter().filter(|(_, counter)| counter.get() > 0) {
            let labels = vec![("command", name.to_ascii_lowercase())];
            commands.get_or_create(&labels).inc_by(counter.get());
        }
        registry.register("redis_commands", "Commands of the Redis protocol begun", commands);
    }
}
