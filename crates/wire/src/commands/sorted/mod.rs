//! Sorted sets as the classic delay queue: a set is a queue, a member a key, a score the due time.
//!
//! `ZADD` schedules, `ZRANGEBYSCORE` shows what is due, and whoever is answered 1 by `ZREM` has the
//! member and nobody else does: before its time that is a settle, after it a delivery that is done in
//! the same breath. So the loop that polls a sorted set works unchanged, and what it relied on
//! happens in one durable engine.
//!
//! In the set is what is pending, and what has lapsed and nobody has claimed: what waits for a worker
//! or for its next attempt, and what is dead. What is due comes from
//! those who wait to be handed out, which costs as much as is shown; only a range that reaches into
//! the future walks the records.

mod add;
mod claim;
mod look;
mod range;
mod score;

use duly_engine::command::Address;
use duly_engine::deadline::{Deadline, DeliveryState, State};
use duly_engine::id::{Key, QueueName};

use super::{Client, Next, No, Taken};
pub(super) use add::zadd;
pub(super) use claim::{bzpopmin, zpopmin, zrem};
pub(super) use look::{zcard, zcount, zmscore, zscore};
pub(super) use range::{zrange, zrangebyscore};

/// The queue that a set is.
fn queue(client: &Client, word: &[u8]) -> Result<QueueName, No> {
    client.settings.names.queue(word).map_err(No::err)
}

/// The deadline that a member is.
fn member(queue: &QueueName, word: &[u8]) -> Result<Address, No> {
    let text = str::from_utf8(word).map_err(|_| No::err("a member is text in UTF-8"))?;
    let key = Key::new(text).map_err(|bad| No::err(format!("a member is a key, and {bad}")))?;
    Ok(Address { queue: queue.clone(), key })
}

/// Is it in the set?
fn is_member(deadline: &Deadline) -> bool {
    deadline.delivery.as_ref().map_or(deadline.state == State::Pending, |delivery| {
        matches!(delivery.state, DeliveryState::Ready | DeliveryState::Dead)
    })
}
