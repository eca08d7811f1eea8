//! What has happened lately, for everybody who wants to listen.
//!
//! The journal's thread puts in what a release announces, once that is durable; at the opening the
//! journal's replay fills it, so that a reader goes on across a restart where it stopped. Readers
//! have a place of their own and fetch from there: nobody waits for them, and who is slower than
//! what is kept is told so. What is kept is bounded in bytes. With nobody listening an announcement
//! costs one push.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use duly_engine::announce::{self, Announcement};
use duly_engine::id::{DirectoryId, Seq};
use tokio::sync::watch;

/// What one release or one record of the journal announces.
#[derive(Debug)]
pub struct Announced {
    /// As the engine gave it out.
    pub bytes: Vec<u8>,
    /// The last fact there was then, announced or not.
    pub last_seq: Seq,
}

/// What each of them takes beyond its bytes, about.
const OVERHEAD: usize = 96;
/// Bytes that a reader is given at once, about.
const PAGE: usize = 64 << 10;

/// A cheap, cloneable way to what has happened.
#[derive(Clone, Debug)]
pub struct Events(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    directory: DirectoryId,
    kept: Mutex<Kept>,
    /// The last announced fact: changes when there is something to read.
    news: watch::Sender<Seq>,
}

#[derive(Debug)]
struct Kept {
    announced: VecDeque<Arc<Announced>>,
    bytes: usize,
    most: usize,
    /// Facts up to this one are kept no longer, or never were.
    gone: Seq,
    /// The last durable fact.
    last: Seq,
}

/// Some of what has happened.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// In order.
    pub announcements: Vec<Announcement>,
    /// There is nothing else up to this fact.
    pub up_to: Seq,
    /// There is more right now.
    pub more: bool,
}

/// What was asked for is not kept any longer, or was never given out here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// After this fact everything is kept.
    pub kept_after: Seq,
    /// The last fact there is.
    pub last: Seq,
}

impl Events {
    /// Keeps nothing yet, and never more than `most` bytes.
    pub fn new(directory: DirectoryId, most: usize) -> Events {
        let kept = Kept { announced: VecDeque::new(), bytes: 0, most, gone: 0, last: 0 };
        let (news, _) = watch::channel(0);
        Events(Arc::new(Shared { directory, kept: Mutex::new(kept), news }))
    }

    /// The directory that all of it happened in.
    pub fn directory(&self) -> DirectoryId {
        self.0.directory
    }

    /// Adds what is durable. What is oldest goes, if there is no room.
    pub fn push(&self, announced: Announced) {
        let last = announced.last_seq;
        let has_news = !announced.bytes.is_empty();
        self.kept().push(announced);
        if has_news {
            self.0.news.send_replace(last);
        }
    }

    /// Facts up to this one cannot be told in full.
    pub fn forget(&self, up_to: Seq) {
        self.kept().forget(up_to);
    }

    /// What comes after this fact, as much as is handed out at once.
    pub fn read(&self, after: Seq) -> Result<Page, Gone> {
        let (some, up_to, more) = {
            let kept = self.kept();
            if after < kept.gone || after > kept.last {
                return Err(Gone { kept_after: kept.gone, last: kept.last });
            }
            kept.after(after)
        };
        let announcements = some
            .iter()
            .flat_map(|announced| announce::read(&announced.bytes))
            .filter(|announcement| announcement.seq > after)
            .collect();
        Ok(Page { announcements, up_to, more })
    }

    /// The last durable fact.
    pub fn last(&self) -> Seq {
        self.kept().last
    }

    /// Says when there is something new to read.
    pub fn news(&self) -> watch::Receiver<Seq> {
        self.0.news.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, mut announced: Announced) {
        self.last = announced.last_seq;
        if announced.bytes.is_empty() {
            return;
        }
        announced.bytes.shrink_to_fit();
        self.bytes += size(&announced);
        self.announced.push_back(Arc::new(announced));
        while self.bytes > self.most
            && let Some(oldest) = self.announced.pop_front()
        {
            self.bytes -= size(&oldest);
            self.gone = oldest.last_seq;
        }
    }

    fn forget(&mut self, up_to: Seq) {
        self.gone = self.gone.max(up_to);
        while let Some(oldest) =
            self.announced.pop_front_if(|announced| announced.last_seq <= up_to)
        {
            self.bytes -= size(&oldest);
        }
    }

    /// Some of what is kept after this fact, how far that reaches, and whether there is more.
    fn after(&self, after: Seq) -> (Vec<Arc<Announced>>, Seq, bool) {
        let from = self.announced.partition_point(|announced| announced.last_seq <= after);
        let (mut some, mut bytes) = (Vec::new(), 0);
        for announced in self.announced.range(from..) {
            if bytes >= PAGE {
                let up_to = some.last().map_or(after, |last: &Arc<Announced>| last.last_seq);
                return (some, up_to, true);
            }
            bytes += announced.bytes.len();
            some.push(Arc::clone(announced));
        }
        (some, self.last, false)
    }
}

fn size(announced: &Announced) -> usize {
    announced.bytes.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use duly_engine::answer::Known;
    use duly_engine::clock::Reading;
    use duly_engine::command::{Address, Command, Schedule, Settle, When};
    use duly_engine::id::{Key, Outcome, QueueName};
    use duly_engine::limits::Limits;
    use duly_engine::time::{Span, Time};
    use duly_engine::{Engine, Storage};

    use super::*;

    /// An engine, and what it announces a step at a time.
    struct Story {
        engine: Engine,
        now: u64,
    }

    impl Story {
        fn new() -> Story {
            let mut engine = Engine::new(DirectoryId(7), [1, 2], Limits::default());
            let now = 1_795_348_800_000;
            engine.open(reading(now));
            engine.finish();
            Story { engine, now }
        }

        /// So many deadlines are scheduled in one step.
        fn step(&mut self, from: usize, deadlines: usize) -> Announced {
            self.now += 1;
            self.engine.begin(reading(self.now), Storage::Plenty);
            for number in from..from + deadlines {
                let schedule = Schedule::new(address(number), When::After(Span::from_mins(30)));
                self.engine.decide(Command::Schedule(schedule), Known::Absent);
            }
            self.finish()
        }

        fn settle(&mut self, number: usize) -> Announced {
            self.now += 1;
            self.engine.begin(reading(self.now), Storage::Plenty);
            let outcome = Outcome::new("paid").expect("it is one");
            let settle = Settle { at: address(number), outcome, remember: None, generation: None };
            self.engine.decide(Command::Settle(settle), Known::Absent);
            self.finish()
        }

        fn finish(&mut self) -> Announced {
            let step = self.engine.finish();
            Announced { bytes: step.announced, last_seq: self.engine.last_seq() }
        }
    }

    fn reading(now: u64) -> Reading {
        Reading { wall: Time::from_millis(now), boot: Span::from_millis(now) }
    }

    fn address(number: usize) -> Address {
        Address {
            queue: QueueName::new("orders").expect("it is one"),
            key: Key::new(&format!("order-{number}")).expect("it is one"),
        }
    }

    fn words(page: &Page) -> Vec<(&'static str, Option<&str>)> {
        let told = page.announcements.iter().map(|announcement| &announcement.told);
        told.map(|told| {
            told.as_ref()
                .map_or(("erased", None), |told| (told.what.word(), Some(told.key.as_str())))
        })
        .collect()
    }

    #[test]
    fn a_reader_hears_what_came_after_his_place_in_order_and_once() {
        let (mut story, events) = (Story::new(), Events::new(DirectoryId(7), 1 << 20));
        events.push(story.step(0, 2));
        let after = events.last();
        events.push(story.settle(1));
        events.push(story.step(2, 1));
        let page = events.read(after).expect("it is kept");
        assert_eq!(words(&page), [("settled", Some("order-1")), ("scheduled", Some("order-2"))]);
        assert_eq!((page.up_to, page.more), (events.last(), false));
        let page = events.read(events.last()).expect("there is nothing new");
        assert_eq!(words(&page), []);
        // From the middle of a step.
        let all = events.read(0).expect("it is kept");
        let middle = all.announcements[0].seq;
        let rest = events.read(middle).expect("it is kept");
        assert_eq!(rest.announcements, all.announcements[1..]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_who_is_slower_is_told() {
        const MOST: usize = 20_000;
        let (mut story, events) = (Story::new(), Events::new(DirectoryId(7), MOST));
        let mut place = 0;
        for step in 0..2_000 {
            events.push(story.step(step, 1));
            assert!(events.kept().bytes <= MOST);
            if step == 500 {
                place = events.last();
            }
        }
        let gone = events.read(place).expect_err("it was long ago");
        assert_eq!(gone.last, events.last());
        let page = events.read(gone.kept_after).expect("from there it is kept");
        assert_eq!(page.announcements.last().map(|last| last.seq), Some(events.last()));
        assert!(events.read(gone.kept_after - 1).is_err());
        // A step larger than all there is room for is not kept at all.
        events.push(story.step(2_000, 1_000));
        assert_eq!(events.kept().bytes, 0);
        let last = events.last();
        assert_eq!(events.read(last - 1), Err(Gone { kept_after: last, last }));
    }

    #[test]
    fn a_place_from_another_life_of_the_directory_is_refused() {
        let (mut story, events) = (Story::new(), Events::new(DirectoryId(7), 1 << 20));
        events.push(story.step(0, 1));
        assert!(events.read(events.last() + 1).is_err());
    }

    #[test]
    fn a_long_past_is_handed_out_in_pages_without_a_gap() {
        let (mut story, events) = (Story::new(), Events::new(DirectoryId(7), 8 << 20));
        for step in 0..50 {
            events.push(story.step(step * 100, 100));
        }
        let (mut place, mut pages, mut heard) = (0, 0, Vec::new());
        loop {
            let page = events.read(place).expect("it is kept");
            heard.extend(page.announcements);
            (place, pages) = (page.up_to, pages + 1);
            if !page.more {
                break;
            }
        }
        assert!(pages > 2, "{pages} pages");
        assert_eq!(heard.len(), 5_000);
        assert!(heard.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    }

    #[test]
    fn what_cannot_be_told_in_full_is_forgotten() {
        let (mut story, events) = (Story::new(), Events::new(DirectoryId(7), 1 << 20));
        events.push(story.step(0, 1));
        let first = events.last();
        events.push(story.step(1, 3));
        let second = events.last();
        events.forget(first);
        assert!(events.read(first - 1).is_err());
        assert_eq!(events.read(first).expect("it is kept").announcements.len(), 3);
        // In the middle of a step.
        events.forget(second - 1);
        assert_eq!(events.read(second - 1).expect("it is kept").announcements.len(), 1);
        assert_eq!(events.kept().gone, second - 1);
    }

    #[test]
    fn who_waits_is_woken_by_news_and_not_by_bookkeeping() {
        let (mut story, events) = (Story::new(), Events::new(DirectoryId(7), 1 << 20));
        let mut news = events.news();
        events.push(Announced { bytes: Vec::new(), last_seq: 9 });
        assert!(!news.has_changed().expect("it lives"));
        assert_eq!(events.last(), 9);
        events.push(story.step(0, 1));
        assert!(news.has_changed().expect("it lives"));
        assert_eq!(*news.borrow_and_update(), events.last());
    }
}
