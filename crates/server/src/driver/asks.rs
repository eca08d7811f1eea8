//! Requests under way: which of their commands are decided, and who waits for the answers.
//!
//! A request may have to wait for the archive in the middle of a batch; the answers leave together
//! when the last of them is there.

use std::collections::VecDeque;

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

    /// Lets the answers of a step go. Whoever asked may have gone away; then nobody hears them.
    pub fn leave(answered: Vec<Answered>, pins: &Pins) {
        for Answered { reply, answers, older, permit } in answered {
            let pins = older.iter().fold(pins.clone(), |pins, older| pins.with(older));
            drop(reply.send(Reply { answers, pins }));
            drop(permit);
        }
    }
}

/// One command of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) ask: u64,
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
    /// The number of the first of those that are kept.
    first: u64,
    /// In the order they came; one that is answered leaves its place when all before it have.
    under_way: VecDeque<Option<UnderWay>>,
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
        let ask = self.first + self.under_way.len() as u64;
        let answers = (0..commands).map(|_| None).collect();
        let older = Vec::new();
        let missing = commands;
        self.under_way.push_back(Some(UnderWay { reply, permit, answers, missing, older }));
        (0..commands).map(move |index| Place { ask, index })
    }

    /// Puts an answer in its place; gives the request back when it was the last.
    pub(super) fn answer(&mut self, place: Place, answer: Answer) -> Option<Answered> {
        let under_way = self.get_mut(place.ask)?;
        let before = under_way.answers.get_mut(place.index)?.replace(answer);
        assert!(before.is_none(), "a command is answered once");
        under_way.missing -= 1;
        if under_way.missing > 0 {
            self.fresh.push(place);
            return None;
        }
        let UnderWay { reply, permit, answers, older, .. } = self.remove(place.ask)?;
        let answers = answers.into_iter().flatten().collect();
        Some(Answered { reply, answers, older, permit })
    }

    /// Is all that was asked before it in its request answered? Nothing after it may be yet.
    pub(super) fn is_next(&self, place: Place) -> bool {
        place.index == 0
            || self
                .index(place.ask)
                .and_then(|index| self.under_way.get(index)?.as_ref())
                .is_none_or(|under_way| place.index == under_way.answers.len() - under_way.missing)
    }

    /// The step ends: the answers it gave to requests that still wait for others are told where
    /// its record lies, and what they point into is kept.
    pub(super) fn end_step(&mut self, pins: &Pins, mut place: impl FnMut(&mut Answer)) {
        let mut all = std::mem::take(&mut self.fresh);
        for fresh in all.drain(..) {
            let Some(ask) = self.get_mut(fresh.ask) else { continue };
            ask.answers.get_mut(fresh.index).into_iter().flatten().for_each(&mut place);
            if !ask.older.last().is_some_and(|last| last.are(pins)) {
                ask.older.push(pins.clone());
            }
        }
        // Its room serves the next step.
        self.fresh = all;
    }

    /// Where a request stands.
    fn index(&self, ask: u64) -> Option<usize> {
        usize::try_from(ask.checked_sub(self.first)?).ok()
    }

    fn get_mut(&mut self, ask: u64) -> Option<&mut UnderWay> {
        let index = self.index(ask)?;
        self.under_way.get_mut(index)?.as_mut()
    }

    fn remove(&mut self, ask: u64) -> Option<UnderWay> {
        let index = self.index(ask)?;
        let found = self.under_way.get_mut(index)?.take();
        while let Some(None) = self.under_way.front() {
            self.under_way.pop_front();
            self.first += 1;
        }
        found
    }

    /// Does nobody wait for an answer?
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }
}
