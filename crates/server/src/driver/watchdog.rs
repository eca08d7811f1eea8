//! The watchdog: something is overdue and nothing moves.
//!
//! A sync that hangs in the kernel, a driver that waits for what never comes, a timer index that is
//! stuck: all of them look like a server with nothing to do. So somebody looks from outside, once a
//! second, at figures that the driver and the journal leave behind, and sounds the alarm when what
//! should have moved has stood still for ten looks in a row. Looks are counted and not seconds: a
//! process that was stopped and continued, or a machine that slept, has missed looks as well, and
//! finds everything standing still only once.
//!
//! What it alarms about is its own reading of the boot clock against the driver's own word on when
//! it must act. A lapse that is withheld (clock guard, pause, storage) is not due by that word. It
//! asks nobody and waits for nobody, it mends nothing, and under a manual clock, where standing
//! still is the rule, there is none.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use duly_engine::time::{Span, Time};

use super::Vitals;
use crate::clock::Clock;
use crate::metrics::Stall;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// In so many looks in a row nothing has moved: a stall.
const STILL: u32 = 10;
/// What is overdue by less than this may be on its way.
const OVERDUE: Span = Span::from_secs(10);
/// Nothing is owed.
const NEVER: u64 = u64::MAX;

/// What the driver and the journal leave behind, and what the watchdog makes of it.
#[derive(Debug)]
pub struct Pulse {
    /// Steps that the driver has completed.
    steps: AtomicU64,
    /// When the driver must act next, in milliseconds of the boot clock.
    owed_ms: AtomicU64,
    /// Has the journal handed something to the disk that has not come back?
    is_writing: AtomicBool,
    /// How often something has come back.
    syncs: AtomicU64,
    /// What stands still: one more than its place in `Stall::ALL`, or nothing.
    stall: AtomicU8,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse {
            steps: AtomicU64::new(0),
            owed_ms: AtomicU64::new(NEVER),
            is_writing: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
            stall: AtomicU8::new(0),
        }
    }
}

impl Pulse {
    /// The driver has completed a step: it was `now` then and `boot` on the boot clock, and
    /// the driver wants to be stepped again at `next`.
    pub(super) fn stepped(&self, boot: Span, now: Time, next: Option<Time>) {
        let owed_ms =
            next.map_or(NEVER, |next| boot.plus(next.since(now)).minus(now.since(next)).millis());
        self.owed_ms.store(owed_ms, Ordering::Release);
        self.steps.fetch_add(1, Ordering::AcqRel);
    }

    /// The journal hands something to the disk.
    pub(super) fn writing(&self) {
        self.is_writing.store(true, Ordering::Release);
    }

    /// It has come back.
    pub(super) fn synced(&self) {
        self.is_writing.store(false, Ordering::Release);
        self.syncs.fetch_add(1, Ordering::AcqRel);
    }

    /// What stands still, if anything does.
    pub(crate) fn stall(&self) -> Option<Stall> {
        let place = usize::from(self.stall.load(Ordering::Acquire)).checked_sub(1)?;
        Stall::ALL.get(place).copied()
    }

    fn tell(&self, stall: Option<Stall>) {
        let place = stall.and_then(|stall| Stall::ALL.iter().position(|known| *known == stall));
        let number = place.map_or(0, |place| u8::try_from(place + 1).expect("there are few"));
        self.stall.store(number, Ordering::Release);
    }

    fn sight(&self, boot: Span, durable: u64) -> Sight {
        let owed_ms = self.owed_ms.load(Ordering::Acquire);
        Sight {
            steps: self.steps.load(Ordering::Acquire),
            durable,
            syncs: self.syncs.load(Ordering::Acquire),
            is_writing: self.is_writing.load(Ordering::Acquire),
            is_overdue: boot.minus(Span::from_millis(owed_ms)) > OVERDUE,
        }
    }
}

/// What can be seen in one look.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    steps: u64,
    durable: u64,
    syncs: u64,
    is_writing: bool,
    is_overdue: bool,
}

impl Sight {
    /// Should this have moved since the last look, and has not?
    fn stands_still(&self, last: &Sight, what: Stall) -> bool {
        match what {
            Stall::Journal => self.is_writing && self.syncs == last.syncs,
            // It looks at the clock twice a second, whatever is due; before the first step it is
            // still reading the journal.
            Stall::Driver => self.steps > 0 && self.steps == last.steps,
            Stall::Timers => self.is_overdue && self.durable == last.durable,
        }
    }
}

/// Judges what is seen.
#[derive(Debug, Default)]
struct Watchdog {
    last: Sight,
    /// For each of `Stall::ALL`: looks in a row in which it stood still.
    still: [u32; Stall::ALL.len()],
    stall: Option<Stall>,
}

/// What a look has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Stalled(Stall),
    Moves,
}

impl Watchdog {
    fn look(&mut self, sight: Sight) -> Option<Change> {
        for (what, still) in Stall::ALL.into_iter().zip(&mut self.still) {
            *still = if sight.stands_still(&self.last, what) { *still + 1 } else { 0 };
        }
        self.last = sight;
        let stalls = Stall::ALL.into_iter().zip(self.still);
        let found = stalls.filter(|(_, still)| *still >= STILL).map(|(what, _)| what).next();
        let change = match (self.stall, found) {
            (None, Some(what)) => Some(Change::Stalled(what)),
            (Some(_), None) => Some(Change::Moves),
            // What followed from it stands still as well; the first that was found is the cause.
            (None, None) | (Some(_), Some(_)) => return None,
        };
        self.stall = found;
        change
    }
}

/// Looks until the other end of `stopped` is gone.
pub(super) fn watch(clock: &Clock, vitals: &Vitals, stopped: &Receiver<Infallible>) {
    let mut watchdog = Watchdog::default();
    while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        let durable = vitals.durable.load(Ordering::Acquire);
        let sight = vitals.pulse.sight(clock.read().boot, durable);
        match watchdog.look(sight) {
            None => continue,
            Some(Change::Stalled(what)) => {
                tracing::error!(reason = what.reason(), "nothing moves: {}", what.sentence());
            }
            Some(Change::Moves) => tracing::warn!("moves again"),
        }
        vitals.pulse.tell(watchdog.stall);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server at work: everything moves a little from one look to the next.
    #[derive(Default)]
    struct Scene {
        sight: Sight,
        watchdog: Watchdog,
    }

    impl Scene {
        /// So many looks at something that this changes before each; what came of them.
        fn looks(&mut self, looks: u32, mut change: impl FnMut(&mut Sight)) -> Vec<Change> {
            let look = |_| {
                change(&mut self.sight);
                self.watchdog.look(self.sight)
            };
            (0..looks).filter_map(look).collect()
        }
    }

    #[test]
    fn an_idle_server_a_full_disk_and_a_guarded_clock_are_no_stall() {
        // Nothing is due, nothing is written; the driver looks at the clock.
        assert_eq!(Scene::default().looks(1_000, |sight| sight.steps += 2), []);
        // Reading the journal at the start may take as long as it takes.
        assert_eq!(Scene::default().looks(1_000, |_| {}), []);
    }

    #[test]
    fn a_backlog_that_takes_hours_is_no_stall() {
        let busy = |sight: &mut Sight| {
            sight.is_overdue = true;
            sight.is_writing = true;
            sight.steps += 9;
            sight.syncs += 9;
            sight.durable += 9_000;
        };
        assert_eq!(Scene::default().looks(10_000, busy), []);
    }

    #[test]
    fn a_sync_that_hangs_is_told_once_and_that_it_is_over() {
        let mut scene = Scene::default();
        scene.looks(5, |sight| sight.steps += 1);
        let hangs = |sight: &mut Sight| sight.is_writing = true;
        assert_eq!(scene.looks(STILL - 1, hangs), []);
        assert_eq!(scene.looks(1, hangs), [Change::Stalled(Stall::Journal)]);
        assert_eq!(scene.looks(1_000, hangs), []);
        let comes_back = |sight: &mut Sight| {
            sight.is_writing = false;
            sight.syncs += 1;
            sight.steps += 1;
        };
        assert_eq!(scene.looks(100, comes_back), [Change::Moves]);
    }

    #[test]
    fn a_driver_that_does_not_step_is_a_stall_also_when_nothing_is_due() {
        let mut scene = Scene::default();
        scene.looks(5, |sight| sight.steps += 1);
        assert_eq!(scene.looks(STILL, |_| {}), [Change::Stalled(Stall::Driver)]);
    }

    #[test]
    fn steps_that_bring_nothing_of_what_is_overdue_to_the_disk_are_a_stall() {
        let mut scene = Scene::default();
        let spins = |sight: &mut Sight| {
            sight.steps += 1_000;
            sight.is_overdue = true;
        };
        assert_eq!(scene.looks(STILL + 1, spins), [Change::Stalled(Stall::Timers)]);
    }

    #[test]
    fn a_process_that_was_stopped_for_an_hour_has_stood_still_for_one_look() {
        let pulse = Pulse::default();
        let mut watchdog = Watchdog::default();
        let mut boot = Span::from_hours(7);
        let now = Time::from_millis(1_795_348_800_000);
        for _ in 0..100 {
            pulse.stepped(boot, now, Some(now.plus(Span::from_secs(5))));
            assert_eq!(watchdog.look(pulse.sight(boot, 1)), None);
            boot = boot.plus(Span::from_hours(1));
            let sight = pulse.sight(boot, 1);
            assert!(sight.is_overdue);
            assert_eq!(watchdog.look(sight), None);
        }
    }

    #[test]
    fn what_is_owed_follows_the_boot_clock() {
        let pulse = Pulse::default();
        let (boot, now) = (Span::from_hours(7), Time::from_millis(1_795_348_800_000));
        let overdue_at = |after: Span| pulse.sight(boot.plus(after), 0).is_overdue;
        assert!(!overdue_at(Span::from_days(9_999)), "nothing is owed yet");
        pulse.stepped(boot, now, Some(now.plus(Span::from_secs(5))));
        assert!(!overdue_at(Span::from_secs(15)));
        assert!(overdue_at(Span::from_millis(15_001)));
        // Overdue since before the machine was started.
        pulse.stepped(boot, now, Some(now.minus(Span::from_days(3))));
        assert!(overdue_at(Span::ZERO));
        pulse.stepped(boot, now, None);
        assert!(!overdue_at(Span::from_days(9_999)), "nothing is owed any more");
    }

    #[test]
    fn every_stall_can_be_told() {
        let pulse = Pulse::default();
        for stall in Stall::ALL.into_iter().map(Some).chain([None]) {
            pulse.tell(stall);
            assert_eq!(pulse.stall(), stall);
        }
    }
}
