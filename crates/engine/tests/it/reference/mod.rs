//! The rules once more, as naively as they can be written: a list of deadlines, looked through
//! whenever anything is to be known.
//!
//! It was written from the specification and shares nothing with the engine but its vocabulary. It
//! has no timers, no queues of work, no journal and no archive; a restart is a change of two times.
//! A lease's token is made of its delivery and attempt, because the engine's own are not for others
//! to guess; waits are short enough to have no jitter.

mod commands;
mod queues;

use std::collections::BTreeMap;
use std::sync::Arc;

use duly_engine::Storage;
use duly_engine::answer::{Held, Leased, QueueView, Refusal, Totals};
use duly_engine::command::Address;
use duly_engine::deadline::{Deadline, Delivery, DeliveryState, Event, Ladder, State, What};
use duly_engine::id::{DeadlineId, DeliveryId, DirectoryId, Outcome, QueueName, QueueNo, Token};
use duly_engine::queue::{DecideAt, Policy, Target};
use duly_engine::time::{Span, Time};

/// A queue and what it has counted.
pub(crate) struct Queue {
    no: QueueNo,
    pub(crate) name: QueueName,
    pub(crate) policy: Policy,
    paused: bool,
    lapse_paused: bool,
    last_leased_at: Option<Time>,
    pub(crate) totals: Totals,
    /// Requests under way: the deliveries of each that are not over.
    requests: Vec<Vec<DeliveryId>>,
}

/// A settle that came before its schedule.
struct Remembered {
    at: Address,
    id: DeadlineId,
    outcome: Outcome,
    until: Time,
}

/// All there is.
pub(crate) struct Reference {
    pub(crate) now: Time,
    directory: DirectoryId,
    pub(crate) storage: Storage,
    pub(crate) guarded: bool,
    opened_at: Time,
    recovery_until: Time,
    next_id: u64,
    next_queue: u32,
    pub(crate) queues: Vec<Queue>,
    /// The latest generation of every key.
    pub(crate) deadlines: Vec<Deadline>,
    /// Generations that were over before the latest began.
    former: Vec<Deadline>,
    /// Final records that are not in memory.
    evicted: Vec<DeadlineId>,
    remembered: Vec<Remembered>,
    /// What was handed to the server's own deliverers, in order, by queue.
    pub(crate) handed: BTreeMap<QueueName, Vec<(DeliveryId, u32)>>,
    /// A queue whose policy has just changed: who is over in it is not known yet.
    changing: Option<QueueName>,
}

impl Reference {
    pub(crate) fn new(directory: DirectoryId, now: Time) -> Reference {
        Reference {
            now,
            directory,
            storage: Storage::Plenty,
            guarded: false,
            opened_at: now,
            recovery_until: now,
            next_id: 1,
            next_queue: 1,
            queues: Vec::new(),
            deadlines: Vec::new(),
            former: Vec::new(),
            evicted: Vec::new(),
            remembered: Vec::new(),
            handed: BTreeMap::new(),
            changing: None,
        }
    }

    // Time.

    /// Lets time run; whatever falls due happens at its own time.
    pub(crate) fn run(&mut self, span: Span) {
        let end = self.now.plus(span);
        while let Some(next) = self.next_event().filter(|next| *next <= end) {
            self.now = next;
            self.catch_up();
        }
        self.now = end;
        self.catch_up();
    }

    fn next_event(&self) -> Option<Time> {
        if self.storage >= Storage::Full {
            return None;
        }
        let of_one = |deadline: &Deadline| match &deadline.delivery {
            None if deadline.state == State::Pending => self.lapse_at(deadline),
            Some(delivery) => {
                delivery.next_attempt_at.or(delivery.leased_until).unwrap_or(Time::ZERO)
            }
            None => Time::ZERO,
        };
        let times = self.deadlines.iter().map(of_one);
        let forgotten = self.remembered.iter().map(|remembered| remembered.until);
        times.chain(forgotten).filter(|at| *at > self.now).min()
    }

    /// Everything that is due now happens, then what waits is handed out.
    pub(crate) fn catch_up(&mut self) {
        if self.storage >= Storage::Full {
            return;
        }
        for index in 0..self.deadlines.len() {
            if self.is_over(&self.deadlines[index]) {
                self.lapse(index);
            }
            if self.lease_is_over(index) {
                self.retry_or_die(index, "the lease ran out".into(), None, false);
            }
        }
        let now = self.now;
        self.remembered.retain(|remembered| remembered.until > now);
        self.changing = None;
        self.hand_out();
    }

    fn lease_is_over(&self, index: usize) -> bool {
        let delivery = self.deadlines[index].delivery.as_ref();
        delivery.and_then(|delivery| delivery.leased_until).is_some_and(|until| until <= self.now)
    }

    fn lapse_at(&self, deadline: &Deadline) -> Time {
        let frozen_until = deadline.frozen_until.unwrap_or(Time::ZERO);
        let at = deadline.due.max(frozen_until).plus(self.policy(deadline).grace);
        if at <= self.opened_at { at.max(self.recovery_until) } else { at }
    }

    fn is_withheld(&self, queue: &Queue) -> bool {
        self.guarded || self.storage >= Storage::Full || queue.lapse_paused
    }

    fn is_over(&self, deadline: &Deadline) -> bool {
        deadline.state == State::Pending
            && self.policy(deadline).decide_at == DecideAt::Due
            && !self.is_withheld(self.queue_of(deadline))
            && self.lapse_at(deadline) <= self.now
    }

    /// The process ended and another began. Journal time was last written at `stopped_at`.
    pub(crate) fn restart(&mut self, stopped_at: Time, now: Time) {
        self.now = now;
        self.head_start(stopped_at);
        for queue in &mut self.queues {
            queue.last_leased_at = None;
            queue.requests.clear();
        }
        for index in 0..self.deadlines.len() {
            let held = self.deadlines[index].delivery.as_ref().is_some_and(|held| held.held_here);
            if held {
                let error: Arc<str> = "the server restarted during the attempt".into();
                self.retry(index, now, error, false);
            }
        }
        self.catch_up();
    }

    /// Time was missed: settles have a head start over the lapses.
    pub(crate) fn head_start(&mut self, stopped_at: Time) {
        let missed = self.now.since(stopped_at).min(Span::from_mins(5));
        self.recovery_until = self.recovery_until.max(self.now.plus(missed));
        self.opened_at = self.now;
    }

    /// The archive has everything that is final.
    pub(crate) fn evict(&mut self) {
        let finals = self.deadlines.iter().filter(|deadline| deadline.is_final());
        self.evicted = finals.map(|deadline| deadline.id).collect();
    }

    /// May the record be missing from memory?
    pub(crate) fn is_evicted(&self, deadline: &Deadline) -> bool {
        self.evicted.contains(&deadline.id)
    }

    // Finding.

    fn queue(&self, name: &QueueName) -> Result<usize, Refusal> {
        let place = self.queues.iter().position(|queue| queue.name == *name);
        place.ok_or(Refusal::UnknownQueue)
    }

    fn queue_of(&self, deadline: &Deadline) -> &Queue {
        let index = self.queue(&deadline.queue).expect("what is not final keeps its queue");
        &self.queues[index]
    }

    fn policy(&self, deadline: &Deadline) -> &Policy {
        &self.queue_of(deadline).policy
    }

    fn totals(&mut self, index: usize) -> &mut Totals {
        let name = self.deadlines[index].queue.clone();
        let queue = self.queue(&name).expect("what is not final keeps its queue");
        &mut self.queues[queue].totals
    }

    /// The deadline under an address, lapsed if its time is over.
    fn meet(&mut self, at: &Address) -> Option<usize> {
        let now = self.now;
        self.remembered.retain(|kept| kept.at != *at || kept.until > now);
        let same = |deadline: &Deadline| deadline.queue == at.queue && deadline.key == at.key;
        let index = self.deadlines.iter().position(same)?;
        let alive = self.queue(&at.queue).is_ok() && !self.deadlines[index].is_final();
        if alive && self.is_over(&self.deadlines[index]) {
            self.lapse(index);
        }
        Some(index)
    }

    fn shown(&self, index: usize) -> Box<Deadline> {
        Box::new(self.deadlines[index].clone())
    }

    // What happens to a deadline.

    fn tell(&mut self, index: usize, what: What) {
        let at = self.now;
        let timeline = &mut self.deadlines[index].timeline;
        timeline.push(Event { at, what });
        if timeline.len() > 32 {
            timeline.remove(1);
        }
    }

    fn lapse(&mut self, index: usize) {
        let (now, directory) = (self.now, self.directory);
        self.tell(index, What::Lapsed);
        self.totals(index).lapsed += 1;
        let deadline = &mut self.deadlines[index];
        deadline.state = State::Lapsed;
        deadline.lapsed_at = Some(now);
        deadline.delivery = Some(Delivery {
            id: DeliveryId { directory, deadline: deadline.id, generation: deadline.generation },
            state: DeliveryState::Ready,
            attempts: 0,
            next_attempt_at: Some(now),
            leased_until: None,
            token: None,
            last_error: None,
            finished_at: None,
            ladder: Ladder { attempts: 0, since: now },
            held_here: false,
        });
    }

    fn delivery(&mut self, index: usize) -> &mut Delivery {
        self.deadlines[index].delivery.as_mut().expect("it has lapsed")
    }

    /// The attempt is over, however it ended.
    fn let_go(&mut self, index: usize) {
        let delivery = self.delivery(index);
        delivery.leased_until = None;
        delivery.next_attempt_at = None;
        delivery.held_here = false;
        let id = delivery.id;
        for queue in &mut self.queues {
            queue.requests.iter_mut().for_each(|request| request.retain(|held| *held != id));
            queue.requests.retain(|request| !request.is_empty());
        }
    }

    fn retry(&mut self, index: usize, next_attempt_at: Time, error: Arc<str>, by_verdict: bool) {
        self.let_go(index);
        self.totals(index).retried += 1;
        self.tell(index, What::Retried { error: error.clone(), next_attempt_at });
        let delivery = self.delivery(index);
        delivery.state = DeliveryState::Ready;
        delivery.next_attempt_at = Some(next_attempt_at);
        delivery.last_error = Some(error);
        delivery.token = delivery.token.filter(|_| by_verdict);
    }

    fn retry_or_die(
        &mut self,
        index: usize,
        error: Arc<str>,
        after: Option<Span>,
        by_verdict: bool,
    ) {
        let policy = self.policy(&self.deadlines[index]).clone();
        let now = self.now;
        let delivery = self.delivery(index);
        let failed = (delivery.attempts - delivery.ladder.attempts) as usize;
        let wait = match after {
            Some(asked) => asked.clamp(Span::from_secs(1), Span::from_hours(1)),
            None => policy.retry[(failed - 1).min(policy.retry.len() - 1)],
        };
        assert!(after.is_some() || wait.millis() < 10, "longer waits have jitter");
        if now.plus(wait) > delivery.ladder.since.plus(policy.retry_for) {
            self.die(index, error, by_verdict);
        } else {
            self.retry(index, now.plus(wait), error, by_verdict);
        }
    }

    fn die(&mut self, index: usize, error: Arc<str>, by_verdict: bool) {
        let now = self.now;
        self.let_go(index);
        self.totals(index).died += 1;
        self.tell(index, What::Dead { error: error.clone() });
        let delivery = self.delivery(index);
        delivery.state = DeliveryState::Dead;
        delivery.last_error = Some(error);
        delivery.finished_at = Some(now);
        delivery.token = delivery.token.filter(|_| by_verdict);
    }

    pub(crate) fn finish(&mut self, index: usize, superseded: bool) {
        let now = self.now;
        self.let_go(index);
        let totals = self.totals(index);
        *(if superseded { &mut totals.superseded } else { &mut totals.done }) += 1;
        self.tell(index, if superseded { What::Superseded } else { What::Done });
        let delivery = self.delivery(index);
        delivery.finished_at = Some(now);
        delivery.state = if superseded { DeliveryState::Superseded } else { DeliveryState::Done };
    }

    // Handing out.

    /// Who may go now, in order: smaller priority, older due, scheduled first.
    pub(crate) fn waiting(&self, queue: usize) -> Vec<usize> {
        let queue = &self.queues[queue];
        let waits = |deadline: &Deadline| match &deadline.delivery {
            Some(delivery) => delivery.next_attempt_at.is_some_and(|at| at <= self.now),
            None => {
                deadline.state == State::Pending
                    && queue.policy.decide_at == DecideAt::Handout
                    && self.changing.as_ref() != Some(&queue.name)
                    && !self.is_withheld(queue)
                    && self.lapse_at(deadline) <= self.now
            }
        };
        let of_queue = |index: &usize| {
            let deadline = &self.deadlines[*index];
            deadline.queue == queue.name && !deadline.is_final() && waits(deadline)
        };
        let mut waiting: Vec<usize> = (0..self.deadlines.len()).filter(of_queue).collect();
        let turn = |deadline: &Deadline| (deadline.priority, deadline.due, deadline.id);
        waiting.sort_by_key(|index| turn(&self.deadlines[*index]));
        waiting
    }

    /// What the server's own deliverers may take.
    pub(crate) fn hand_out(&mut self) {
        if self.storage >= Storage::Full {
            return;
        }
        for queue in 0..self.queues.len() {
            let (paused, target) =
                (self.queues[queue].paused, self.queues[queue].policy.target.clone());
            let span = match &target {
                _ if paused => continue,
                Target::Pull => continue,
                Target::None => {
                    for index in self.waiting(queue) {
                        if self.deadlines[index].state == State::Pending {
                            self.lapse(index);
                        }
                        self.finish(index, false);
                    }
                    continue;
                }
                Target::Webhook(webhook) => webhook.timeout.plus(Span::from_secs(60)),
                Target::Sql { .. } | Target::Exec { .. } | Target::Publish { .. } => {
                    Span::from_mins(10)
                }
            };
            let most = self.queues[queue].policy.concurrency as usize;
            while self.queues[queue].requests.len() < most {
                let mut wanted = self.waiting(queue);
                wanted.truncate(target.batch() as usize);
                let leased = self.lease(queue, wanted, span, true);
                if leased.is_empty() {
                    break;
                }
                let name = self.queues[queue].name.clone();
                let handed = leased.iter().map(|leased| (leased.id, leased.attempt));
                self.handed.entry(name).or_default().extend(handed);
                let request = leased.iter().map(|leased| leased.id).collect();
                self.queues[queue].requests.push(request);
            }
        }
    }

    fn lease(
        &mut self,
        queue: usize,
        wanted: Vec<usize>,
        span: Span,
        held_here: bool,
    ) -> Vec<Leased> {
        let leased_until = self.now.plus(span);
        let mut leased = Vec::new();
        for index in wanted {
            if self.deadlines[index].state == State::Pending {
                self.lapse(index);
            }
            self.queues[queue].totals.attempts += 1;
            let attempt = self.delivery(index).attempts + 1;
            self.tell(index, What::Leased { attempt });
            let delivery = self.delivery(index);
            delivery.state = DeliveryState::Leased;
            delivery.attempts = attempt;
            delivery.next_attempt_at = None;
            delivery.leased_until = Some(leased_until);
            delivery.token = Some(token(delivery.id, attempt));
            delivery.held_here = held_here;
            let id = delivery.id;
            let deadline = &self.deadlines[index];
            leased.push(Leased {
                id,
                token: token(id, attempt),
                queue: deadline.queue.clone(),
                key: deadline.key.clone(),
                due: deadline.due,
                lapsed_at: deadline.lapsed_at.expect("it has lapsed"),
                attempt,
                leased_until,
                payload: deadline.payload.clone(),
            });
        }
        leased
    }

    /// A queue as it is shown, without what the engine does not journal.
    pub(crate) fn view(&self, index: usize) -> QueueView {
        let queue = &self.queues[index];
        let of_queue = self.deadlines.iter().filter(|deadline| deadline.queue == queue.name);
        let mut now = Held::default();
        for deadline in of_queue {
            match (deadline.state, deadline.delivery.as_ref().map(|delivery| delivery.state)) {
                (State::Pending, _) => now.pending += 1,
                (_, Some(DeliveryState::Ready)) => now.ready += 1,
                (_, Some(DeliveryState::Leased)) => now.leased += 1,
                (_, Some(DeliveryState::Dead)) => now.dead += 1,
                _ => {}
            }
        }
        QueueView {
            queue: queue.name.clone(),
            policy: queue.policy.clone(),
            declared: false,
            paused: queue.paused,
            lapse_paused: queue.lapse_paused,
            last_leased_at: None,
            shift: None,
            now,
            total: queue.totals.clone(),
            too_late: 0,
        }
    }
}

/// A token as the reference knows it.
pub(crate) fn token(id: DeliveryId, attempt: u32) -> Token {
    Token((id.deadline.0 << 32) + (u64::from(id.generation.0) << 16) + u64::from(attempt))
}
