//! The first phase, in which everything may go wrong, and the second, in which nothing does.

use duly_engine::command::Command;
use duly_engine::time::Span;
use duly_store::disk::Fault as DiskFault;

use super::faults::{self, Fault, Trigger};
use super::{DAY, Event, FAULTS, Life, Mended, PEACE, REQUESTS, Who};
use crate::dice::Dice;
use crate::markers::Marker;
use crate::oracle::Promise;
use crate::world::{Cleaning, Duty};

/// With nothing to do, the driver looks at the clock so often when all is well.
const LOOK_IN_PEACE: Span = Span::from_mins(5);

impl Life {
    /// The first start and the plan of the day.
    pub(super) fn begin(&mut self) {
        self.start();
        self.settle_in();
        for _ in 0..self.plan.bursts {
            let at = Span::from_millis(self.dice.below(DAY.millis()));
            self.plan_in(at, Event::Burst);
        }
    }

    /// A day in which everything may go wrong.
    pub(super) fn storm(&mut self) {
        let mut end = DAY;
        loop {
            self.happen();
            if self.oracle.broken().is_some() {
                return;
            }
            self.look_at_rest();
            if self.world.clocks.passed() >= end {
                let enough = self.requests >= REQUESTS && self.faults >= FAULTS;
                if enough {
                    return;
                }
                let after = self.until_up();
                end = self.world.clocks.passed().plus(after).plus(Span::from_mins(10));
                self.plan_in(after, Event::Burst);
            }
            self.wait(end);
        }
    }

    /// Clients become busy, and perhaps something goes wrong while they are.
    pub(super) fn burst(&mut self) {
        if self.peace {
            return;
        }
        self.bursts += 1;
        let must = self.faults + self.plan.bursts.saturating_sub(self.bursts) <= FAULTS;
        let chance = if must { 100 } else { 30 };
        while self.armed.len() < 3 && self.dice.percent(chance / (1 + self.armed.len() as u64)) {
            let fault = faults::draw(&self.plan.faults, &mut self.dice);
            let trigger = if self.dice.one_in(5) {
                let far = [Cleaning::Begun, Cleaning::Reading, Cleaning::Waiting];
                Trigger::During(*self.dice.pick(&far), 2_000)
            } else {
                let after = self.dice.within(1..=300);
                Trigger::After(u32::try_from(after).expect("a small number"))
            };
            self.armed.push_back((trigger, fault));
        }
        if self.armed.is_empty() && self.dice.one_in(6) {
            self.arm_against_the_archive();
        }
        self.busy();
    }

    /// The archive comes no further, and much later, while segments are being cleaned, the server dies:
    /// what was final by then is nowhere but in the journal.
    fn arm_against_the_archive(&mut self) {
        let after = |dice: &mut Dice, least, most| {
            Trigger::After(u32::try_from(dice.within(least..=most)).expect("a small number"))
        };
        let stuck = Fault::Stuck(Duty::Commit, Span::from_hours(1));
        let death = *self.dice.pick(&[Fault::Power, Fault::Kill]);
        self.armed.push_back((after(&mut self.dice, 1, 50), stuck));
        self.armed.push_back((after(&mut self.dice, 200, 2_000), death));
    }

    // Faults.

    pub(super) fn strike_if_armed(&mut self) {
        let Some((trigger, fault)) = self.armed.front_mut() else { return };
        let fault = *fault;
        let strikes = match trigger {
            Trigger::After(left) => {
                *left -= 1;
                *left == 0
            }
            Trigger::During(far, left) => {
                *left -= 1;
                *left == 0 || self.world.cleaning() == Some(*far) && self.dice.one_in(3)
            }
        };
        if strikes {
            self.armed.pop_front();
            self.strike(fault);
        }
    }

    fn strike(&mut self, fault: Fault) {
        let clock_alone = matches!(fault, Fault::Wall(_));
        if !self.world.is_up() && !clock_alone {
            // What does not run cannot be hurt; it strikes as soon as something does.
            return self.armed.push_front((Trigger::After(1), fault));
        }
        self.note(|| format!("FAULT {fault:?}"));
        self.faults += 1;
        let now = self.world.clocks.passed();
        match fault {
            Fault::Power => self.cut_power(),
            Fault::Kill => self.kill(),
            Fault::Call(nth, how) => {
                self.world.disk.fail(self.world.disk.calls() + nth, how);
                self.call_fails = Some(how);
            }
            Fault::Full(span) => {
                self.world.disk.set_full(true);
                (self.full, self.crowd.heavy) = (true, true);
                self.plan_in(span, Event::Mended(Mended::Full));
                self.busy();
            }
            Fault::Wall(ms) => {
                self.world.clocks.set_wall(ms);
                let after = self.dice.span(Span::from_secs(1), Span::from_hours(2));
                self.plan_in(after, Event::Mended(Mended::Clock));
            }
            Fault::Pause(span) => {
                if span > Span::from_mins(3) {
                    self.mark(Marker::PausedLong);
                }
                self.paused_until = now.plus(span);
            }
            Fault::Stuck(duty, span) => {
                self.stuck.insert(duty, now.plus(span));
            }
            Fault::TargetsDown(span) => {
                self.targets_down = true;
                self.plan_in(span, Event::Mended(Mended::Targets));
            }
            Fault::Flip => self.flip(),
            Fault::Downtime(span) => {
                self.kill();
                self.be_down(span);
            }
            Fault::WrongYear(ms) => {
                self.cut_power();
                self.world.clocks.set_wall(ms);
                let after = self.dice.span(Span::from_mins(1), Span::from_hours(2));
                self.plan_in(after, Event::Mended(Mended::Clock));
            }
        }
    }

    /// A long downtime: what was planned for the day comes after it.
    fn be_down(&mut self, span: Span) {
        self.start_at = self.start_at.plus(span);
        let events = std::mem::take(&mut self.events);
        for ((at, number), event) in events {
            let late = matches!(event, Event::Burst | Event::Start | Event::Mended(_));
            let at = if late { at.plus(span) } else { at };
            self.events.insert((at, number), event);
        }
    }

    pub(super) fn mend(&mut self, mended: Mended) {
        match mended {
            Mended::Full => {
                self.world.disk.set_full(false);
                (self.full, self.crowd.heavy) = (false, false);
            }
            Mended::Targets => self.targets_down = false,
            Mended::Flip => self.unflip(),
            Mended::Clock if self.peace => {}
            // Somebody sets the clock to what the server thinks it is, or says that it is right.
            Mended::Clock if self.dice.percent(60) => self.set_clock_right(),
            Mended::Clock => {
                let confirm = vec![Command::ConfirmClock];
                self.plan_in(Span::from_millis(1), Event::Say(Who::Operator, confirm));
            }
        }
    }

    fn set_clock_right(&mut self) {
        let since = self.world.clocks.passed().minus(self.stepped_at);
        let (right, wall) = (self.oracle.now().plus(since), self.world.clocks.read().wall);
        let by = i128::from(right.millis()) - i128::from(wall.millis());
        self.world.clocks.set_wall(i64::try_from(by).unwrap_or(0));
    }

    fn flip(&mut self) {
        if self.flipped.is_some() {
            return;
        }
        let segments: Vec<_> = self.world.driver().placer().segments().collect();
        let Some((_, sealed)) = segments.split_last().filter(|(_, sealed)| !sealed.is_empty())
        else {
            return;
        };
        let segment = self.dice.pick(sealed);
        let name = format!("journal/{:020}.seg", segment.number);
        let bit = self.dice.below(segment.used * 8);
        if self.world.disk.flip(&name, bit) {
            self.flipped = Some((name, bit));
            let after = self.dice.span(Span::from_secs(1), Span::from_mins(30));
            self.plan_in(after, Event::Mended(Mended::Flip));
        }
    }

    pub(super) fn unflip(&mut self) {
        if let Some((name, bit)) = self.flipped.take() {
            self.world.disk.flip(&name, bit);
        }
    }

    // The process ends and begins.

    fn cut_power(&mut self) {
        if self.world.is_up() {
            self.look_at_end();
            let before = (self.world.is_archiving(), self.world.shelf.applied());
            let seed = self.dice.next();
            self.world.cut_power(seed);
            self.world.clocks.boot();
            self.look_at_archive(before.0, before.1);
            self.is_over();
        }
    }

    fn kill(&mut self) {
        if self.world.is_up() {
            self.look_at_end();
            let before = (self.world.is_archiving(), self.world.shelf.applied());
            let has_committed = self.dice.one_in(2);
            self.world.kill(has_committed);
            self.look_at_archive(before.0, before.1);
            self.is_over();
        }
    }

    /// The process has ended by itself.
    pub(super) fn ended(&mut self, why: &str, status: u8) {
        self.note(|| format!("the process ended: {why}"));
        let marker = match self.call_fails {
            _ if status == 65 && self.flipped.is_some() => Marker::BitFlipWhileRunning,
            Some(_) if status == 65 => {
                return self.oracle.violated(Promise::NothingVanishes, why.to_owned());
            }
            Some(DiskFault::Death) => Marker::CrashInCall,
            Some(_) if why.contains("sync the journal") => {
                self.sync_failed = true;
                Marker::SyncFailed
            }
            Some(_) if why.contains("allocate") => Marker::DiedAllocating,
            Some(_) => Marker::WriteFailed,
            None => return self.oracle.violated(Promise::Bounds, why.to_owned()),
        };
        self.mark(marker);
        if self.dice.one_in(3) { self.cut_power() } else { self.kill() }
    }

    fn is_over(&mut self) {
        self.note(|| "down".to_owned());
        self.unflip();
        self.stuck.clear();
        self.call_fails = None;
        self.paused_until = Span::ZERO;
        for question in std::mem::take(&mut self.questions) {
            self.left_alone(question);
        }
        for heard in std::mem::take(&mut self.heard) {
            self.unread(heard);
        }
        let longest = if self.dice.one_in(8) { Span::from_hours(3) } else { Span::from_secs(40) };
        let after = self.dice.span(Span::from_millis(20), longest);
        self.start_in(after);
    }

    fn start_in(&mut self, after: Span) {
        self.start_at = self.world.clocks.passed().plus(after);
        self.plan_in(after, Event::Start);
    }

    /// How long somebody waits who finds nobody there.
    pub(super) fn until_up(&mut self) -> Span {
        if self.world.is_up() {
            return Span::from_millis(1);
        }
        let rest = self.start_at.minus(self.world.clocks.passed());
        rest.plus(self.dice.span(Span::from_millis(5), Span::from_secs(5)))
    }

    pub(super) fn start(&mut self) {
        if self.world.is_up() {
            return;
        }
        self.restarts += 1;
        self.look_at_flips();
        if !self.peace && self.process > 0 && self.dice.one_in(6) {
            let how = *self.dice.pick(&[DiskFault::Death, DiskFault::Death, DiskFault::Io]);
            let nth = self.dice.within(1..=40);
            self.world.disk.fail(self.world.disk.calls() + nth, how);
            self.call_fails = Some(how);
        }
        match self.world.open() {
            Ok(report) => self.has_started(&report),
            Err(death) => {
                self.note(|| format!("no start: {death}"));
                let is_full = self.full && death.to_string().contains("full");
                if self.call_fails.is_none() && !is_full {
                    return self.oracle.violated(Promise::NothingVanishes, death.to_string());
                }
                self.mark(Marker::DiedOpening);
                if self.call_fails.is_some() {
                    self.mark(Marker::CrashTwice);
                }
                self.call_fails = None;
                if self.dice.one_in(2) {
                    let seed = self.dice.next();
                    self.world.cut_power(seed);
                    self.world.clocks.boot();
                } else {
                    self.world.kill(false);
                }
                let after = if is_full { Span::from_mins(2) } else { Span::from_millis(500) };
                self.start_in(after);
            }
        }
    }

    // Peace.

    /// Nothing goes wrong any more: everything must come to its end.
    pub(super) fn calm(&mut self) {
        self.peace = true;
        self.armed.clear();
        self.targets_down = false;
        self.mend(Mended::Full);
        self.kill();
        self.start_in(Span::from_secs(1));
        self.set_clock_right();
        self.world.settings.look_every = LOOK_IN_PEACE;
        for queue in self.plan.queues.clone() {
            let (deliveries, lapses) = (Some(false), Some(false));
            let go_on = vec![Command::Pause { queue, deliveries, lapses }];
            self.plan_in(Span::from_mins(1), Event::Say(Who::Operator, go_on));
        }
        // A start that took long, with the guard up before, is no clock that has come back.
        let confirm = vec![Command::ConfirmClock];
        self.plan_in(Span::from_mins(5), Event::Say(Who::Operator, confirm));
        for worker in 0..self.plan.workers {
            self.plan_in(Span::from_mins(1), Event::Work(worker));
        }
        let end = self.world.clocks.passed().plus(PEACE);
        let least = self.world.clocks.passed().plus(Span::from_mins(20));
        loop {
            self.happen();
            let now = self.world.clocks.passed();
            if self.oracle.broken().is_some() || now >= end || now >= least && self.is_idle() {
                break;
            }
            self.look_at_rest();
            self.wait(end);
        }
        self.look_at_end_of_all();
    }
}
