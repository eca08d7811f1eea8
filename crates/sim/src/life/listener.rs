//! Somebody who listens to all that happens, across every restart.
//!
//! He hears what each process announces, and when one has ended asks the next for what came after
//! the last thing he heard. What he was told before must still be so, word for word, and in between
//! nothing may be missing and nothing told twice; or he is told that it is gone.

use duly::driver::{Events, Page};
use duly_engine::announce::Announcement;
use duly_engine::id::Seq;

use super::Life;
use crate::markers::Marker;
use crate::oracle::Promise;

/// What he knows.
#[derive(Default)]
pub(super) struct Listener {
    heard: Vec<Announcement>,
}

impl Life {
    /// A process has ended and another has begun.
    pub(super) fn listen_on(&mut self) {
        let fresh = self.world.heard();
        self.listener.heard.extend(fresh);
        let events = self.world.events();
        let kept = match kept(events) {
            Ok(kept) => kept,
            Err(what) => return self.oracle.violated(Promise::Order, what),
        };
        let heard = &self.listener.heard;
        let position = heard.last().map_or(0, |last| last.seq);
        let in_order = heard.windows(2).all(|pair| pair[0].seq < pair[1].seq);
        if !in_order {
            let what = "what was announced came out of order, or twice".to_owned();
            return self.oracle.violated(Promise::Order, what);
        }
        if position > events.last() {
            let what = format!("fact {position} was announced, and facts end before it");
            return self.oracle.violated(Promise::DurableBeforeTold, what);
        }
        // All that is still kept of what was heard, and then what was not heard.
        let first = kept.first().map_or(Seq::MAX, |first| first.seq);
        let told = heard.iter().filter(|told| told.seq >= first);
        let repeated = told.clone().count();
        if !told.eq(kept.iter().take(repeated)) {
            let what = format!("up to fact {position} another story is told than before");
            return self.oracle.violated(Promise::Order, what);
        }
        // He may have missed the end of it.
        let missed = if self.dice.one_in(2) { self.dice.index(heard.len().max(1)) } else { 0 };
        let position = heard.iter().rev().nth(missed).map_or(0, |last| last.seq);
        let goes_on = from(events, position).map(|after| {
            let rest = kept.iter().filter(|kept| kept.seq > position);
            rest.eq(&after)
        });
        self.listener.heard.extend(kept.into_iter().skip(repeated));
        match goes_on {
            Ok(true) => self.mark(Marker::ListenerWentOn),
            Ok(false) => {
                let what = format!("after fact {position} something is missing or told twice");
                self.oracle.violated(Promise::Order, what);
            }
            Err(_) => self.mark(Marker::ListenerTooLate),
        }
    }
}

/// All that is kept.
fn kept(events: &Events) -> Result<Vec<Announcement>, String> {
    from(events, events.read(0).err().map_or(0, |gone| gone.kept_after))
}

/// All that is kept after this fact.
fn from(events: &Events, mut after: Seq) -> Result<Vec<Announcement>, String> {
    let mut all = Vec::new();
    loop {
        let Page { announcements, up_to, more } =
            events.read(after).map_err(|gone| format!("after {after}: {gone:?}"))?;
        all.extend(announcements);
        after = up_to;
        if !more {
            return Ok(all);
        }
    }
}
