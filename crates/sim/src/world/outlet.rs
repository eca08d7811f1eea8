//! Where everything lands that a release lets go: queues that the other threads work off.

use std::collections::VecDeque;

use duly::driver::{Announced, Answered, Attempt, Errand, Events, Feed, Outlet, Pins, Retention};
use duly_engine::announce::{self, Announcement};
use duly_engine::answer::Wanted;
use duly_engine::effect::{Effect, Notice};
use duly_engine::id::Seq;
use duly_engine::time::Time;

/// What has left and nobody has taken up yet.
pub(super) struct Out {
    pub(super) attempts: Vec<(Attempt, Pins)>,
    pub(super) notices: Vec<Notice>,
    /// What happened lately, as the product keeps it.
    pub(super) events: Events,
    /// All that somebody has heard who listens all the time.
    pub(super) heard: Vec<Announcement>,
    pub(super) feeds: VecDeque<Feed>,
    /// The last round of sweeping that was asked for.
    pub(super) retention: Option<Retention>,
    pub(super) wanted: VecDeque<Wanted>,
    pub(super) errand: Option<(Errand, Pins)>,
    /// The largest write so far, in bytes.
    pub(super) largest: usize,
}

impl Out {
    /// Begins with what a replay found that the archive may lack.
    pub(super) fn beginning(
        unarchived: Vec<Effect>,
        last_seq: Seq,
        pins: Pins,
        events: Events,
    ) -> Out {
        Out {
            attempts: Vec::new(),
            notices: Vec::new(),
            events,
            heard: Vec::new(),
            feeds: VecDeque::from([Feed::replayed(unarchived, last_seq, pins)]),
            retention: None,
            wanted: VecDeque::new(),
            errand: None,
            largest: 0,
        }
    }
}

impl Outlet for Out {
    fn writing(&mut self, bytes: usize) {
        self.largest = self.largest.max(bytes);
    }

    fn synced(&mut self) {}

    fn answered(&mut self, answered: Vec<Answered>, pins: &Pins) {
        Answered::leave(answered, pins);
    }

    fn announced(&mut self, announced: Announced) {
        self.heard.extend(announce::read(&announced.bytes));
        self.events.push(announced);
    }

    fn lapsed(&mut self, _: &[Time]) {}

    fn attempts(&mut self, attempts: Vec<Attempt>, pins: &Pins) {
        self.attempts.extend(attempts.into_iter().map(|attempt| (attempt, pins.clone())));
    }

    fn notice(&mut self, notice: &Notice) {
        self.notices.push(notice.clone());
    }

    fn feed(&mut self, mut feed: Feed) {
        self.retention = feed.retention.take().or(self.retention.take());
        self.feeds.push_back(feed);
    }

    fn look_up(&mut self, wanted: Wanted) {
        self.wanted.push_back(wanted);
    }

    fn clean(&mut self, errand: Errand, pins: &Pins) {
        self.errand = Some((errand, pins.clone()));
    }
}
