//! The engine: commands decided one by one in steps of 512 facts, and lapses in slices, while ten thousand
//! deadlines are pending. What becomes of it with ten million is asked by `growth`.

use duly_engine::answer::Answer;
use duly_engine::command::{Command, Show};

use super::{Named, Work};
use crate::shop::{SOON, Shop, done, far, soon};
use crate::world::World;
use duly_engine::time::Span;

const PENDING: usize = 10_000;
const SLICE: usize = 2_000;

pub(super) const WORKS: [Named; 10] = [
    named("engine/schedule", || Orders::begin(Verb::Schedule)),
    named("engine/schedule and show", || Orders::begin(Verb::ScheduleAndShow)),
    named("engine/keep", || Orders::begin(Verb::Keep)),
    named("engine/replace", || Orders::begin(Verb::Replace)),
    named("engine/extend", || Orders::begin(Verb::Extend)),
    named("engine/get", || Orders::begin(Verb::Get)),
    named("engine/settle", || Orders::begin(Verb::Settle)),
    named("engine/lapse", || Orders::begin(Verb::Lapse)),
    named("engine/lease", || Orders::begin(Verb::Lease)),
    named("engine/done", || Orders::begin(Verb::Done)),
];

const fn named(name: &'static str, begin: fn() -> Box<dyn Work>) -> Named {
    Named { name, slice: SLICE, begin }
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Schedule,
    ScheduleAndShow,
    Keep,
    Replace,
    Extend,
    Get,
    Settle,
    Lapse,
    Lease,
    Done,
}

/// Orders of a shop, and one thing that is done with many of them.
struct Orders {
    verb: Verb,
    shop: Shop,
    world: World,
    /// The first order that nobody has scheduled yet.
    fresh: usize,
    many: usize,
    commands: Vec<Command>,
    answers: Vec<Answer>,
}

impl Orders {
    fn begin(verb: Verb) -> Box<dyn Work> {
        let shop = Shop::new();
        let world = shop.open(PENDING);
        let (commands, answers) = (Vec::new(), Vec::new());
        Box::new(Orders { verb, shop, world, fresh: PENDING, many: 0, commands, answers })
    }

    /// Ends what the last run began, so that as much is pending as before.
    fn put_away(&mut self) {
        match self.verb {
            Verb::Schedule | Verb::ScheduleAndShow => {
                let last = self.fresh - self.many..self.fresh;
                self.world.run(last.map(|number| self.shop.settle(number)).collect());
            }
            Verb::Lapse => {
                let leases = self.world.run(self.shop.leases(self.many));
                self.world.run(done(&leases));
            }
            Verb::Lease => {
                let leases = std::mem::take(&mut self.answers);
                self.world.run(done(&leases));
            }
            _ => {}
        }
    }

    /// Commands about orders that are pending and lie anywhere.
    fn of_pending(&self, command: impl Fn(usize) -> Command) -> Vec<Command> {
        (0..self.many).map(|number| command(number.wrapping_mul(7_919) % PENDING)).collect()
    }

    /// Commands about orders that nobody has heard of.
    fn of_fresh(&mut self, command: impl Fn(&Shop, usize) -> Command) -> Vec<Command> {
        let first = self.fresh;
        self.fresh += self.many;
        (first..self.fresh).map(|number| command(&self.shop, number)).collect()
    }

    /// Schedules what the run is about.
    fn stock(&mut self, after: fn(usize) -> Span) -> std::ops::Range<usize> {
        let first = self.fresh;
        let commands =
            self.of_fresh(|shop, number| shop.schedule(number, after(number), Show::Nothing));
        self.world.run(commands);
        first..self.fresh
    }

    fn lapsed(&mut self) {
        self.stock(soon);
        self.world.pass(SOON.plus(Span::from_secs(1)));
    }
}

impl Work for Orders {
    fn prepare(&mut self, many: usize) {
        self.put_away();
        self.many = many;
        self.commands = match self.verb {
            Verb::Schedule => self.of_fresh(|shop, n| shop.schedule(n, far(n), Show::Nothing)),
            Verb::ScheduleAndShow => {
                self.of_fresh(|shop, n| shop.schedule(n, far(n), Show::Record))
            }
            Verb::Keep => self.of_pending(|n| self.shop.schedule(n, far(n), Show::Record)),
            Verb::Replace => self.of_pending(|n| self.shop.replace(n)),
            Verb::Extend => self.of_pending(|n| self.shop.extend(n)),
            Verb::Get => self.of_pending(|n| Command::Get(self.shop.order(n))),
            Verb::Settle => self.stock(far).map(|n| self.shop.settle(n)).collect(),
            Verb::Lapse => {
                self.stock(soon);
                Vec::new()
            }
            Verb::Lease => {
                self.lapsed();
                self.shop.leases(many)
            }
            Verb::Done => {
                self.lapsed();
                let leases = self.world.run(self.shop.leases(many));
                done(&leases)
            }
        };
        self.answers = Vec::new();
    }

    fn run(&mut self) {
        if self.verb == Verb::Lapse {
            self.world.pass(SOON.plus(Span::from_secs(1)));
        } else {
            self.answers = self.world.run(std::mem::take(&mut self.commands));
        }
    }

    fn check(&self) {
        let is_right: fn(&Answer) -> bool = match self.verb {
            Verb::Schedule | Verb::Replace => |answer| matches!(answer, Answer::Begun),
            Verb::ScheduleAndShow => {
                |answer| matches!(answer, Answer::Scheduled { created: true, .. })
            }
            Verb::Keep => |answer| matches!(answer, Answer::Scheduled { created: false, .. }),
            Verb::Extend | Verb::Get => |answer| matches!(answer, Answer::Deadline(_)),
            Verb::Settle => |answer| matches!(answer, Answer::Settled { .. }),
            Verb::Lapse | Verb::Lease => |answer| matches!(answer, Answer::Leased(_)),
            Verb::Done => |answer| matches!(answer, Answer::VerdictTaken(_)),
        };
        assert!(self.answers.iter().all(is_right), "it was not done");
        match self.verb {
            Verb::Lapse => {}
            Verb::Lease => assert_eq!(done(&self.answers).len(), self.many, "not all was leased"),
            _ => assert_eq!(self.answers.len(), self.many, "not all was answered"),
        }
    }
}
