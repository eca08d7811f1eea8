//! What a step leaves behind, and the order in which it may leave.
//!
//! The record goes to the disk and is synced; only then do answers, attempts and everything else go
//! their ways. That order is the promise "durable before told", so it stands in one place: the
//! journal's thread and a simulator that steps by hand both let a release go through
//! [`Release::leave`]. It never retries: a failure is the caller's, and the end of the process.

use std::sync::atomic::Ordering;

use duly_engine::answer::{Answer, Wanted};
use duly_engine::deadline::PayloadAt;
use duly_engine::effect::{Effect, Notice};
use duly_engine::id::Seq;
use duly_engine::time::Time;
use duly_engine::zoo::{self, Bug};
use duly_store::Error;
use duly_store::archive::Item;
use duly_store::journal::{Placed, Writer};

use super::clean::Errand;
use super::events::Announced;
use super::retention::Retention;
use super::{Answered, Attempt, Pins, Vitals};

/// What leaves when its record is durable.
pub struct Release {
    /// At most two: the base that opens a segment, and the step's facts.
    pub(super) records: Vec<Placed>,
    /// Whether records were written, so that a sync is due.
    pub(super) is_written: bool,
    /// The last fact there is.
    pub(super) last_seq: Seq,
    pub(super) effects: Vec<Effect>,
    pub(super) answered: Vec<Answered>,
    /// What those hear of it who listen.
    pub(super) announced: Vec<u8>,
    /// Look-ups to begin. They need not wait for the disk, but gain nothing by overtaking.
    pub(super) wanted: Vec<Wanted>,
    pub(super) errand: Option<Errand>,
    /// For each deadline that lapsed, when it was to lapse.
    pub(super) lapsed: Vec<Time>,
    /// Now and then: what the archive should not keep any longer.
    pub(super) retention: Option<Retention>,
    pub(super) pins: Pins,
}

/// Where everything goes that a release lets go, once it is durable.
pub trait Outlet {
    /// Records of so many bytes in all are about to be written and synced.
    fn writing(&mut self, bytes: usize);
    /// They are durable.
    fn synced(&mut self);
    /// Answers on their way to whoever asked.
    fn answered(&mut self, answered: Vec<Answered>, pins: &Pins);
    /// What those hear who listen.
    fn announced(&mut self, announced: Announced);
    /// These deadlines have lapsed, durably; each was to lapse at this time.
    fn lapsed(&mut self, at: &[Time]);
    /// Lapses on their way to their target.
    fn attempts(&mut self, attempts: Vec<Attempt>, pins: &Pins);
    /// Something an operator should hear of.
    fn notice(&mut self, notice: &Notice);
    /// What the archive hears of it.
    fn feed(&mut self, feed: Feed);
    /// A look-up to begin.
    fn look_up(&mut self, wanted: Wanted);
    /// An old segment to begin with or to go on with.
    fn clean(&mut self, errand: Errand, pins: &Pins);
}

/// Why a release did not leave: what was being done, and what went wrong.
#[derive(Debug)]
pub struct NotDurable {
    /// As a phrase: "sync the journal".
    pub what: &'static str,
    /// The store's word for it.
    pub why: Error,
}

impl Release {
    /// Is there nothing to write and nothing to let go?
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.effects.is_empty()
            && self.answered.is_empty()
            && self.wanted.is_empty()
            && self.errand.is_none()
            && self.retention.is_none()
    }

    /// What is to be written, as long as it is not.
    pub fn records(&self) -> &[Placed] {
        &self.records
    }

    /// The last fact there is once it has left.
    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// Writes the records; they are not durable yet.
    pub fn write(
        &mut self,
        writer: &mut Writer,
        outlet: &mut impl Outlet,
    ) -> Result<(), NotDurable> {
        let bytes: usize = self.records.iter().map(Placed::bytes).sum();
        if bytes > 0 {
            self.is_written = true;
            outlet.writing(bytes);
        }
        for record in self.records.drain(..) {
            writer.write(record).map_err(|why| NotDurable { what: "write the journal", why })?;
        }
        Ok(())
    }

    /// Writes and syncs what is to be written, then lets everything go. After an error nothing has
    /// left, and nothing may be written any more. What has not left is still here: dropping it would
    /// tell those who wait that the server stops and knows nothing of what they asked, but what was
    /// written may be found after the restart. So the process must end while it is held.
    pub fn leave(
        &mut self,
        writer: &mut Writer,
        vitals: &Vitals,
        outlet: &mut impl Outlet,
    ) -> Result<(), NotDurable> {
        vitals.pulse.writing();
        self.write(writer, outlet)?;
        self.leak(outlet);
        if self.is_written {
            writer.sync().map_err(|why| NotDurable { what: "sync the journal", why })?;
            outlet.synced();
            vitals.durable.store(self.last_seq, Ordering::Release);
        }
        vitals.pulse.synced();
        self.tell(outlet);
        Ok(())
    }

    /// What must not be: something leaves before the sync.
    fn leak(&mut self, outlet: &mut impl Outlet) {
        if zoo::bites(Bug::AnswerBeforeSync) || zoo::bites(Bug::ReadBeforeSync) {
            let leaks = |answered: &mut Answered| {
                let mut answers = answered.answers.iter();
                zoo::bites(Bug::AnswerBeforeSync)
                    || answers.all(|answer| matches!(answer, Answer::Deadline(_)))
            };
            let leaked = self.answered.extract_if(.., leaks).collect();
            outlet.answered(leaked, &self.pins);
        }
        if zoo::bites(Bug::EventBeforeSync) {
            self.announce(outlet);
        }
        if zoo::bites(Bug::AttemptBeforeSync) {
            let leaks = |effect: &mut Effect| matches!(effect, Effect::Attempt { .. });
            let mut leaked = Vec::new();
            for effect in self.effects.extract_if(.., leaks) {
                if let Effect::Attempt { target, deliveries } = effect {
                    leaked.push(Attempt { target, deliveries });
                }
            }
            outlet.attempts(leaked, &self.pins);
        }
    }

    fn announce(&mut self, outlet: &mut impl Outlet) {
        let bytes = std::mem::take(&mut self.announced);
        outlet.announced(Announced { bytes, last_seq: self.last_seq });
    }

    fn tell(&mut self, outlet: &mut impl Outlet) {
        // Answers first: somebody waits for them.
        outlet.answered(std::mem::take(&mut self.answered), &self.pins);
        if self.is_written {
            self.announce(outlet);
        }
        if !self.lapsed.is_empty() {
            outlet.lapsed(&self.lapsed);
        }
        let (mut attempts, mut to_archive) = (Vec::new(), Vec::new());
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Attempt { target, deliveries } => {
                    attempts.push(Attempt { target, deliveries });
                }
                Effect::Archive(_) | Effect::Erase { .. } => to_archive.push(effect),
                Effect::Notice(notice) => outlet.notice(&notice),
            }
        }
        if !attempts.is_empty() {
            outlet.attempts(attempts, &self.pins);
        }
        outlet.feed(Feed {
            effects: to_archive,
            last_seq: self.last_seq,
            pins: self.pins.clone(),
            retention: self.retention.take(),
        });
        for wanted in self.wanted.drain(..) {
            outlet.look_up(wanted);
        }
        if let Some(errand) = self.errand.take() {
            outlet.clean(errand, &self.pins);
        }
    }
}

/// What the archive hears of one release.
pub struct Feed {
    pub(super) effects: Vec<Effect>,
    /// With these, the archive has everything up to this fact.
    pub last_seq: Seq,
    pub(super) pins: Pins,
    /// What the archive should not keep any longer.
    pub retention: Option<Retention>,
}

impl Feed {
    /// What a replay found that the archive may lack.
    pub fn replayed(effects: Vec<Effect>, last_seq: Seq, pins: Pins) -> Feed {
        Feed { effects, last_seq, pins, retention: None }
    }

    /// Adds what the archive must do, payloads fetched.
    pub fn items(self, items: &mut Vec<Item>) -> Result<(), Error> {
        let begin = items.len();
        items.extend(self.effects.into_iter().filter_map(|effect| match effect {
            Effect::Archive(last) => Some(Item::Keep(last)),
            Effect::Erase { seq, id } => Some(Item::Erase { seq, id }),
            Effect::Attempt { .. } | Effect::Notice(_) => None,
        }));
        // Payloads are read in the order they lie on the disk.
        let mut payloads: Vec<&mut PayloadAt> = items[begin..]
            .iter_mut()
            .filter_map(|item| match item {
                Item::Keep(last) => Some(&mut last.deadline.payload),
                Item::Erase { .. } => None,
            })
            .collect();
        payloads.sort_by_key(|payload| match payload {
            PayloadAt::Stored(stored) => (stored.segment, stored.offset),
            PayloadAt::None | PayloadAt::Here(_) | PayloadAt::Gone => (0, 0),
        });
        let mut stored = self.pins.payloads();
        payloads.into_iter().try_for_each(|payload| stored.read(payload))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use duly_store::disk::{Fault, MemoryDisk};
    use duly_store::journal::{self, Journal, Kind, Options};
    use duly_store::{Directory, FreshIdentity};
    use tokio::sync::Semaphore;
    use tokio::sync::oneshot::{self, error::TryRecvError};

    use super::*;

    /// Lets answers go, takes everything else and keeps nothing.
    struct Nowhere;

    impl Outlet for Nowhere {
        fn writing(&mut self, _: usize) {}
        fn synced(&mut self) {}
        fn answered(&mut self, answered: Vec<Answered>, pins: &Pins) {
            Answered::leave(answered, pins);
        }
        fn announced(&mut self, _: Announced) {}
        fn lapsed(&mut self, _: &[Time]) {}
        fn attempts(&mut self, _: Vec<Attempt>, _: &Pins) {}
        fn notice(&mut self, _: &Notice) {}
        fn feed(&mut self, _: Feed) {}
        fn look_up(&mut self, _: Wanted) {}
        fn clean(&mut self, _: Errand, _: &Pins) {}
    }

    #[test]
    fn whoever_waits_for_what_could_not_be_synced_hears_nothing_at_all() {
        let mut failed = 0;
        for nth in 1.. {
            let disk = MemoryDisk::new();
            let identity = FreshIdentity { id: *b"release!", hash_seed: [7; 16] };
            let directory =
                Directory::open(Arc::new(disk.clone()), identity).expect("the disk is well");
            let options = Options { segment_bytes: 16 << 10, reserve: 2 };
            let opened = journal::open(&directory, options, &mut |_| Ok(()));
            let Journal { mut placer, mut writer, mut allocator, .. } = opened.expect("it is new");
            while placer.roll().is_err() {
                allocator.tick().expect("the disk is well");
            }
            let record = placer.place(Kind::Base, placer.next_seq(), 1, 1_000, vec![0; 64]);
            let (reply, mut heard) = oneshot::channel();
            let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("it is free");
            let mut release = Release {
                last_seq: record.last_seq(),
                records: vec![record],
                is_written: false,
                effects: Vec::new(),
                answered: vec![Answered::new(reply, permit, vec![Answer::Erased])],
                announced: Vec::new(),
                wanted: Vec::new(),
                errand: None,
                lapsed: Vec::new(),
                retention: None,
                pins: Pins::of(&placer),
            };
            disk.fail(disk.calls() + nth, Fault::Io);
            if release.leave(&mut writer, &Vitals::default(), &mut Nowhere).is_ok() {
                assert!(heard.try_recv().is_ok(), "it is durable, and so it is told");
                break;
            }
            failed += 1;
            assert_eq!(heard.try_recv().err(), Some(TryRecvError::Empty), "call {nth} failed");
        }
        assert!(failed >= 2, "a write and a sync can fail, not only {failed} calls");
    }
}
