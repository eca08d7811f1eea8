//! Requests under way: which of their commands are decided, and who waits for the answers.
//!
//! A request may have to wait for the archive in the middle of a batch; the answers leave together
//! when the last of them is there.

use std::collections::BTreeMap;

use duly_engine::answer::Answer;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::segments::Pins;

/// All answers of one request, with what keeps the journal segments they point into.
pub(crate) struct Reply {
    /// In the order of the commands.
    pub(crate) answers: Vec<Answer>,
    /// Keeps segments from being used again while somebody reads a payload from them.
    pub(crate) pins: Pins,
}

/// A request that is answered, on its way out: it leaves when the step is durable.
pub(crate) struct Answered {
    reply: oneshot::Sender<Reply>,
    pub(super) answers: Vec<Answer>,
    /// Segments that are gone by now, but were there when the first answers were made.
    older: Option<Pins>,
    /// Held until the answers have left.
    permit: OwnedSemaphorePermit,
}

impl Answered {
    pub(super) fn new(
        reply: oneshot::Sender<Reply>,
        permit: OwnedSemaphorePermit,
        answers: Vec<Answer>,
    ) -> Answered {
        Answered { reply, answers, older: None, permit }
    }

    /// Lets the answers go. Whoever asked may have gone away; then nobody hears them.
    pub(super) fn leave(self, pins: &Pins) {
        let pins = self.older.map_or_else(|| pins.clone(), |older| pins.with(&older));
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
    older: Option<Pins>,
}

/// The requests that are not answered yet.
#[derive(Default)]
pub(super) struct Asks {
    next: u64,
    under_way: BTreeMap<u64, UnderWay>,
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
        self.under_way
            .insert(ask, UnderWay { reply, permit, answers, missing: commands, older: None });
        (0..commands).map(move |index| Place { ask, index })
    }

    /// Puts an answer in its place; gives the request back when it was the last.
    pub(super) fn answer(&mut self, place: Place, answer: Answer) -> Option<Answered> {
        let under_way = self.under_way.get_mut(&place.ask)?;
        let before = under_way.answers.get_mut(place.index)?.replace(answer);
        assert!(before.is_none(), "a command is answered once");
        under_way.missing -= 1;
        if under_way.missing > 0 {
            return None;
        }
        let UnderWay { reply, permit, answers, older, .. } = self.under_way.remove(&place.ask)?;
        let answers = answers.into_iter().flatten().collect();
        Some(Answered { reply, answers, older, permit })
    }

    /// The answers of requests that still wait for others.
    pub(super) fn answers_mut(&mut self) -> impl Iterator<Item = &mut Answer> {
        self.under_way.values_mut().flat_map(|ask| ask.answers.iter_mut().flatten())
    }

    /// Keeps the segments that those answers may point into, from the first of them on.
    pub(super) fn pin(&mut self, pins: &Pins) {
        for ask in self.under_way.values_mut() {
            ask.older.get_or_insert_with(|| pins.clone());
        }
    }
}
