//! Schedule: promise to act at a time, unless settled before.

use super::change::too_late_to_change;
use super::{Met, No};
use crate::answer::{Answer, Known, Refusal};
use crate::command::{DEFAULT_PRIORITY, IfDue, IfExists, Schedule, Show, When};
use crate::deadline::{Deadline, PayloadAt, State};
use crate::effect::Notice;
use crate::fact::Fact;
use crate::id::{DeadlineId, Generation, QueueName, QueueNo};
use crate::limits;
use crate::queue::{Policy, Target};
use crate::record::queue_bytes;
use crate::state::live::{Live, Phase};
use crate::step::{Engine, Storage};
use crate::time::{Span, Time};
use crate::zoo::{self, Bug};

/// What of a record matters to the schedule that meets it.
#[derive(Clone, Copy)]
struct Before {
    id: DeadlineId,
    generation: Generation,
    is_pending: bool,
    is_final: bool,
    due: Time,
    frozen_until: Option<Time>,
    frozen_for: Span,
}

impl Before {
    fn of_live(live: &Live) -> Before {
        Before {
            id: live.id,
            generation: live.generation,
            is_pending: live.phase == Phase::Pending,
            is_final: live.phase.is_final(),
            due: live.due(),
            frozen_until: live.story.as_ref().map(|story| story.frozen_until),
            frozen_for: live.story.as_ref().map_or(Span::ZERO, |story| story.frozen_for),
        }
    }

    fn of(deadline: &Deadline) -> Before {
        Before {
            id: deadline.id,
            generation: deadline.generation,
            is_pending: deadline.state == State::Pending,
            is_final: deadline.is_final(),
            due: deadline.due,
            frozen_until: deadline.frozen_until,
            frozen_for: deadline.frozen_for,
        }
    }
}

/// How long after the last lease a pull queue still counts as worked on.
const WORKED_ON: Span = Span::from_mins(10);

impl Engine {
    pub(super) fn schedule(&mut self, schedule: Schedule, known: Known) -> Result<Answer, No> {
        if schedule.over.is_some() {
            self.known_queue(&schedule.at.queue)?;
        }
        let met = self.meet(&schedule.at, known)?;
        if let Some(generation) = schedule.over {
            self.still_pending(&met, generation)?;
        }
        let no = match self.state.queue_no(&schedule.at.queue) {
            Some(no) => no,
            None => self.create_queue_for(&schedule)?,
        };
        match met {
            Met::Nothing => self.next_generation(no, schedule, None),
            Met::Live(slot) if self.state.live(slot).phase == Phase::Remembered => {
                self.born_settled(slot, no, schedule)
            }
            Met::Live(slot) => {
                if let IfExists::Move(if_due) = schedule.if_exists
                    && self.state.live(slot).phase == Phase::Pending
                {
                    return self.move_or_keep(no, slot, &schedule, if_due);
                }
                if !matches!(schedule.if_exists, IfExists::Keep | IfExists::Fail) {
                    // It may have lapsed in this very step: nobody's delivery is under way.
                    self.close_this(slot);
                }
                let live = self.state.live(slot);
                let (before, hash) = (Before::of_live(live), live.home.hash());
                self.again(no, schedule, before, |engine| (engine.view(slot), Some(hash)))
            }
            Met::Archived(deadline) => {
                self.again(no, schedule, Before::of(&deadline), |_| (deadline, None))
            }
        }
    }

    /// Is this the generation that is there, and not over? If not, what there is instead.
    fn still_pending(&self, met: &Met, generation: Generation) -> Result<(), Refusal> {
        let shown = match met {
            Met::Live(slot) if self.state.live(*slot).phase != Phase::Remembered => {
                let live = self.state.live(*slot);
                if live.generation == generation && live.phase == Phase::Pending {
                    return Ok(());
                }
                self.view(*slot)
            }
            Met::Archived(deadline) => deadline.clone(),
            Met::Live(_) | Met::Nothing => return Err(Refusal::UnknownDeadline),
        };
        Err(if shown.generation == generation {
            too_late_to_change(shown)
        } else {
            Refusal::OtherGeneration(shown)
        })
    }

    /// The deadline is there already: `if_exists` says what then. Only who keeps it or is refused is
    /// shown what there is, with the hash of its payload if that is at hand.
    fn again(
        &mut self,
        no: QueueNo,
        schedule: Schedule,
        before: Before,
        show: impl FnOnce(&Engine) -> (Box<Deadline>, Option<u32>),
    ) -> Result<Answer, No> {
        let next = match schedule.if_exists {
            IfExists::Fail => return Err(Refusal::AlreadyExists(show(self).0).into()),
            IfExists::Renew => before.is_final,
            IfExists::Replace if before.is_final || before.is_pending => true,
            IfExists::Move(_) if before.is_final => true,
            IfExists::Replace | IfExists::Move(_) => {
                return Err(Refusal::DeliveryUnderWay(show(self).0).into());
            }
            IfExists::Keep => false,
        };
        if next {
            return self.next_generation(no, schedule, Some(before));
        }
        let (existing, hash) = show(self);
        Ok(self.kept(no, &schedule, existing, hash))
    }

    /// Nothing happened: this is what is there.
    fn kept(
        &self,
        no: QueueNo,
        schedule: &Schedule,
        existing: Box<Deadline>,
        hash: Option<u32>,
    ) -> Answer {
        Answer::Scheduled {
            created: false,
            differs: differs(schedule, &existing, hash),
            nobody_acts: self.nobody_acts(no),
            deadline: existing,
        }
    }

    /// It is pending already: it is moved, if it was due so.
    fn move_or_keep(
        &mut self,
        no: QueueNo,
        slot: u32,
        schedule: &Schedule,
        if_due: IfDue,
    ) -> Result<Answer, No> {
        let due = self.asked(self.state.queue(no).policy.default_delay, schedule.when)?;
        let live = self.state.live(slot);
        if if_due.holds(live.due(), due) {
            self.room_on_disk()?;
            return self.move_to(slot, due);
        }
        let hash = live.home.hash();
        Ok(self.kept(no, schedule, self.view(slot), Some(hash)))
    }

    /// A new generation begins.
    fn next_generation(
        &mut self,
        no: QueueNo,
        schedule: Schedule,
        before: Option<Before>,
    ) -> Result<Answer, No> {
        let replaced = before.filter(|before| before.is_pending);
        let kept = replaced.filter(|_| schedule.when == When::Kept);
        let due = match kept {
            Some(before) => before.due,
            None => self.due_of(self.state.queue(no).policy.default_delay, &schedule)?,
        };
        let (id, generation) = match before {
            Some(before) => (before.id, before.generation.next()),
            None => (self.state.next_id, Generation::FIRST),
        };
        self.room_on_disk()?;
        self.room_for(id)?;
        let show = schedule.show;
        let slot = self.write_schedule(no, id, generation, due, replaced.is_some(), schedule);
        let frozen = kept.and_then(|before| Some((before.frozen_until?, before.frozen_for)));
        if let Some((until, total)) = frozen.filter(|(until, _)| *until > self.now) {
            self.emit(Fact::Frozen { queue: no, id, until, total_ms: total.millis() });
        }
        if show == Show::Nothing {
            return Ok(Answer::Begun);
        }
        Ok(Answer::Scheduled {
            created: true,
            differs: Vec::new(),
            nobody_acts: self.nobody_acts(no),
            deadline: self.view(slot),
        })
    }

    /// The settle came first and was remembered.
    fn born_settled(&mut self, slot: u32, no: QueueNo, schedule: Schedule) -> Result<Answer, No> {
        let due = self.due_of(self.state.queue(no).policy.default_delay, &schedule)?;
        self.room_on_disk()?;
        let live = self.state.live(slot);
        let (id, outcome) = (live.id, live.story.as_ref().and_then(|story| story.outcome.clone()));
        let outcome = outcome.expect("a remembered settle has its outcome");
        let slot = self.write_schedule(no, id, Generation::FIRST, due, false, schedule);
        self.emit(Fact::Settled { queue: no, id, outcome });
        Ok(Answer::Scheduled {
            created: true,
            differs: Vec::new(),
            nobody_acts: false,
            deadline: self.view(slot),
        })
    }

    fn write_schedule(
        &mut self,
        queue: QueueNo,
        id: DeadlineId,
        generation: Generation,
        due: Time,
        replaces: bool,
        schedule: Schedule,
    ) -> u32 {
        let is_kept = zoo::bites(Bug::GenerationKept);
        let fact = Fact::Scheduled {
            queue,
            id,
            generation: if is_kept { Generation::FIRST } else { generation },
            key: schedule.at.key,
            due,
            priority: schedule.priority.unwrap_or(DEFAULT_PRIORITY),
            replaces,
            payload: schedule.payload.into(),
        };
        self.emit(fact).expect("a schedule leaves a record")
    }

    /// When it is due, if it may be due then.
    fn due_of(&self, default_delay: Option<Span>, schedule: &Schedule) -> Result<Time, Refusal> {
        let due = self.asked(default_delay, schedule.when)?;
        if due > self.now.plus(limits::HORIZON) {
            return Err(Refusal::DueTooFar);
        }
        if due < self.now.minus(limits::PAST) && !schedule.allow_past {
            return Err(Refusal::DueInPast);
        }
        Ok(due)
    }

    /// When it is asked to be due.
    fn asked(&self, default_delay: Option<Span>, when: When) -> Result<Time, Refusal> {
        Ok(match when {
            When::Due(due) => due,
            When::After(span) => self.now.plus(span),
            When::Default | When::Kept => self.now.plus(default_delay.ok_or(Refusal::NoDueTime)?),
        })
    }

    pub(super) fn room_on_disk(&self) -> Result<(), Refusal> {
        if self.storage >= Storage::Low { Err(Refusal::StorageLow) } else { Ok(()) }
    }

    /// May a record of this number be held? One that is there already takes no more room.
    pub(super) fn room_for(&self, id: DeadlineId) -> Result<(), Refusal> {
        let full = self.state.records.len() >= self.limits.max_deadlines;
        if full && self.state.slot_of_id(id).is_none() { Err(Refusal::Full) } else { Ok(()) }
    }

    /// Only a schedule that would succeed creates its queue.
    fn create_queue_for(&mut self, schedule: &Schedule) -> Result<QueueNo, Refusal> {
        if !self.limits.auto_create_queues {
            return Err(Refusal::UnknownQueue);
        }
        let policy = schedule.creates.policy();
        self.due_of(policy.default_delay, schedule)?;
        self.room_on_disk()?;
        self.room_for(self.state.next_id)?;
        self.create_queue(&schedule.at.queue, policy, false)
    }

    pub(super) fn create_queue(
        &mut self,
        name: &QueueName,
        policy: Policy,
        declared: bool,
    ) -> Result<QueueNo, Refusal> {
        if self.state.queues.len() >= limits::QUEUES {
            return Err(Refusal::TooManyQueues);
        }
        self.room_for_queues(queue_bytes(name, &policy))?;
        let queue = self.state.next_queue;
        let (name, policy) = (name.clone(), Box::new(policy));
        self.emit(Fact::QueueSet { queue, name: name.clone(), policy, declared });
        self.notice(Notice::QueueCreated(name));
        Ok(queue)
    }

    /// May names and policies of queues take so many more bytes of every segment?
    pub(super) fn room_for_queues(&self, more: usize) -> Result<(), Refusal> {
        let fits = self.state.queues_bytes + more <= self.limits.queues_bytes;
        if fits { Ok(()) } else { Err(Refusal::TooManyQueues) }
    }

    /// Is the target `pull`, and has no worker leased lately?
    fn nobody_acts(&self, no: QueueNo) -> bool {
        let queue = self.state.queue(no);
        queue.policy.target == Target::Pull
            && queue.last_leased_at.is_none_or(|at| self.now.since(at) > WORKED_ON)
    }
}

/// What of an existing record is not as asked. Only what was asked is compared; a delay counts from
/// the record's own creation, so that a retried request does not differ.
fn differs(schedule: &Schedule, existing: &Deadline, hash: Option<u32>) -> Vec<&'static str> {
    let due_differs = match schedule.when {
        When::Default | When::Kept => false,
        When::After(span) => existing.due != existing.created_at.plus(span),
        When::Due(due) => existing.due != due,
    };
    let payload_differs = schedule.payload.as_ref().is_some_and(|asked| match &existing.payload {
        PayloadAt::None => true,
        PayloadAt::Gone => false,
        PayloadAt::Here(payload) => payload != asked,
        PayloadAt::Stored(_) => hash != Some(asked.hash()),
    });
    let priority_differs = schedule.priority.is_some_and(|asked| existing.priority != asked);
    [("due", due_differs), ("payload", payload_differs), ("priority", priority_differs)]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
}
