//! The oracle: it remembers everything that anybody was told, elsewhere than on the server's disk, and
//! holds each new piece of evidence against that.
//!
//! Evidence is an answer, a record that was read, a webhook or a lease. It comes from many threads in
//! any order; see [`memory`] for why the order does not matter. The oracle asks nothing itself. Of a
//! deadline that is set again and again it remembers nothing: what was told is still true of none.

mod harm;
mod memory;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;

use self::memory::{Hold, Memory, Winner};
use super::ask::Reply;
use super::moment::wall_ms;
use super::name::Name;
use crate::history::{Asked, By, Delivery, Phase, Seen, SettleResult, Told, When};

pub(super) use self::harm::Harm;
pub(super) use self::memory::Before;

/// A question that nobody answered was heard within this, or never.
const LATEST_MS: u64 = 60_000;

/// Everything that was told, and the harm that was found.
#[derive(Default)]
pub(super) struct Oracle {
    memories: Mutex<HashMap<Name, Memory>>,
    harms: Mutex<Vec<(Harm, String)>>,
    room: Mutex<Room>,
    /// For each start of the server, when it was begun and when it was over.
    openings: Mutex<Vec<(u64, u64)>>,
}

/// How much room the server's disk has, as far as the attacker has seen to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// Nothing may be refused for want of room.
    #[default]
    Enough,
    /// Whatever makes more work may be refused; settles and verdicts may not.
    Low,
    /// Everything may be refused.
    None,
}

/// A lapse as it was handed to somebody.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    pub(super) delivery: String,
    pub(super) due: u64,
    pub(super) at: u64,
    pub(super) attempt: u32,
    pub(super) payload: Value,
}

impl Handed {
    /// The lapse that this JSON shows: a webhook's `data`, or one of a lease's `deliveries`.
    pub(super) fn read(json: &Value) -> Option<(Name, Handed)> {
        let name = Name::of(json["queue"].as_str()?, json["key"].as_str()?)?;
        let delivery = json["delivery_id"].as_str().or(json["id"].as_str())?.to_owned();
        let handed = Handed {
            delivery,
            due: instant(&json["due"])?,
            at: instant(&json["lapsed_at"])?,
            attempt: u32::try_from(json["attempt"].as_u64()?).ok()?,
            payload: json["payload"].clone(),
        };
        Some((name, handed))
    }
}

/// Milliseconds since 1970 of an instant as the server shows it.
pub(super) fn instant(shown: &Value) -> Option<u64> {
    duly::units::instant(shown.as_str()?).ok().map(duly_engine::time::Time::millis)
}

impl Oracle {
    /// From now on the disk may have so much room.
    pub(super) fn set_room(&self, room: Room) {
        *self.room.lock().expect("nothing panics while it is held") = room;
    }

    /// The server was launched and has opened; it did so between these times.
    pub(super) fn opened(&self, launched: u64, ready: u64) {
        self.openings.lock().expect("nothing panics while it is held").push((launched, ready));
    }

    /// What was to lapse then had to lapse if nobody settled it before: it was not overdue when the
    /// server opened that was there at this time.
    fn had_to_lapse(&self, lapse_at: u64, now: u64) -> bool {
        let openings = self.openings.lock().expect("nothing panics while it is held");
        let last = openings.iter().rev().find(|(launched, _)| *launched <= now);
        now >= lapse_at && last.is_some_and(|(_, ready)| *ready < lapse_at)
    }

    /// Somebody is about to ask this; what was known by then.
    pub(super) fn asks(&self, name: Name, asked: &Asked, now: u64) -> Before {
        if name.is_set_again() {
            return Before::default();
        }
        let mut memories = self.memories();
        let memory = memories.entry(name).or_default();
        let before = memory.before(now);
        match asked {
            Asked::Schedule { when: When::DueMs(due), .. } => {
                memory.scheduled = memory.scheduled.max(*due);
            }
            Asked::Schedule { when: When::AfterMs(span), .. } => {
                memory.scheduled = memory.scheduled.max(now + span + LATEST_MS);
            }
            Asked::Extend { by: By::LaterMs(span), .. } => memory.extended_by += span,
            Asked::Extend { by: By::DueMs(due), .. } => memory.moved = memory.moved.max(*due),
            Asked::Settle { outcome, .. } if !memory.outcomes.contains(outcome) => {
                memory.outcomes.push(outcome.clone());
            }
            _ => {}
        }
        before
    }

    /// Judges an answer; gives it back as a history keeps it, if it can be understood.
    pub(super) fn told(
        &self,
        name: Name,
        asked: &Asked,
        before: Before,
        reply: &Reply,
    ) -> Option<Told> {
        let Reply { body, .. } = reply;
        let told = match reply.told() {
            Ok(told) => told,
            Err(why) => {
                self.harm(Harm::Wrong, name, &format!("{asked:?} is answered {body}: {why}"));
                return None;
            }
        };
        if name.is_set_again() {
            return Some(told);
        }
        let mut memories = self.memories();
        let memory = memories.entry(name).or_default();
        let judge = Judge { oracle: self, name, memory, before };
        judge.answer(asked, &told, &body["deadline"]);
        Some(told)
    }

    /// A lapse was handed to somebody.
    pub(super) fn handed(&self, name: Name, handed: &Handed) {
        let mut memories = self.memories();
        let memory = memories.entry(name).or_default();
        let before = memory.before(0);
        Judge { oracle: self, name, memory, before }.handed(handed);
    }

    /// A lapse was leased to a worker, until then, for so long.
    pub(super) fn leased(&self, name: Name, handed: &Handed, until: u64, span: u64) {
        self.handed(name, handed);
        let mut memories = self.memories();
        let memory = memories.entry(name).or_default();
        let attempt = handed.attempt;
        match memory.lease {
            Some(last)
                if last.attempt < attempt && !last.given_back && until - span < last.until =>
            {
                let why = format!("leased again {} ms too soon", last.until - (until - span));
                self.harm(Harm::Double, name, &why);
            }
            _ => {}
        }
        if memory.lease.is_none_or(|last| last.attempt < attempt) {
            memory.lease = Some(Hold { attempt, until, given_back: false });
        }
    }

    /// A worker is about to give its lease back.
    pub(super) fn gives_back(&self, name: Name, attempt: u32) {
        if let Some(lease) = &mut self.memories().entry(name).or_default().lease
            && lease.attempt == attempt
        {
            lease.given_back = true;
        }
    }

    /// A worker was told that it keeps its lease until then.
    pub(super) fn keeps(&self, name: Name, attempt: u32, until: u64) {
        if let Some(lease) = &mut self.memories().entry(name).or_default().lease
            && lease.attempt == attempt
        {
            lease.until = lease.until.max(until);
        }
    }

    /// A worker was told that its verdict `done` is taken.
    pub(super) fn done(&self, name: Name, attempt: u32) {
        self.memories().entry(name).or_default().done = Some(attempt);
    }

    /// How many settled, and how many lapsed.
    pub(super) fn outcomes(&self) -> (u64, u64) {
        let memories = self.memories();
        let count = |is: fn(&Winner) -> bool| {
            memories.values().filter(|memory| memory.winner.as_ref().is_some_and(is)).count() as u64
        };
        let settled = count(|winner| matches!(winner, Winner::Settled { .. }));
        (settled, count(|winner| matches!(winner, Winner::Lapsed { .. })))
    }

    /// Every delivery has an id of its own.
    pub(super) fn judge_ids(&self) {
        let mut owners: HashMap<String, Name> = HashMap::new();
        for (name, memory) in &*self.memories() {
            let Some(Winner::Lapsed { delivery, .. }) = &memory.winner else { continue };
            if let Some(other) = owners.insert(delivery.clone(), *name) {
                self.harm(Harm::IdChanged, *name, &format!("its id is that of {}", other.key()));
            }
        }
    }

    /// Those that should be over by then and are not, as far as anybody knows.
    pub(super) fn unfinished(&self, now: u64) -> Vec<Name> {
        let memories = self.memories();
        let mut names: Vec<Name> = memories
            .iter()
            .filter(|(_, memory)| memory.exists && memory.due_most() < now && memory.done.is_none())
            .filter(|(_, memory)| !matches!(memory.winner, Some(Winner::Settled { .. })))
            .map(|(name, _)| *name)
            .collect();
        names.sort_unstable();
        names
    }

    /// Writes harm down.
    pub(super) fn harm(&self, harm: Harm, name: Name, why: &str) {
        self.found(harm, format!("{}/{}: {why}", name.queue(), name.key()));
    }

    /// Writes down harm that is not about one deadline.
    pub(super) fn found(&self, harm: Harm, why: String) {
        self.harms.lock().expect("nothing panics while it is held").push((harm, why));
    }

    /// Takes the harm that was found so far.
    pub(super) fn take_harms(&self) -> Vec<(Harm, String)> {
        std::mem::take(&mut *self.harms.lock().expect("nothing panics while it is held"))
    }

    fn memories(&self) -> MutexGuard<'_, HashMap<Name, Memory>> {
        self.memories.lock().expect("nothing panics while it is held")
    }
}

/// One piece of evidence against one memory.
struct Judge<'a> {
    oracle: &'a Oracle,
    name: Name,
    memory: &'a mut Memory,
    before: Before,
}

impl Judge<'_> {
    fn harm(&self, harm: Harm, why: &str) {
        self.oracle.harm(harm, self.name, why);
    }

    fn answer(mut self, asked: &Asked, told: &Told, deadline: &Value) {
        match told {
            Told::Scheduled { created, seen } => {
                if *created && self.memory.exists && self.before.exists {
                    self.harm(Harm::Lost, "was there and is created again");
                }
                self.record(seen, deadline);
            }
            Told::Settled { result, seen } => {
                if *result == SettleResult::Settled {
                    self.settle_won();
                }
                let fits = match (result, &seen.phase) {
                    (SettleResult::TooLate(_), Phase::Lapsed { .. }) => true,
                    (SettleResult::TooLate(_), _) | (_, Phase::Lapsed { .. } | Phase::Pending) => {
                        false
                    }
                    (_, Phase::Settled { outcome, .. }) => {
                        let Asked::Settle { outcome: wanted, .. } = asked else { return };
                        (outcome == wanted) == (*result != SettleResult::Otherwise)
                    }
                };
                if !fits {
                    self.harm(Harm::Wrong, &format!("{result:?} shows {:?}", seen.phase));
                }
                self.record(seen, deadline);
            }
            Told::Record(seen) => {
                self.granted(asked, seen);
                self.record(seen, deadline);
            }
            Told::Refused { code, seen } => {
                self.refused(asked, code);
                if let Some(seen) = seen {
                    self.record(seen, deadline);
                }
            }
            Told::Done => self.done(asked),
            Told::Pending { due } => self.pending(*due, deadline),
            Told::NotPending => self.not_pending(),
            Told::Remembered { .. } | Told::Handed { .. } | Told::Erased => {
                self.harm(Harm::Wrong, &format!("{asked:?} is answered {told:?}"));
            }
        }
    }

    fn settle_won(&mut self) {
        self.memory.settles_won += 1;
        if self.memory.settles_won > 1 {
            self.harm(Harm::Double, "two settles were told that they made it");
        }
    }

    /// It was done, and no record was shown.
    fn done(&mut self, asked: &Asked) {
        self.memory.exists = true;
        if self.before.has_winner {
            let why = format!("{asked:?} is done after {:?}", self.memory.winner);
            self.harm(Harm::Lost, &why);
        }
        match asked {
            Asked::Schedule { .. } if self.before.exists => {
                self.harm(Harm::Lost, "was there and is created again");
            }
            Asked::Schedule { when: When::DueMs(due), .. }
            | Asked::Extend { by: By::DueMs(due), .. } => self.due(*due, self.before.due_least),
            Asked::Schedule { when: When::AfterMs(span), .. } => {
                self.memory.due_least = self.memory.due_least.max(self.before.at + span);
                self.memory.scheduled = wall_ms() + span;
            }
            Asked::Settle { outcome, .. } => {
                self.settle_won();
                self.won(Winner::Settled { outcome: outcome.clone(), at: None });
            }
            _ => self.harm(Harm::Wrong, &format!("{asked:?} is done, and nothing is shown")),
        }
    }

    /// It was pending, and perhaps due then.
    fn pending(&mut self, due: Option<When>, deadline: &Value) {
        self.memory.exists = true;
        if self.before.has_winner {
            let why = format!("pending again after {:?}", self.memory.winner);
            self.harm(Harm::Lost, &why);
        }
        if let Some(payload) = deadline.get("payload")
            && *payload != self.name.payload()
        {
            self.harm(Harm::Lost, &format!("its payload is {payload}"));
        }
        match due {
            Some(When::DueMs(due)) => self.due(due, self.before.due_least),
            Some(When::AfterMs(left)) if wall_ms() + left < self.before.due_least => {
                let why = format!("{left} ms are left, and {} was told", self.before.due_least);
                self.harm(Harm::Lost, &why);
            }
            _ => {}
        }
    }

    /// It was not pending. What was told to be there, nobody settles and cannot have lapsed, is lost.
    fn not_pending(&self) {
        let Before { exists, has_winner, due_least, frozen_least, .. } = self.before;
        let unsettled = !has_winner && self.memory.outcomes.is_empty();
        if exists && unsettled && wall_ms() < due_least.max(frozen_least) {
            self.harm(Harm::Lost, "is gone before its time, and nobody settled it");
        }
    }

    /// What was asked for and granted is there.
    fn granted(&self, asked: &Asked, seen: &Seen) {
        let is_so = match asked {
            Asked::Extend { by: By::LaterMs(span), .. } => {
                seen.phase == Phase::Pending && seen.due_ms >= self.before.due_least + span
            }
            Asked::Freeze { for_ms } => {
                seen.phase == Phase::Pending && seen.frozen_ms >= self.before.at + for_ms
            }
            _ => true,
        };
        if !is_so {
            self.harm(Harm::Wrong, &format!("{asked:?} is granted and shows {seen:?}"));
        }
    }

    /// A refusal has a reason that can be.
    fn refused(&self, asked: &Asked, code: &str) {
        let changes = matches!(asked, Asked::Extend { .. } | Asked::Freeze { .. });
        let room = *self.oracle.room.lock().expect("nothing panics while it is held");
        match code {
            "unknown_deadline" if self.before.exists => {
                self.harm(Harm::Lost, &format!("is gone ({asked:?})"));
            }
            "unknown_deadline" if !matches!(asked, Asked::Schedule { .. }) => {}
            "too_late" | "already_settled" | "not_later" if changes => {}
            "storage_low"
                if room >= Room::Low && (changes || matches!(asked, Asked::Schedule { .. })) => {}
            "storage_full" if room == Room::None => {}
            _ => self.harm(Harm::Wrong, &format!("{asked:?} is refused: {code}")),
        }
    }

    fn record(&mut self, seen: &Seen, deadline: &Value) {
        self.memory.exists = true;
        if deadline["payload"] != self.name.payload() {
            self.harm(Harm::Lost, &format!("its payload is {}", deadline["payload"]));
        }
        if seen.generation != 1 {
            self.harm(Harm::Wrong, &format!("generation {}", seen.generation));
        }
        self.due(seen.due_ms, self.before.due_least);
        if seen.frozen_ms < self.before.frozen_least {
            self.harm(Harm::Lost, &format!("its freeze is gone: {}", seen.frozen_ms));
        }
        self.memory.frozen_least = self.memory.frozen_least.max(seen.frozen_ms);
        match &seen.phase {
            Phase::Pending if self.before.has_winner => {
                let why = format!("pending again after {:?}", self.memory.winner);
                self.harm(Harm::Lost, &why);
            }
            Phase::Pending => {}
            Phase::Settled { outcome, at_ms } => {
                if !self.memory.outcomes.contains(outcome) {
                    self.harm(Harm::Wrong, &format!("nobody settled it as {outcome}"));
                }
                let lapse_at = seen.due_ms.max(seen.frozen_ms);
                if self.oracle.had_to_lapse(lapse_at, *at_ms) {
                    let late = at_ms - lapse_at;
                    self.harm(Harm::Wrong, &format!("settled {late} ms after its time was over"));
                }
                self.won(Winner::Settled { outcome: outcome.clone(), at: Some(*at_ms) });
            }
            Phase::Lapsed { at_ms, delivery, .. } => {
                self.lapsed(deadline["delivery"]["id"].as_str(), *at_ms, seen.due_ms);
                match delivery {
                    Delivery::Done => {
                        let attempts = deadline["delivery"]["attempts"].as_u64().unwrap_or(0);
                        let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
                        self.memory.done.get_or_insert(attempts);
                    }
                    Delivery::Superseded | Delivery::Dead => {
                        self.harm(Harm::Wrong, &format!("its delivery is {delivery:?}"));
                    }
                    Delivery::Ready | Delivery::Leased if self.before.is_done => {
                        self.harm(Harm::Lost, &format!("done, and {delivery:?} again"));
                    }
                    Delivery::Ready | Delivery::Leased => {}
                }
            }
        }
    }

    fn handed(mut self, handed: &Handed) {
        let Handed { delivery, due, at, attempt, payload } = handed;
        self.memory.exists = true;
        if matches!(self.memory.winner, Some(Winner::Settled { .. })) {
            self.harm(Harm::Ghost, &format!("settled, and attempt {attempt} was begun"));
            return;
        }
        if *payload != self.name.payload() {
            self.harm(Harm::Lost, &format!("handed out with payload {payload}"));
        }
        if let Some(done) = self.memory.done.filter(|done| done < attempt) {
            let why = format!("done with attempt {done}, and attempt {attempt} was begun");
            self.harm(Harm::Double, &why);
        }
        let bit = 1_u64.checked_shl(*attempt).unwrap_or(0);
        if self.memory.attempts & bit != 0 {
            self.harm(Harm::Double, &format!("attempt {attempt} was begun twice"));
        }
        self.memory.attempts |= bit;
        self.due(*due, self.memory.due_least);
        self.lapsed(Some(delivery), *at, *due);
    }

    /// A due time was shown; one at least this late had been told.
    fn due(&mut self, due: u64, least: u64) {
        if due < least {
            self.harm(Harm::Lost, &format!("due {due}, and {least} was told: an extension"));
        }
        if due > self.memory.due_most() {
            self.harm(Harm::Wrong, &format!("due {due}, which nobody asked for"));
        }
        self.memory.due_least = self.memory.due_least.max(due);
    }

    /// It lapsed at that time, due at that one.
    fn lapsed(&mut self, delivery: Option<&str>, at: u64, due: u64) {
        let not_before = due.max(self.memory.frozen_least);
        if at < not_before {
            self.harm(Harm::Early, &format!("lapsed {} ms too early", not_before - at));
        }
        if self.memory.due_least > due {
            let why =
                format!("lapsed at its due time {due}, and {} was told", self.memory.due_least);
            self.harm(Harm::Lost, &why);
        }
        let delivery = delivery.unwrap_or_default().to_owned();
        self.won(Winner::Lapsed { delivery, at, due });
    }

    /// There is one winner, and it never changes.
    fn won(&mut self, winner: Winner) {
        let Some(known) = &self.memory.winner else {
            self.memory.winner = Some(winner);
            return;
        };
        if known.may_be(&winner) {
            if matches!(known, Winner::Settled { at: None, .. }) {
                self.memory.winner = Some(winner);
            }
            return;
        }
        let harm = match (known, &winner) {
            (Winner::Lapsed { delivery: one, .. }, Winner::Lapsed { delivery: other, .. }) => {
                if one == other { Harm::Double } else { Harm::IdChanged }
            }
            _ => Harm::Lost,
        };
        let why = format!("{known:?} was told, and now {winner:?}");
        self.harm(harm, &why);
    }
}
