//! Clients, workers and operators: who asks what, and what they do with answers.

use duly_engine::answer::{Answer, Leased};
use duly_engine::command::{Address, Command, Verdict};
use duly_engine::time::Span;

use super::plan::{Plan, policy};
use super::requests::{self, verdict};
use super::{Event, Life, Question, Who};
use crate::markers::Marker;

/// Old leases that somebody remembers.
const REMEMBERED: usize = 40;
/// Who pays in the last moment does so within this.
const FINE: Span = Span::from_mins(2);

/// Everybody who asks.
pub(super) struct Crowd {
    clients: Vec<Client>,
    /// Which workers are going to look for something to do.
    wakes: Vec<bool>,
    /// Handed out once: verdicts about them may come at any time.
    old: Vec<Leased>,
    /// Each request is as large as it may be, so that the disk fills.
    pub(super) heavy: bool,
}

#[derive(Default)]
struct Client {
    /// Requests left in this burst.
    left: u64,
    waits: bool,
    /// Asked before the process ended: nobody knows what came of it.
    again: Option<Vec<Command>>,
}

impl Crowd {
    pub(super) fn new(plan: &Plan) -> Crowd {
        let clients = (0..plan.clients).map(|_| Client::default()).collect();
        Crowd { clients, wakes: vec![false; plan.workers], old: Vec::new(), heavy: false }
    }
}

impl Life {
    /// The first things that are said: queues with policies.
    pub(super) fn settle_in(&mut self) {
        for queue in self.plan.queues.clone() {
            let policy = Box::new(policy(&mut self.dice));
            let put = Command::PutQueue { queue, policy, declared: None };
            self.plan_in(Span::from_millis(1), Event::Say(Who::Operator, vec![put]));
        }
        for worker in 0..self.plan.workers {
            let after = self.dice.span(Span::from_secs(1), Span::from_mins(5));
            self.work_in(worker, after);
        }
    }

    /// Clients become busy for a while.
    pub(super) fn busy(&mut self) {
        for client in 0..self.crowd.clients.len() {
            let left = if self.crowd.heavy { 60 } else { 2 + self.dice.below(12) };
            self.crowd.clients[client].left = left;
            let after = Span::from_millis(self.dice.below(1_000));
            self.plan_in(after, Event::Act(client));
        }
        for worker in 0..self.plan.workers {
            let after = self.dice.span(Span::from_millis(1), Span::from_secs(20));
            self.work_in(worker, after);
        }
    }

    pub(super) fn act(&mut self, client: usize) {
        let one = &mut self.crowd.clients[client];
        if one.left == 0 || one.waits || self.peace {
            return;
        }
        if !self.world.is_up() {
            let after = self.until_up();
            return self.plan_in(after, Event::Act(client));
        }
        one.left -= 1;
        let again = one.again.take();
        if again.is_some() {
            self.mark(Marker::UnknownOutcomeRepeated);
        }
        let commands = again.unwrap_or_else(|| self.think());
        if self.ask(Who::Client(client), commands) {
            self.crowd.clients[client].waits = true;
        }
    }

    fn think(&mut self) -> Vec<Command> {
        let many = if self.dice.one_in(6) { 2 + self.dice.below(5) } else { 1 };
        let Life { plan, dice, oracle, crowd, .. } = self;
        (0..many).map(|_| requests::command(plan, dice, oracle, &crowd.old, crowd.heavy)).collect()
    }

    /// Somebody has his answers.
    pub(super) fn answer(&mut self, who: Who, commands: Vec<Command>, answers: Vec<Answer>) {
        match who {
            Who::Client(client) => {
                self.crowd.clients[client].waits = false;
                self.cut_it_fine(&answers);
                for answer in answers {
                    // Who claims a key does at once what there is to do.
                    if let Answer::Leased(deliveries) = answer {
                        for leased in &deliveries {
                            self.handle(Who::Operator, leased);
                        }
                    }
                }
                let after = if self.crowd.heavy {
                    Span::from_millis(self.dice.below(50))
                } else {
                    self.dice.span(Span::from_millis(1), Span::from_secs(3))
                };
                self.plan_in(after, Event::Act(client));
            }
            Who::Worker(worker) => {
                for (command, answer) in commands.into_iter().zip(answers) {
                    match answer {
                        Answer::Leased(deliveries) => self.take_up(worker, deliveries),
                        // The queue is not for workers, or there is no room for a lease.
                        _ if matches!(command, Command::Lease { .. }) => {
                            let after = self.dice.span(Span::from_mins(1), Span::from_mins(20));
                            self.work_in(worker, after);
                        }
                        _ => {}
                    }
                }
            }
            Who::Target | Who::Operator => {}
        }
    }

    /// Some pay in the very last moment, or just after it.
    fn cut_it_fine(&mut self, answers: &[Answer]) {
        for answer in answers {
            let Answer::Scheduled { deadline, .. } = answer else { continue };
            let at = Address { queue: deadline.queue.clone(), key: deadline.key.clone() };
            let Some(glance) = self.oracle.glance(&at) else { continue };
            let left = glance.lapse_at.since(self.oracle.now());
            if left < FINE && self.dice.one_in(4) {
                let after = left.minus(Span::from_millis(self.dice.below(4)));
                let settle = requests::settle(at, &mut self.dice, None, None);
                self.plan_in(after, Event::Say(Who::Operator, vec![settle]));
            }
        }
    }

    /// The process has ended before it answered.
    pub(super) fn left_alone(&mut self, question: Question) {
        match question.who {
            Who::Client(client) => {
                let again = self.dice.percent(70).then_some(question.commands);
                let one = &mut self.crowd.clients[client];
                one.waits = false;
                one.again = again;
                one.left += 1;
                let after = self.dice.span(Span::from_millis(1), Span::from_secs(10));
                self.plan_in(after, Event::Act(client));
            }
            Who::Worker(worker) => {
                let after = self.dice.span(Span::from_secs(1), Span::from_mins(2));
                if question.commands.iter().any(|one| matches!(one, Command::Lease { .. })) {
                    self.work_in(worker, after);
                } else if self.dice.one_in(2) {
                    self.plan_in(after, Event::Say(question.who, question.commands));
                }
            }
            Who::Target => {}
            Who::Operator => {
                self.plan_in(Span::from_secs(1), Event::Say(Who::Operator, question.commands));
            }
        }
    }

    /// Says something, now or as soon as there is somebody to hear it.
    pub(super) fn say(&mut self, who: Who, commands: Vec<Command>) {
        if !self.ask(who, commands.clone()) {
            let after = self.until_up();
            self.plan_in(after, Event::Say(who, commands));
        }
    }

    // Workers.

    /// A worker will look for something to do, unless it is going to anyway.
    pub(super) fn work_in(&mut self, worker: usize, after: Span) {
        if !std::mem::replace(&mut self.crowd.wakes[worker], true) {
            self.plan_in(after, Event::Work(worker));
        }
    }

    /// A worker waits for something to do.
    pub(super) fn work(&mut self, worker: usize) {
        self.crowd.wakes[worker] = false;
        if !self.world.is_up() {
            let after = self.until_up();
            return self.work_in(worker, after);
        }
        let is_busy = self.questions.iter().any(|question| {
            question.who == Who::Worker(worker)
                && matches!(question.commands[..], [Command::Lease { .. }])
        });
        if is_busy {
            return;
        }
        let queue = self.plan.queue(&mut self.dice);
        let max = usize::try_from(1 + self.dice.below(6)).expect("a small number");
        let span = self.dice.span(Span::from_secs(1), Span::from_mins(3));
        let asked = self.oracle.moment();
        let (number, answer) = self.world.wait_for_lease(&queue, max, span);
        self.requests += 1;
        let commands = vec![Command::Lease { queue: queue.clone(), key: None, max, span }];
        let recorded = (self.record_moment(), vec![None]);
        let who = Who::Worker(worker);
        self.questions.push(Question { who, commands, asked, recorded, answer });
        let patience = self.dice.span(Span::from_millis(5), Span::from_mins(2));
        self.plan_in(patience, Event::Leave(queue, number, self.process));
    }

    /// A worker has got deliveries, or none.
    fn take_up(&mut self, worker: usize, deliveries: Vec<Leased>) {
        let some = !deliveries.is_empty();
        for leased in deliveries {
            self.handle(Who::Worker(worker), &leased);
            if self.crowd.old.len() == REMEMBERED {
                let index = self.dice.index(REMEMBERED);
                self.crowd.old.swap_remove(index);
            }
            self.crowd.old.push(leased);
        }
        let after = if self.peace {
            Span::from_secs(if some { 1 } else { 240 })
        } else if some {
            self.dice.span(Span::from_millis(1), Span::from_secs(10))
        } else {
            self.dice.span(Span::from_secs(10), Span::from_mins(6))
        };
        self.work_in(worker, after);
    }

    /// What somebody does with one delivery, for better or worse.
    fn handle(&mut self, who: Who, leased: &Leased) {
        let (delivery, token) = (leased.id, leased.token);
        let said = if self.peace { Verdict::Done } else { verdict(&mut self.dice) };
        let done = Command::Verdict { delivery, token, verdict: said };
        let soon = self.dice.span(Span::from_millis(1), Span::from_mins(1));
        let patience = leased.leased_until.since(self.oracle.now());
        if self.peace {
            return self.plan_in(Span::from_millis(200), Event::Say(who, vec![done]));
        }
        match self.dice.below(20) {
            // It dies with the lease in its hands.
            0 => {}
            // Too late.
            1 | 2 => self.plan_in(patience.plus(soon), Event::Say(who, vec![done])),
            // Just in time, or not.
            3 => {
                let at = patience.minus(Span::from_millis(self.dice.below(4)));
                self.plan_in(at, Event::Say(who, vec![done]));
            }
            // It needs longer.
            4..7 => {
                let span = self.dice.span(Span::from_secs(30), Span::from_mins(10));
                let touch = Command::Touch { delivery, token, span };
                let half = Span::from_millis(patience.millis() / 2);
                self.plan_in(half, Event::Say(who, vec![touch]));
                self.plan_in(patience.plus(Span::from_secs(1)), Event::Say(who, vec![done]));
            }
            // It says it twice.
            7..9 => {
                self.plan_in(soon, Event::Say(who, vec![done.clone()]));
                self.plan_in(soon.plus(Span::from_secs(1)), Event::Say(who, vec![done]));
            }
            _ => self.plan_in(soon, Event::Say(who, vec![done])),
        }
    }
}
