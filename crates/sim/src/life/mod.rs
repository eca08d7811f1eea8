//! One life of a world: a day of clients, workers, targets, operators and faults, and then peace.
//!
//! A life follows from its seed. In the first phase everything may go wrong; at any moment one of the
//! duties that could be done is chosen, and time passes only when nothing is left to do, or a little
//! in between. In the second nothing goes wrong any more, and everything that is due must come to its
//! end. The oracle watches both.

mod check;
mod crowd;
mod faults;
mod listener;
mod plan;
mod record;
mod requests;
mod storm;
mod targets;

use std::collections::{BTreeMap, VecDeque};

use duly::driver::{Attempt, Pins, Reply};
use duly_engine::answer::{Answer, Leased};
use duly_engine::command::Command;
use duly_engine::id::{DirectoryId, QueueName};
use duly_engine::time::Span;
use tokio::sync::oneshot;

use self::crowd::Crowd;
use self::faults::{Fault, Trigger};
use self::listener::Listener;
use self::plan::Plan;
use self::record::{Places, Recorder};
use crate::dice::Dice;
use crate::history::History;
use crate::markers::{Marker, Markers};
use crate::oracle::{Digest, Moment, Oracle, Promise, Violation};
use crate::world::{Death, Done, Duty, World};

/// The first phase.
const DAY: Span = Span::from_hours(24);
/// The least number of requests in it.
const REQUESTS: u64 = 1_000;
/// The least number of faults.
const FAULTS: u64 = 5;
/// In the second phase everything must end within this.
const PEACE: Span = Span::from_days(20);
/// More than this many things at one moment are a loop that does not end.
const AT_ONE_MOMENT: u32 = 200_000;
/// What is kept of the past, to be shown when something is wrong.
const TRAIL: usize = 60;
/// The longest line of it, in bytes.
const LINE: usize = 600;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Client(usize),
    Worker(usize),
    Target,
    Operator,
}

/// What has been asked and not answered.
struct Question {
    who: Who,
    commands: Vec<Command>,
    asked: Moment,
    /// When it was asked by the recorder's clock, and its places in the history.
    recorded: (crate::history::Moment, Places),
    answer: oneshot::Receiver<Reply>,
}

/// An answer that has left and that nobody has read yet.
struct Heard {
    who: Who,
    commands: Vec<Command>,
    reply: Reply,
}

/// Something that is going to happen.
enum Event {
    /// Clients become busy.
    Burst,
    /// A client thinks of something.
    Act(usize),
    /// A worker looks for work.
    Work(usize),
    /// A worker has waited long enough; for a lease asked of this process.
    Leave(QueueName, u64, u32),
    /// Somebody says something, whatever has happened since.
    Say(Who, Vec<Command>),
    /// A request of this process arrives at its target.
    Arrive(Attempt, Pins, u32),
    /// A slow reader comes to his answer, which this process gave.
    Read(Heard, u32),
    /// Faults end.
    Mended(Mended),
    /// The process is started.
    Start,
}

/// The end of a fault.
#[derive(Clone, Copy)]
enum Mended {
    Full,
    Targets,
    Clock,
    Flip,
}

/// What a life was.
pub(crate) struct Report {
    pub(crate) violation: Option<Violation>,
    pub(crate) trail: VecDeque<String>,
    pub(crate) markers: Markers,
    pub(crate) hours: u64,
    pub(crate) requests: u64,
    pub(crate) faults: u64,
    pub(crate) restarts: u64,
    pub(crate) steps: u64,
    pub(crate) facts: u64,
    pub(crate) answers: u64,
    /// What clients asked and were told.
    pub(crate) history: History,
    /// All that happened, as a number.
    pub(crate) digest: u64,
}

/// A life while it goes on.
#[expect(clippy::struct_excessive_bools, reason = "each is a circumstance of its own")]
pub(crate) struct Life {
    plan: Plan,
    dice: Dice,
    world: World,
    oracle: Oracle,
    crowd: Crowd,
    listener: Listener,
    events: BTreeMap<(Span, u64), Event>,
    numbered: u64,
    questions: Vec<Question>,
    heard: Vec<Heard>,
    /// Which process this is.
    process: u32,
    /// Until when each duty is not done.
    stuck: BTreeMap<Duty, Span>,
    paused_until: Span,
    /// When the last step was made.
    stepped_at: Span,
    /// While nothing runs: when it starts.
    start_at: Span,
    targets_down: bool,
    full: bool,
    /// Faults that strike one after the other, each when its moment has come.
    armed: VecDeque<(Trigger, Fault)>,
    /// A call of the disk was made to fail since the process began.
    call_fails: Option<duly_store::disk::Fault>,
    sync_failed: bool,
    flipped: Option<(String, u64)>,
    /// No faults any more.
    peace: bool,
    was_full: bool,
    bursts: u64,
    requests: u64,
    faults: u64,
    restarts: u64,
    steps: u64,
    recorder: Recorder,
    digest: Digest,
    trail: Option<VecDeque<String>>,
}

/// Lives the life of a seed. With a trail it says at the end what happened last.
pub(crate) fn live(seed: u64, with_trail: bool) -> Report {
    let mut life = Life::new(seed, with_trail);
    life.storm();
    if life.oracle.broken().is_none() {
        life.calm();
    }
    life.report()
}

impl Life {
    fn new(seed: u64, with_trail: bool) -> Life {
        let mut dice = Dice::new(seed);
        let plan = Plan::new(seed, &mut dice.split(), &faults::WEIGHTS);
        let world = World::new(plan.settings.clone());
        let mut life = Life {
            world,
            oracle: Oracle::new(DirectoryId(plan.settings.identity)),
            crowd: Crowd::new(&plan),
            listener: Listener::default(),
            plan,
            events: BTreeMap::new(),
            numbered: 0,
            questions: Vec::new(),
            heard: Vec::new(),
            process: 0,
            stuck: BTreeMap::new(),
            paused_until: Span::ZERO,
            stepped_at: Span::ZERO,
            start_at: Span::ZERO,
            targets_down: false,
            full: false,
            armed: VecDeque::new(),
            call_fails: None,
            sync_failed: false,
            flipped: None,
            peace: false,
            was_full: false,
            bursts: 0,
            requests: 0,
            faults: 0,
            restarts: 0,
            steps: 0,
            recorder: Recorder::default(),
            digest: Digest::new(),
            trail: with_trail.then(VecDeque::new),
            dice,
        };
        life.begin();
        life
    }

    fn report(self) -> Report {
        Report {
            violation: self.oracle.broken().cloned(),
            trail: self.trail.unwrap_or_default(),
            markers: self.oracle.markers.clone(),
            hours: self.world.clocks.passed().millis() / 3_600_000,
            requests: self.requests,
            faults: self.faults,
            restarts: self.restarts,
            steps: self.steps,
            facts: self.oracle.facts,
            answers: self.oracle.judged,
            history: self.recorder.history(),
            digest: self.digest.value(),
        }
    }

    // What goes on.

    /// Lets things happen until there is nothing to do at this moment.
    fn happen(&mut self) {
        let mut at_once = 0;
        while self.oracle.broken().is_none() && self.one_thing() {
            at_once += 1;
            if at_once > AT_ONE_MOMENT {
                let what = "it never comes to rest at one moment".to_owned();
                self.oracle.violated(Promise::Bounds, what);
            }
        }
    }

    /// One thing out of all that could happen now. False when there is none.
    fn one_thing(&mut self) -> bool {
        let now = self.world.clocks.passed();
        let is_due = self.events.first_key_value().is_some_and(|((at, _), _)| *at <= now);
        let mut duties = [Duty::Step; Duty::ALL.len()];
        let mut able = 0;
        if self.paused_until <= now {
            for duty in Duty::ALL {
                let is_stuck = self.stuck.get(&duty).is_some_and(|until| *until > now);
                if !is_stuck && self.world.can(duty) {
                    duties[able] = duty;
                    able += 1;
                }
            }
        }
        let choices = able + usize::from(is_due) + self.heard.len();
        if choices == 0 {
            return false;
        }
        let chosen = self.dice.index(choices);
        self.digest.number(chosen as u64);
        if chosen < able {
            self.perform(duties[chosen]);
        } else if let Some(index) = (chosen - able).checked_sub(usize::from(is_due)) {
            let heard = self.heard.swap_remove(index);
            if self.dice.one_in(40) {
                let after = self.dice.span(Span::from_millis(5), Span::from_mins(5));
                self.plan_in(after, Event::Read(heard, self.process));
            } else {
                self.hear(heard);
            }
        } else if let Some((_, event)) = self.events.pop_first() {
            self.take(event);
        }
        self.strike_if_armed();
        if self.dice.percent(self.plan.slowness) {
            let most = if self.dice.one_in(50) { 400 } else { 3 };
            self.world.clocks.pass(Span::from_millis(self.dice.below(most)));
        }
        true
    }

    /// Nothing is to do now: time passes until there is.
    fn wait(&mut self, until: Span) {
        let now = self.world.clocks.passed();
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let wakes = self.world.next_at().map(|at| at.max(self.paused_until));
        let unstuck = self.stuck.values().copied().filter(|at| *at > now).min();
        let next = [event, wakes, unstuck].into_iter().flatten().filter(|at| *at > now).min();
        let next = next.map_or(until, |next| next.min(until));
        self.world.clocks.pass(next.minus(now));
    }

    fn perform(&mut self, duty: Duty) {
        match self.world.perform(duty) {
            Ok(Done::Stepped(stepped)) => {
                self.steps += 1;
                self.stepped_at = self.world.clocks.passed();
                self.look_at_room(stepped.spares, stepped.has_room);
                for written in &stepped.records {
                    self.digest.bytes(&written.facts);
                }
                self.oracle.stepped(stepped);
            }
            Ok(Done::Left(last_seq)) => {
                self.oracle.left(last_seq);
                self.left();
            }
            Ok(Done::Worked) => self.nobody_heard(duty),
            Err(death) => {
                self.nobody_heard(duty);
                self.died(&death);
            }
        }
        self.digest.number(self.world.disk.calls());
        self.look_at_threads(duty);
    }

    /// What is written and not synced, or failed to be, has told nobody anything.
    fn nobody_heard(&mut self, duty: Duty) {
        if !matches!(duty, Duty::Write | Duty::Leave) {
            return;
        }
        let heard = self.questions.iter_mut().any(|question| question.answer.try_recv().is_ok());
        if heard || !self.world.attempts().is_empty() {
            let what = "an answer or an attempt left before its record was synced".to_owned();
            self.oracle.violated(Promise::DurableBeforeTold, what);
        }
    }

    /// A release has left: whoever got an answer or an attempt with it.
    fn left(&mut self) {
        let mut index = 0;
        while index < self.questions.len() {
            let Ok(reply) = self.questions[index].answer.try_recv() else {
                index += 1;
                continue;
            };
            let question = self.questions.remove(index);
            let Question { who, commands, asked, recorded: (at, places), .. } = question;
            for (command, answer) in commands.iter().zip(&reply.answers) {
                self.note(|| format!("{who:?} asked {command:?}\n      told {answer:?}"));
                self.oracle.answered(command, asked, answer);
            }
            self.record_told(&places, at, &reply.answers);
            let all = commands.len() == reply.answers.len();
            if !all {
                let what = "a request was answered in part".to_owned();
                self.oracle.violated(Promise::ExplicitRefusal, what);
            }
            self.heard.push(Heard { who, commands, reply });
        }
        for (attempt, pins) in self.world.attempts() {
            for delivery in &attempt.deliveries {
                self.note(|| format!("attempt {delivery:?}"));
                self.record_name(delivery);
                self.oracle.handed(delivery, 0);
            }
            let after = self.dice.span(Span::from_millis(1), Span::from_millis(200));
            self.plan_in(after, Event::Arrive(attempt, pins, self.process));
        }
        for notice in self.world.notices() {
            self.note(|| format!("{notice:?}"));
        }
    }

    /// Somebody reads his answer.
    fn hear(&mut self, heard: Heard) {
        let Heard { who, commands, mut reply } = heard;
        let mut stored = reply.pins.payloads();
        for answer in &mut reply.answers {
            let named = named(answer);
            for (payload, named) in answer.payloads_mut().zip(named) {
                self.look_at_pin(payload);
                if let Err(why) = stored.read(payload) {
                    return self.died_of(&why);
                }
                self.oracle.read(named, payload);
            }
        }
        self.answer(who, commands, reply.answers);
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Burst => self.burst(),
            Event::Act(client) => self.act(client),
            Event::Work(worker) => self.work(worker),
            Event::Leave(queue, number, process) => {
                if self.world.is_up() && process == self.process {
                    self.world.leave(&queue, number);
                }
            }
            Event::Say(who, commands) => self.say(who, commands),
            // What left before the process ended has nobody who waits for the answer.
            Event::Arrive(attempt, pins, process) => {
                if self.world.is_up() && process == self.process {
                    self.arrive(attempt, &pins);
                }
            }
            Event::Read(heard, process) => {
                if self.world.is_up() && process == self.process {
                    self.hear(heard);
                } else {
                    self.unread(heard);
                }
            }
            Event::Mended(mended) => self.mend(mended),
            Event::Start => self.start(),
        }
    }

    // What the parts share.

    fn plan_in(&mut self, after: Span, event: Event) {
        self.numbered += 1;
        self.events.insert((self.world.clocks.passed().plus(after), self.numbered), event);
    }

    /// Asks, if there is somebody to ask.
    fn ask(&mut self, who: Who, commands: Vec<Command>) -> bool {
        if !self.world.is_up() {
            return false;
        }
        for command in &commands {
            self.oracle.asked(command);
            if *command == Command::ConfirmClock {
                self.oracle.confirming();
            }
        }
        self.requests += commands.len() as u64;
        let asked = self.oracle.moment();
        let recorded = (self.record_moment(), self.record_asked(&commands));
        let answer = self.world.ask(commands.clone());
        self.questions.push(Question { who, commands, asked, recorded, answer });
        true
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trail) = &mut self.trail {
            if trail.len() == TRAIL {
                trail.pop_front();
            }
            let mut what = what();
            what.truncate(what.floor_char_boundary(LINE));
            trail.push_back(format!("{:>12} {what}", self.world.clocks.passed().millis()));
        }
    }

    fn mark(&mut self, marker: Marker) {
        self.oracle.mark(marker);
    }

    fn died_of(&mut self, why: &duly_store::Error) {
        self.ended(&why.to_string(), why.exit_status());
    }

    fn died(&mut self, death: &Death) {
        self.ended(&death.to_string(), death.why.exit_status());
    }
}

/// The generations whose payloads an answer shows, in the order of the payloads.
fn named(answer: &Answer) -> Vec<(duly_engine::id::DeadlineId, duly_engine::id::Generation)> {
    match answer {
        Answer::Scheduled { deadline, .. }
        | Answer::Settled { deadline, .. }
        | Answer::Deadline(deadline)
        | Answer::VerdictTaken(deadline) => vec![(deadline.id, deadline.generation)],
        Answer::Leased(deliveries) => deliveries.iter().map(of_leased).collect(),
        Answer::Waiting(found) | Answer::Scanned { found, .. } => {
            found.iter().map(|deadline| (deadline.id, deadline.generation)).collect()
        }
        Answer::Refused(refusal) => refusal
            .clone()
            .deadline_mut()
            .map(|deadline| (deadline.id, deadline.generation))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

fn of_leased(leased: &Leased) -> (duly_engine::id::DeadlineId, duly_engine::id::Generation) {
    (leased.id.deadline, leased.id.generation)
}
