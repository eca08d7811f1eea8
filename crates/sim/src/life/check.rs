//! What is looked at from outside while a life goes on, and at its end.

use duly_engine::command::{Command, Scan};
use duly_engine::deadline::PayloadAt;
use duly_engine::id::Seq;
use duly_engine::time::Span;
use duly_store::journal::Report;

use super::{Heard, Life, Question, Who};
use crate::markers::Marker;
use crate::oracle::Promise;
use crate::world::{Cleaning, Duty};

impl Life {
    /// The process serves: is everything there?
    pub(super) fn has_started(&mut self, report: &Report) {
        self.process += 1;
        self.note(|| format!("up: {report:?}"));
        if report.torn.is_some() {
            self.mark(Marker::TornTail);
        }
        if self.world.shelf.applied() + 1 < report.next_seq {
            self.mark(Marker::ArchiveBehindAtOpen);
        }
        match self.world.survivors() {
            Ok(survivors) => {
                let before = self.oracle.markers.count(Marker::UntoldSurvives);
                self.oracle.survived(survivors);
                let found = self.oracle.markers.count(Marker::UntoldSurvives) > before;
                if std::mem::take(&mut self.sync_failed) && found {
                    self.mark(Marker::SyncFailedFactsFound);
                }
            }
            Err(death) => {
                self.oracle.violated(Promise::NothingVanishes, death.to_string());
            }
        }
        if self.dice.one_in(3) {
            // There is much to read until the filter is filled.
            let span = self.dice.span(Span::from_secs(1), Span::from_mins(10));
            self.stuck.insert(Duty::Fill, self.world.clocks.passed().plus(span));
        }
        self.oracle.found_end(report.next_seq);
        self.listen_on();
        if self.dice.one_in(4) {
            self.look_at_replays();
        }
        let opening = self.world.opening();
        self.oracle.stepped(opening);
    }

    /// The same journal replayed twice gives the same engine.
    fn look_at_replays(&mut self) {
        let (one, other) = (self.world.replayed(), self.world.replayed());
        let (mut one, mut other) = match (one, other) {
            (Ok(one), Ok(other)) => (one, other),
            (Err(death), _) | (_, Err(death)) => {
                return self.oracle.violated(Promise::Deterministic, death.to_string());
            }
        };
        let mut same = one.base().facts == other.base().facts;
        let scan = Command::Scan(Scan {
            queue: None,
            from_slot: 0,
            filter: duly_engine::command::Filter::default(),
            after: None,
            limit: usize::MAX,
        });
        let absent = duly_engine::answer::Known::Absent;
        same &= one.decide(scan.clone(), absent.clone()) == other.decide(scan, absent);
        if !same {
            let what = "two replays of one journal differ".to_owned();
            self.oracle.violated(Promise::Deterministic, what);
        }
    }

    /// One bit of the journal is wrong: that is found, or harms nothing, or the end is cut that
    /// nothing proves.
    pub(super) fn look_at_flips(&mut self) {
        if self.process == 0 || !self.dice.one_in(4) {
            return;
        }
        let Ok(before) = self.world.survivors() else { return };
        let disk = self.world.disk.fork();
        let names = self.world.journal_files();
        let Some((name, bytes)) = (!names.is_empty()).then(|| self.dice.pick(&names).clone())
        else {
            return;
        };
        disk.flip(&name, self.dice.below(bytes * 8));
        match self.world.survivors_on(&disk) {
            Err(death) if death.why.exit_status() == 65 => self.mark(Marker::BitFlipFound),
            Err(death) => self.oracle.violated(Promise::NothingVanishes, death.to_string()),
            Ok(after) => {
                let cut = before.len().saturating_sub(after.len());
                if cut > 2 || before[..before.len() - cut] != after {
                    let what = format!("a flipped bit in {name} was taken for the truth");
                    self.oracle.violated(Promise::NothingVanishes, what);
                }
                self.mark(Marker::BitFlipHarmless);
            }
        }
    }

    pub(super) fn look_at_room(&mut self, spares: usize, has_room: bool) {
        if !has_room {
            self.mark(Marker::NoRoomAtAll);
        }
        if self.was_full && has_room && spares >= 4 {
            self.mark(Marker::RecoveredFromFull);
        }
        self.was_full = !has_room || spares < 2 || self.was_full && spares < 4;
    }

    pub(super) fn look_at_threads(&mut self, duty: Duty) {
        match duty {
            Duty::Step if self.world.has_freed() => self.mark(Marker::SegmentFreed),
            Duty::LookUp => {
                self.mark(Marker::LookUp);
                let (stale, incomplete) = self.world.last_look_up();
                if stale {
                    self.mark(Marker::LookUpStale);
                }
                if incomplete {
                    self.mark(Marker::FilterIncomplete);
                }
            }
            Duty::Sweep => {
                if std::mem::take(&mut self.world.shelf.swept) > 0 {
                    self.mark(Marker::RetentionSweeps);
                }
                if std::mem::take(&mut self.world.shelf.dropped) > 0 {
                    self.mark(Marker::PayloadDropped);
                }
            }
            Duty::Commit => self.oracle.archived_up_to(self.world.shelf.applied()),
            Duty::Allocate if self.full => self.mark(Marker::FullWhileAllocating),
            _ => {}
        }
    }

    pub(super) fn look_at_pin(&mut self, payload: &PayloadAt) {
        if let PayloadAt::Stored(stored) = payload
            && self.world.is_up()
            && self.world.driver().placer().reader(stored.segment).is_none()
        {
            self.mark(Marker::FreedWhileRead);
        }
    }

    /// The process is about to end: in the middle of what?
    pub(super) fn look_at_end(&mut self) {
        match self.world.cleaning() {
            Some(Cleaning::Begun) => self.mark(Marker::CleaningBegun),
            Some(Cleaning::Reading) => self.mark(Marker::CleaningRead),
            Some(Cleaning::Waiting) => self.mark(Marker::CleaningWaits),
            None => {}
        }
    }

    /// A transaction was under way when the process ended: has it been made?
    pub(super) fn look_at_archive(&mut self, was_archiving: bool, applied: Seq) {
        if was_archiving {
            let made = self.world.shelf.applied() > applied;
            self.mark(if made { Marker::ArchiveAheadOfTold } else { Marker::ArchiveLost });
        }
    }

    /// Nothing is to do at this moment: is that right?
    pub(super) fn look_at_rest(&mut self) {
        let now = self.world.clocks.passed();
        let free = self.paused_until <= now && self.stuck.values().all(|until| *until <= now);
        if free && self.world.is_up() && self.dice.one_in(8) {
            self.oracle.nothing_is_skipped();
            self.oracle.nobody_waits_for_others();
            let waits = self.questions.iter().any(|question| {
                !matches!(question.commands[..], [Command::Lease { key: None, .. }])
            });
            if waits {
                let what = "somebody waits for an answer, and everything rests".to_owned();
                self.oracle.violated(Promise::Bounds, what);
            }
        }
    }

    /// Has everything come to its end?
    pub(super) fn is_idle(&self) -> bool {
        let left = self.oracle.left_to_do();
        let over = left.pending + left.ready + left.leased == 0;
        over && self.world.is_up() && self.world.driver().engine().unarchived() == 0
    }

    pub(super) fn look_at_end_of_all(&mut self) {
        if self.oracle.broken().is_some() {
            return;
        }
        self.oracle.all_ended();
        if !self.world.is_up() {
            return self.oracle.violated(Promise::Bounds, "it does not start any more".into());
        }
        let engine = self.world.driver().engine();
        let (unarchived, live) = (engine.unarchived(), engine.live_bytes());
        if unarchived > 0 {
            let what = format!("{unarchived} final records are still in memory");
            self.oracle.violated(Promise::Bounds, what);
        }
        let store = &self.world.settings.store;
        let used: u64 = self.world.driver().placer().segments().map(|segment| segment.used).sum();
        let most = store.keep_bytes.max(3 * live) + 2 * store.segment_bytes;
        if used > most {
            let what = format!("the journal has {used} bytes of {most}, {live} are live");
            self.oracle.violated(Promise::Bounds, what);
        }
        for (id, generation, _) in self.oracle.kept() {
            if let Some(deadline) = self.world.shelf.get(id, generation) {
                let deadline = deadline.clone();
                self.oracle.archived(&deadline);
            } else {
                let what = format!("number {} generation {} is gone", id.0, generation.0);
                self.oracle.violated(Promise::NothingVanishes, what);
            }
        }
    }

    /// An answer that had left, and nobody read it before the process ended.
    pub(super) fn unread(&mut self, heard: Heard) {
        let Heard { who, commands, reply } = heard;
        drop(reply);
        let (_, answer) = tokio::sync::oneshot::channel();
        let asked = self.oracle.moment();
        let recorded = (self.record_moment(), Vec::new());
        if who != Who::Target {
            self.left_alone(Question { who, commands, asked, recorded, answer });
        }
    }
}
