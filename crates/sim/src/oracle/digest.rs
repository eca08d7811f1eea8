//! A number for a whole record, so that many versions of it can be kept and compared cheaply.
//!
//! Payloads are left out: they are compared byte by byte where they are read.

use duly_engine::deadline::{Deadline, Delivery, Event, What};
use duly_engine::time::Time;

/// A running hash; the same on every machine.
pub(crate) struct Digest(u64);

impl Digest {
    /// Of nothing.
    pub(crate) fn new() -> Digest {
        Digest(0x9E37_79B9_7F4A_7C15)
    }

    /// With this number.
    pub(crate) fn number(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0xBF58_476D_1CE4_E5B9).rotate_left(29);
        self.0 ^= self.0 >> 31;
    }

    /// With these bytes and their length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    /// What it has come to.
    pub(crate) fn value(&self) -> u64 {
        self.0
    }

    fn time(&mut self, time: Option<Time>) {
        self.number(time.map_or(u64::MAX, Time::millis));
    }

    fn delivery(&mut self, delivery: &Delivery) {
        self.number(delivery.state as u64);
        self.number(u64::from(delivery.attempts));
        self.time(delivery.next_attempt_at);
        self.time(delivery.leased_until);
        self.number(delivery.token.map_or(0, |token| token.0));
        self.bytes(delivery.last_error.as_deref().unwrap_or_default().as_bytes());
        self.time(delivery.finished_at);
        self.number(u64::from(delivery.ladder.attempts));
        self.time(Some(delivery.ladder.since));
        self.number(u64::from(delivery.held_here));
        self.number(delivery.id.deadline.0);
        self.number(u64::from(delivery.id.generation.0));
        self.number(delivery.id.directory.0);
    }

    fn event(&mut self, event: &Event) {
        self.time(Some(event.at));
        self.bytes(event.what.word().as_bytes());
        match &event.what {
            What::Scheduled { due: time }
            | What::Extended { due: time }
            | What::Shifted { due: time }
            | What::Frozen { until: time } => self.time(Some(*time)),
            What::Settled { outcome } => self.bytes(outcome.as_str().as_bytes()),
            What::Leased { attempt } => self.number(u64::from(*attempt)),
            What::Retried { error, next_attempt_at } => {
                self.bytes(error.as_bytes());
                self.time(Some(*next_attempt_at));
            }
            What::Dead { error } => self.bytes(error.as_bytes()),
            What::Lapsed | What::Done | What::Superseded | What::Revived => {}
        }
    }
}

/// A record but its payload.
pub(super) fn of(deadline: &Deadline) -> u64 {
    let mut digest = Digest::new();
    digest.number(u64::from(deadline.queue_no.0));
    digest.bytes(deadline.queue.as_str().as_bytes());
    digest.bytes(deadline.key.as_str().as_bytes());
    digest.number(deadline.id.0);
    digest.number(u64::from(deadline.generation.0));
    digest.number(deadline.state as u64);
    digest.time(Some(deadline.due));
    digest.time(Some(deadline.created_at));
    digest.number(u64::from(deadline.priority));
    digest.time(deadline.frozen_until);
    digest.number(deadline.frozen_for.millis());
    digest.bytes(deadline.outcome.as_ref().map_or("", |outcome| outcome.as_str()).as_bytes());
    digest.time(deadline.settled_at);
    digest.time(deadline.lapsed_at);
    if let Some(delivery) = &deadline.delivery {
        digest.delivery(delivery);
    }
    for event in &deadline.timeline {
        digest.event(event);
    }
    digest.value()
}
