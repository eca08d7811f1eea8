//! Both sides of an open session: what is on its way, what the broker says to it, and when it is late.
//!
//! This is told what was heard and what time it is, and it writes what is to be said; it reads no socket
//! and no clock. A message that nobody confirms is never good: everything that ends a session answers
//! all who wait.

use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::Letter;
use super::method::{self, Heard};
use super::wire::{Frame, Strange};
use crate::config::AmqpDestination;
use crate::deliver::publish::Said;

/// A message is confirmed by then, or its session is given up. Shorter than an attempt may take, so that
/// those who wait hear why.
const CONFIRM: Duration = Duration::from_secs(25);

/// A message on its way.
struct Waiting {
    id: String,
    since: Instant,
    /// Why it came back, if it did. The broker confirms it nevertheless.
    returned: Option<String>,
    /// Who waits for it; nobody, once an answer was given early.
    said: Option<oneshot::Sender<Said>>,
}

impl Waiting {
    fn answer(&mut self, said: Said) {
        if let Some(waits) = self.said.take() {
            // Whoever has stopped waiting tries again, under the same id.
            waits.send(said).unwrap_or_default();
        }
    }
}

/// A session from inside.
pub(super) struct Talk {
    place: AmqpDestination,
    frame_max: usize,
    heartbeat: Duration,
    /// What is to be written.
    pub(super) outgoing: BytesMut,
    /// The number of the message that was written last; the broker counts along.
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Why the broker takes nothing for now.
    blocked: Option<String>,
    /// Why the message that is being handed back could not be delivered.
    returning: Option<String>,
    /// Has the broker ended the connection, and waits for the answer to that?
    was_closed: bool,
    heard_at: Instant,
    said_at: Instant,
}

impl Talk {
    pub(super) fn new(
        place: AmqpDestination,
        frame_max: usize,
        heartbeat: Duration,
        now: Instant,
    ) -> Talk {
        Talk {
            place,
            frame_max,
            heartbeat,
            outgoing: BytesMut::new(),
            last: 0,
            waiting: BTreeMap::new(),
            blocked: None,
            returning: None,
            was_closed: false,
            heard_at: now,
            said_at: now,
        }
    }

    /// Sends messages on their way, or back if the broker takes none.
    pub(super) fn publish(&mut self, letters: Vec<Letter>, now: Instant) {
        for letter in letters {
            if let Some(reason) = &self.blocked {
                letter.said.send(Err(blocked(reason))).unwrap_or_default();
                continue;
            }
            method::publish(&mut self.outgoing, &self.place, &letter, self.frame_max);
            self.last += 1;
            let Letter { id, said, .. } = letter;
            let waiting = Waiting { id, since: now, returned: None, said: Some(said) };
            self.waiting.insert(self.last, waiting);
        }
    }

    /// Understands a frame. An error ends the session.
    pub(super) fn hear(&mut self, frame: &Frame, now: Instant) -> Result<(), String> {
        match method::hear(frame)? {
            Heard::Heartbeat | Heard::Body => {}
            Heard::Ack { tag, multiple } => self.settle(tag, multiple, &Ok(()))?,
            Heard::Nack { tag, multiple } => {
                let refused = "refused: the broker could not take it (basic.nack)".to_owned();
                self.settle(tag, multiple, &Err(refused))?;
            }
            Heard::Return { why } => {
                self.returning = Some(format!("unroutable: no queue takes it ({why})"));
            }
            Heard::Header { message_id } => {
                let why = self.returning.take().ok_or(Strange)?;
                self.came_back(&message_id, &why)?;
            }
            Heard::Blocked { reason } => self.blocked = Some(reason),
            Heard::Unblocked => {
                self.blocked = None;
                // It reads on only now.
                for waiting in self.waiting.values_mut() {
                    waiting.since = now;
                }
            }
            Heard::ChannelClose { why } => return Err(why),
            Heard::Close { why } => {
                self.was_closed = true;
                return Err(why);
            }
            Heard::Start { .. }
            | Heard::Tune { .. }
            | Heard::OpenOk
            | Heard::ChannelOpenOk
            | Heard::SelectOk
            | Heard::CloseOk => return Err(Strange.into()),
        }
        Ok(())
    }

    /// Answers those of a number, or of all up to it. The broker confirms also what it has handed back.
    fn settle(&mut self, tag: u64, multiple: bool, said: &Said) -> Result<(), Strange> {
        if tag > self.last {
            return Err(Strange);
        }
        let settled = match (tag, multiple) {
            (0, true) => mem::take(&mut self.waiting),
            (_, true) => {
                let rest = self.waiting.split_off(&(tag + 1));
                mem::replace(&mut self.waiting, rest)
            }
            (_, false) => {
                let waiting = self.waiting.remove(&tag).ok_or(Strange)?;
                BTreeMap::from([(tag, waiting)])
            }
        };
        for mut waiting in settled.into_values() {
            let said = waiting.returned.take().map_or_else(|| said.clone(), Err);
            waiting.answer(said);
        }
        Ok(())
    }

    /// Notes that a message went nowhere. Only its id says which; where an earlier attempt at it still
    /// waits, both count as returned, since a message too many is better than none.
    fn came_back(&mut self, id: &str, why: &str) -> Result<(), Strange> {
        let mut is_ours = false;
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.id == id) {
            waiting.returned = Some(why.to_owned());
            is_ours = true;
        }
        if is_ours { Ok(()) } else { Err(Strange) }
    }

    /// Notes that something came from the broker.
    pub(super) fn has_heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// Notes that something went to the broker.
    pub(super) fn has_said(&mut self, now: Instant) {
        self.said_at = now;
    }

    /// Does what it is time for. An error ends the session.
    pub(super) fn pass(&mut self, now: Instant) -> Result<(), String> {
        if now >= self.silent_at() {
            return Err("it has fallen silent".to_owned());
        }
        if now >= self.beat_at() {
            // What still has to be written is as good a sign of life.
            if self.outgoing.is_empty() {
                method::heartbeat(&mut self.outgoing);
            }
            self.said_at = now;
        }
        if self.late_at().is_some_and(|late| now >= late) {
            let Some(reason) = &self.blocked else {
                return Err(format!("it did not confirm within {} s", CONFIRM.as_secs()));
            };
            let said = Err(blocked(reason));
            for waiting in self.waiting.values_mut() {
                waiting.answer(said.clone());
            }
        }
        Ok(())
    }

    /// When time passes for something.
    pub(super) fn wake_at(&self) -> Instant {
        let next = self.silent_at().min(self.beat_at());
        self.late_at().map_or(next, |late| late.min(next))
    }

    fn silent_at(&self) -> Instant {
        self.heard_at + self.heartbeat * 2
    }

    fn beat_at(&self) -> Instant {
        self.said_at + self.heartbeat / 2
    }

    /// When somebody has waited for too long.
    fn late_at(&self) -> Option<Instant> {
        let oldest = self.waiting.values().find(|waiting| waiting.said.is_some())?;
        Some(oldest.since + CONFIRM)
    }

    /// Tells all who wait that the session has ended.
    pub(super) fn end(&mut self, why: &str) {
        for mut waiting in mem::take(&mut self.waiting).into_values() {
            let why = waiting.returned.take().unwrap_or_else(|| why.to_owned());
            waiting.answer(Err(why));
        }
    }

    /// What is left to be written, and a goodbye.
    pub(super) fn goodbye(mut self) -> BytesMut {
        if self.was_closed {
            method::close_ok(&mut self.outgoing);
        } else {
            method::close(&mut self.outgoing);
        }
        self.outgoing
    }
}

fn blocked(reason: &str) -> String {
    format!("blocked: the broker takes no messages ({reason})")
}
