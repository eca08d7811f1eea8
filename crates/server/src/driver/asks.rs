//! Requests under way: which of their commands are decided, and who waits for the answers.
//!
//! A request may have to wait for the archive in the middle of a batch; the answers leave together
//! when the last of them is there.

use std::collections::BTreeMap;

use duly_engine::answer::Answer;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::segments::Pins;

/// All answers of one request, with what keeps the journal segments they point into.
pub struct Reply {
    /// In the order of the commands.
    pub answers: Vec<Answer>,
    /// Keeps segments from being used again while somebody reads a payload from them.
    pub pins: Pins,
}

/// A request that is answered, on its way out: it leaves when the step is durable.
pub struct Answered {
    reply: oneshot::Sender<Reply>,
    pub(super) answers: Vec<Answer>,
    /// What keeps the segments that answers of earlier steps point into.
    older: Vec<Pins>,
    /// Held until the answers have left.
    permit: OwnedSemaphorePermit,
}

impl Answered {
    pub(super) fn new(
        reply: oneshot::Sender<Reply>,
        permit: OwnedSemaphorePermit,
        answers: Vec<Answer>,
    ) -> Answered {
        Answered { reply, answers, older: Vec::new(), permit }
    }

    /// Lets the answers go. Whoever asked may have gone away; then nobody hears them.
    pub(super) fn leave(self, pins: &Pins) {
        let pins = self.older.iter().fold(pins.clone(), |pins, older| pins.with(older));
        drop(self.reply.send(Reply { answers: self.answers, pins }));
        drop(self.permit);
    }
}

/// One command of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    ask: u64,
    index: usize,
}

struct UnderWay {
    reply: oneshot::Sender<Reply>,
    permit: OwnedSemaphorePermit,
    answers: Vec<Option<Answer>>,
    missing: usize,
    /// Of every step that has given answers so far.
    older: Vec<Pins>,
}

/// The requests that are not answered yet.
#[derive(Default)]
pub(super) struct Asks {
    next: u64,
    under_way: BTreeMap<u64, UnderWay>,
    /// What was answered in this step.
    fresh: Vec<Place>,
}

impl Asks {
    /// Takes up a request of so many commands; gives the place of each.
    pub(super) fn begin(
        &mut self,
        commands: usize,
        reply: oneshot::Sender<Reply>,
        permit: OwnedSemaphorePermit,
    ) -> impl Iterator<Item = Place> + use<> {
        let ask = self.next;
        self.next += 1;
        let answers = (0..commands).map(|_| None).collect();
        let older = Vec::new();
        self.under_way.insert(ask, UnderWay { reply, permit, answers, missing: commands, older });
        (0..commands).map(move |index| Place { ask, index })
    }

    /// Puts an answer in its place; gives the request back when it was the last.
    pub(super) fn answer(&mut self, place: Place, answer: Answer) -> Option<Answered> {
        let under_way = self.under_way.get_mut(&place.ask)?;
        let before = under_way.answers.get_mut(place.index)?.replace(answer);
        assert!(before.is_none(), "a command is answered once");
        under_way.missing -= 1;
        if under_way.missing > 0 {
            self.fresh.push(place);
            return None;
        }
        let UnderWay { reply, permit, answers, older, .. } = self.under_way.remove(&place.ask)?;
        let answers = answers.into_iter().flatten().collect();
        Some(Answered { reply, answers, older, permit })
    }

    /// The step ends: the answers it gave to requests that still wait for others are told where
    /// its record lies, and what they point into is kept.
    pub(super) fn end_step(&mut self, pins: &Pins, mut place: impl FnMut(&mut Answer)) {
        for fresh in self.fresh.drain(..) {
            let Some(ask) = self.under_way.get_mut(&fresh.ask) else { continue };
            ask.answers.get_mut(fresh.index).into_iter().flatten().for_each(&mut place);
            if !ask.older.last().is_some_and(|last| last.are(pins)) {
                ask.older.push(pins.clone());
            }
        }
    }

    /// Does nobody wait for an answer?
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }
}
