//! What an answer makes of a key: one verb after another.

use super::{Call, Duty, Hold, Life, REMEMBER_MS, Range, State, Why, due, ends, is_final, lapsed};
use crate::history::{
    Acted, Asked, By, Delivery, IfExists, Phase, Seen, SettleResult, Told, Verdict, When,
};

impl<'h> State<'h> {
    /// What the key may be after an operation, or why it cannot have been.
    pub(in crate::linearize) fn step(
        self,
        call: Call<'h>,
        mut after: impl FnMut(State<'h>),
    ) -> Result<(), Why> {
        let Some(told) = call.told else {
            self.unseen(call, &mut after);
            return Ok(());
        };
        let state = match (call.asked, told) {
            (Asked::Schedule { if_exists, when, over }, Told::Scheduled { created, seen }) => {
                if let Some(over) = over {
                    self.had(*over, *created, seen)?;
                }
                if *created {
                    self.scheduled(*if_exists, *when, seen, call)?
                } else {
                    let over = is_final(&seen.phase);
                    match if_exists {
                        IfExists::Keep => {}
                        IfExists::Renew if !over => {}
                        _ => return Err("it had to begin anew or be refused"),
                    }
                    self.met(seen, call)?
                }
            }
            (Asked::Settle { outcome, generation, .. }, Told::Settled { result, seen }) => {
                if generation.is_some_and(|wanted| wanted != seen.generation) {
                    return Err("the settle was for another generation");
                }
                self.settled(outcome, *result, seen, call)?
            }
            (Asked::Settle { .. }, Told::Remembered { until_ms }) => {
                self.remembered(*until_ms, call)?
            }
            (Asked::Extend { by, if_due_ms }, Told::Record(seen)) => {
                self.extended(*by, *if_due_ms, seen, call)?
            }
            (Asked::Freeze { for_ms }, Told::Record(seen)) => self.frozen(*for_ms, seen, call)?,
            (Asked::Get, Told::Record(seen)) => self.met(seen, call)?,
            (Asked::Revive, Told::Record(seen)) => self.revived(seen, call)?,
            (Asked::Verdict { generation, token, verdict }, Told::Record(seen)) => {
                if *generation != seen.generation {
                    return Err("the verdict was for another generation");
                }
                self.judged(*token, *verdict, seen, call)?
            }
            (Asked::Lease, Told::Handed { .. }) => self.handed(told, call)?,
            (Asked::Erase, Told::Erased) => self.erased(call)?,
            (_, Told::Done) => return self.done(call, after),
            (Asked::Get, Told::Pending { due }) => self.pending_until(*due, call)?,
            (Asked::Get | Asked::Settle { .. }, Told::NotPending) => self.not_pending(call)?,
            (_, Told::Refused { code, seen }) => {
                return self.refused(code, seen.as_ref(), call, after);
            }
            _ => return Err("no answer to this question"),
        };
        after(state);
        Ok(())
    }

    /// A schedule was to be over this generation, and was carried out.
    fn had(self, over: u32, created: bool, seen: &'h Seen) -> Result<(), Why> {
        let follows = if created {
            seen.generation == over + 1
        } else {
            seen.generation == over && seen.phase == Phase::Pending
        };
        if self.is_pending_in(over) && follows {
            Ok(())
        } else {
            Err("it was not pending in the generation that it was to be over")
        }
    }

    fn scheduled(
        self,
        if_exists: IfExists,
        when: When,
        seen: &'h Seen,
        call: Call<'h>,
    ) -> Result<State<'h>, Why> {
        let due = due(when, call.window);
        if !due.holds(seen.due_ms) {
            return Err("it is not due when it was asked to be");
        }
        if seen.frozen_ms != 0 {
            return Err("a new generation is not frozen");
        }
        let life = Life::seen(seen);
        if let Phase::Settled { outcome: word, at_ms } = &seen.phase {
            let State::Remembered { outcome, until, .. } = self else {
                return Err("no settle was remembered");
            };
            let in_time = call.window.from <= until.to && call.window.holds(*at_ms);
            return if outcome == word && seen.generation == 1 && in_time {
                Ok(State::Settled { life, outcome, at: Range::at(*at_ms) })
            } else {
                Err("this settle was not remembered")
            };
        }
        if seen.phase != Phase::Pending {
            return Err("what begins is pending");
        }
        let pending = State::Pending { life, since: call.window.from };
        if let Ok(used) = self.absent(call)
            && seen.generation == 1
        {
            return if seen.id > used { Ok(pending) } else { Err("its number was used before") };
        }
        let before = self.replaceable(if_exists, call)?;
        if before.id.is_some_and(|id| id != seen.id) {
            return Err("the next generation has the same number");
        }
        if seen.generation != before.generation + 1 {
            return Err("it is not the next generation");
        }
        Ok(pending)
    }

    fn settled(
        self,
        outcome: &'h str,
        result: SettleResult,
        seen: &'h Seen,
        call: Call<'h>,
    ) -> Result<State<'h>, Why> {
        match (result, &seen.phase) {
            (SettleResult::Settled, Phase::Settled { outcome: word, at_ms }) => {
                let State::Pending { life, since } = self else {
                    return Err("it was not pending any more");
                };
                let life = life.met(seen, call.rules)?;
                if word != outcome {
                    return Err("it was settled with the outcome asked for");
                }
                if *at_ms < since || !call.window.holds(*at_ms) {
                    return Err("it cannot have been settled at that time");
                }
                Ok(State::Settled { life, outcome, at: Range::at(*at_ms) })
            }
            (SettleResult::Already, Phase::Settled { outcome: word, .. }) if word == outcome => {
                self.met(seen, call)
            }
            (SettleResult::Otherwise, Phase::Settled { outcome: word, .. }) if word != outcome => {
                self.met(seen, call)
            }
            (SettleResult::TooLate(acted), Phase::Lapsed { delivery, attempts, .. })
                if acted == acted_on(*delivery, *attempts) =>
            {
                self.met(seen, call)
            }
            _ => Err("the answer contradicts the record that it shows"),
        }
    }

    fn remembered(self, until_ms: u64, call: Call<'h>) -> Result<State<'h>, Why> {
        let Asked::Settle { outcome, generation, remember_ms } = call.asked else {
            return Err("only a settle is remembered");
        };
        if generation.is_some_and(|wanted| wanted != 1) {
            return Err("only the first generation can be settled before it is");
        }
        let asked = remember_ms.map(|remember| call.window.later(remember.min(REMEMBER_MS)));
        let asked_for = asked.is_some_and(|asked| asked.holds(until_ms));
        let until = Range::at(until_ms);
        match self {
            State::Remembered { until: before, used, .. }
                if before.holds(until_ms) || (asked_for && until_ms >= before.from) =>
            {
                Ok(State::Remembered { outcome, until, used })
            }
            _ if asked_for => {
                let used = self.absent(call)?;
                Ok(State::Remembered { outcome, until, used })
            }
            _ => Err("it is not remembered for so long"),
        }
    }

    fn extended(
        self,
        by: By,
        if_due_ms: Option<u64>,
        seen: &'h Seen,
        call: Call<'h>,
    ) -> Result<State<'h>, Why> {
        let (before, since) = self.pending()?;
        if seen.phase != Phase::Pending {
            return Err("what is extended is pending");
        }
        let due_before = match by {
            By::LaterMs(more) => Some(seen.due_ms.saturating_sub(more)),
            By::AfterMs(after) if call.window.later(after).holds(seen.due_ms) => None,
            By::DueMs(due) if due == seen.due_ms => None,
            By::AfterMs(_) | By::DueMs(_) => return Err("it is not due when it was asked to be"),
        };
        if let Some((due, asked)) = due_before.zip(if_due_ms)
            && due != asked
        {
            return Err("it was due at another time");
        }
        let mut checked = before;
        if let Some(due) = due_before.or(if_due_ms)
            && !before.due.holds(due)
            && !call.rules.shifted
        {
            return Err("it was due at another time");
        }
        checked.due = Range::at(seen.due_ms);
        let life = checked.met(seen, call.rules)?;
        Ok(State::Pending { life, since: since.max(call.window.from) })
    }

    fn frozen(self, for_ms: u64, seen: &'h Seen, call: Call<'h>) -> Result<State<'h>, Why> {
        let (before, since) = self.pending()?;
        if seen.phase != Phase::Pending {
            return Err("what is frozen is pending");
        }
        let untouched = for_ms == 0 && before.frozen.holds(seen.frozen_ms);
        if !untouched && !call.window.later(for_ms).holds(seen.frozen_ms) {
            return Err("it is not frozen for as long as was asked");
        }
        let life = Life { frozen: Range::at(seen.frozen_ms), ..before }.met(seen, call.rules)?;
        Ok(State::Pending { life, since: since.max(call.window.from) })
    }

    /// It lapsed, and acting on it has come this far: as seen but for the last change.
    fn acted(self, seen: &'h Seen, call: Call<'h>) -> Result<(Life, Range, Duty), Why> {
        let Phase::Lapsed { at_ms, .. } = &seen.phase else {
            return Err("it had to be lapsed");
        };
        match self {
            State::Pending { life, since } => {
                let life = life.met(seen, call.rules)?;
                Ok((life, lapsed(life, since, *at_ms, call)?, Duty::NEW))
            }
            State::Lapsed { life, at, duty } if at.holds(*at_ms) => {
                Ok((life.met(seen, call.rules)?, Range::at(*at_ms), duty))
            }
            State::Lapsed { .. } => Err("it lapsed at another time"),
            _ => Err("it had not lapsed"),
        }
    }

    fn revived(self, seen: &'h Seen, call: Call<'h>) -> Result<State<'h>, Why> {
        let (life, at, duty) = self.acted(seen, call)?;
        match &seen.phase {
            Phase::Lapsed { delivery: Delivery::Ready, attempts, .. } => {
                let duty = duty.met(Delivery::Dead, *attempts, call.rules)?;
                let duty = Duty { delivery: Delivery::Ready, hold: Hold::None, ..duty };
                Ok(State::Lapsed { life, at, duty })
            }
            _ => Err("what is revived is ready"),
        }
    }

    fn judged(
        self,
        token: u64,
        verdict: Verdict,
        seen: &'h Seen,
        call: Call<'h>,
    ) -> Result<State<'h>, Why> {
        let Phase::Lapsed { delivery, attempts, .. } = &seen.phase else {
            return Err("what a verdict is about has lapsed");
        };
        if !ends(verdict, *delivery) {
            return Err("the verdict had another end");
        }
        if self.generation().is_some_and(|now| now > seen.generation) {
            // Of a life that is over; what is asked again is answered again.
            return Ok(self);
        }
        let (life, at, duty) = self.acted(seen, call)?;
        let ended = Duty { delivery: *delivery, attempts: *attempts, hold: Hold::Token(token) };
        let same = (duty.delivery, duty.attempts) == (*delivery, *attempts);
        if same && duty.hold.may_be(token) {
            return Ok(State::Lapsed { life, at, duty: ended });
        }
        // A queue may have come to need no target: what waited is done, and whoever says so is right.
        let closed = call.rules.served && *delivery == Delivery::Done;
        if closed && duty.met(*delivery, *attempts, call.rules).is_ok() && duty.hold.may_be(token) {
            return Ok(State::Lapsed { life, at, duty: ended });
        }
        let held = duty.met(Delivery::Leased, *attempts, call.rules)?;
        if held.hold.may_be(token) {
            Ok(State::Lapsed { life, at, duty: ended })
        } else {
            Err("it was not leased under this token")
        }
    }

    fn handed(self, told: &'h Told, call: Call<'h>) -> Result<State<'h>, Why> {
        let Told::Handed { id, generation, due_ms, lapsed_ms, attempt, token } = told else {
            return Err("no answer to this question");
        };
        let (State::Pending { life, .. } | State::Lapsed { life, .. }) = self else {
            return Err("there was nothing to act on");
        };
        let frozen_ms = life.frozen.from;
        let before = attempt.checked_sub(1).ok_or("attempts count from 1")?;
        let seen = Seen {
            id: *id,
            generation: *generation,
            due_ms: *due_ms,
            frozen_ms,
            phase: Phase::Pending,
        };
        let met = life.met(&seen, call.rules)?;
        let (at, duty) = match self {
            State::Pending { since, .. } => (lapsed(met, since, *lapsed_ms, call)?, Duty::NEW),
            State::Lapsed { at, duty, .. } if at.holds(*lapsed_ms) => (Range::at(*lapsed_ms), duty),
            _ => return Err("it lapsed at another time"),
        };
        let duty = duty.met(Delivery::Ready, before, call.rules)?;
        let hold = token.map_or(Hold::Unseen, Hold::Token);
        let duty = Duty { delivery: Delivery::Leased, attempts: duty.attempts + 1, hold };
        Ok(State::Lapsed { life: Life { frozen: life.frozen, ..met }, at, duty })
    }

    pub(super) fn erased(self, call: Call<'h>) -> Result<State<'h>, Why> {
        let life = match self {
            State::Remembered { used, .. } => return Ok(State::Absent { used }),
            // A delivery may have died meanwhile.
            State::Settled { life, .. } | State::Lapsed { life, .. } => life,
            State::Pending { life, .. } if life.over_unseen(call.rules) <= call.window.to => life,
            State::Pending { .. } => return Err("it was pending"),
            State::Absent { .. } => return Err("there is none"),
        };
        Ok(State::Absent { used: life.id.unwrap_or(0) })
    }
}

/// What a settle that came too late is told.
fn acted_on(delivery: Delivery, attempts: u32) -> Acted {
    match delivery {
        Delivery::Ready | Delivery::Leased if attempts == 0 => Acted::No,
        Delivery::Ready | Delivery::Leased => Acted::Maybe,
        Delivery::Done => Acted::Yes,
        Delivery::Superseded => Acted::Kept,
        Delivery::Dead => Acted::Never,
    }
}
