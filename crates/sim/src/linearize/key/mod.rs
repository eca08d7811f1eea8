//! What one key may be and do, one operation after another: the promises of SPEC section 2 once
//! more, in the fewest words, and independent of the engine's.
//!
//! A [`State`] is what is known of the key; what nobody has seen is a range. Between operations the
//! key moves by itself: a lapse when its time is over, leases and their ends, the acts of whoever
//! serves the queue, forgetting. None of that is searched for. An answer shows where the key stood,
//! and [`State::met`] says whether it can have got there. A lapse may come late (it is withheld
//! under the clock guard, by a pause, on a full disk, after downtime), so only an early one is
//! judged.

mod answered;
mod range;
mod refused;
mod thin;
mod unseen;

pub(super) use range::Range;

use crate::history::{Asked, Delivery, IfExists, Phase, Rules, Seen, Told, Verdict, When};

/// How long a settle may be remembered at most.
const REMEMBER_MS: u64 = 7 * 24 * 3_600_000;

/// One operation as the specification sees it: between these times of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'h> {
    pub(super) asked: &'h Asked,
    /// Nothing: it took effect, and nobody knows what was answered.
    pub(super) told: Option<&'h Told>,
    /// Not before and not after, milliseconds.
    pub(super) window: Range,
    pub(super) rules: &'h Rules,
}

impl Call<'_> {
    /// Can it change nothing, by what was asked or by what was answered? Who was only told that
    /// something is pending may have looked at any generation: that says when it was so, and is no
    /// mere look.
    pub(super) fn only_looks(&self) -> bool {
        let is_told = self.told.is_some_and(|told| !matches!(told, Told::Pending { .. }));
        let is_look = matches!(self.asked, Asked::Get) && is_told;
        is_look || matches!(self.told, Some(Told::Refused { .. } | Told::NotPending))
    }
}

/// Why not.
pub(super) type Why = &'static str;

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State<'h> {
    /// There is nothing; numbers up to this one were used for it.
    Absent { used: u64 },
    /// A settle that came first.
    Remembered { outcome: &'h str, until: Range, used: u64 },
    /// Open; it was so at this time, so it did not lapse before.
    Pending { life: Life, since: u64 },
    /// Settled.
    Settled { life: Life, outcome: &'h str, at: Range },
    /// Lapsed.
    Lapsed { life: Life, at: Range, duty: Duty },
}

/// One generation of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// Nobody has seen it if there is none.
    id: Option<u64>,
    generation: u32,
    due: Range,
    /// The end of its last freeze.
    frozen: Range,
}

/// How far acting on a lapse was when it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Duty {
    delivery: Delivery,
    attempts: u32,
    hold: Hold,
}

/// Under which lease the last attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// Under none that counts.
    None,
    /// Under this.
    Token(u64),
    /// Nobody saw.
    Unseen,
}

impl Hold {
    fn may_be(self, token: u64) -> bool {
        self == Hold::Unseen || self == Hold::Token(token)
    }
}

impl Life {
    fn covers(self, other: Life) -> bool {
        (self.id.is_none() || self.id == other.id)
            && self.generation == other.generation
            && self.due.covers(other.due)
            && self.frozen.covers(other.frozen)
    }

    /// It as it was seen; nothing if it cannot be the same.
    fn met(self, seen: &Seen, rules: &Rules) -> Result<Life, Why> {
        if self.id.is_some_and(|id| id != seen.id) {
            return Err("it is another deadline");
        }
        if self.generation != seen.generation {
            return Err("it is another generation");
        }
        if !self.due.holds(seen.due_ms) && !rules.shifted {
            return Err("it is due at another time");
        }
        if !self.frozen.holds(seen.frozen_ms) {
            return Err("it is frozen until another time");
        }
        Ok(Life::seen(seen))
    }

    fn seen(seen: &Seen) -> Life {
        Life {
            id: Some(seen.id),
            generation: seen.generation,
            due: Range::at(seen.due_ms),
            frozen: Range::at(seen.frozen_ms),
        }
    }

    /// The earliest time at which it may lapse.
    fn over(self) -> u64 {
        self.due.from.max(self.frozen.from)
    }

    /// The same where its due time may have been moved unseen.
    fn over_unseen(self, rules: &Rules) -> u64 {
        if rules.shifted { 0 } else { self.over() }
    }

    /// A life that began unseen.
    fn unseen(generation: u32, due: Range) -> Life {
        Life { id: None, generation, due, frozen: Range::at(0) }
    }
}

impl Duty {
    fn covers(self, other: Duty) -> bool {
        (self.delivery, self.attempts) == (other.delivery, other.attempts)
            && (self.hold == other.hold || self.hold == Hold::Unseen)
    }

    const NEW: Duty = Duty { delivery: Delivery::Ready, attempts: 0, hold: Hold::None };

    /// Where acting on it has come by itself, if it was seen there.
    fn met(self, delivery: Delivery, attempts: u32, rules: &Rules) -> Result<Duty, Why> {
        use Delivery::{Dead, Done, Leased, Ready, Superseded};
        let Duty { delivery: before, attempts: begun, .. } = self;
        if attempts < begun {
            return Err("fewer attempts than before");
        }
        let more = attempts > begun;
        let still = before == delivery && !more;
        match (before, delivery) {
            _ if still => Ok(self),
            (Done | Superseded | Dead, _) => Err("its delivery was over"),
            (_, Done | Superseded) if !rules.served => Err("nobody took a verdict for it"),
            (Ready, Leased | Dead | Superseded) if !more => Err("no attempt was made"),
            (Ready | Leased, _) => Ok(Duty { delivery, attempts, hold: Hold::Unseen }),
        }
    }

    /// May it be over by now?
    fn may_be_final(self, rules: &Rules) -> bool {
        match self.delivery {
            Delivery::Done | Delivery::Superseded => true,
            Delivery::Dead => false,
            Delivery::Ready | Delivery::Leased => rules.served,
        }
    }
}

impl<'h> State<'h> {
    /// Has nothing happened to the key but that it was looked at?
    pub(in crate::linearize) fn is_still(self, after: State<'h>) -> bool {
        match (self, after) {
            (State::Pending { life, .. }, State::Pending { life: later, .. }) => life == later,
            _ => self == after,
        }
    }

    /// Is everything that can follow the other possible after this one too?
    pub(in crate::linearize) fn covers(self, other: State<'h>) -> bool {
        match (self, other) {
            (State::Absent { used }, State::Absent { used: other }) => used <= other,
            (
                State::Remembered { outcome, until, used },
                State::Remembered { outcome: word, until: other, used: numbers },
            ) => outcome == word && until.covers(other) && used <= numbers,
            (State::Pending { life, since }, State::Pending { life: other, since: later }) => {
                life.covers(other) && since <= later
            }
            (
                State::Settled { life, outcome, at },
                State::Settled { life: other, outcome: word, at: then },
            ) => outcome == word && life.covers(other) && at.covers(then),
            (
                State::Lapsed { life, at, duty },
                State::Lapsed { life: other, at: then, duty: done },
            ) => at.covers(then) && life.covers(other) && duty.covers(done),
            _ => false,
        }
    }

    /// Where the key got by itself, if this was seen of it.
    fn met(self, seen: &'h Seen, call: Call<'h>) -> Result<State<'h>, Why> {
        let rules = call.rules;
        match (self, &seen.phase) {
            (State::Absent { .. } | State::Remembered { .. }, _) => Err("there is none"),
            (State::Pending { life, since }, Phase::Pending) => {
                let life = life.met(seen, rules)?;
                Ok(State::Pending { life, since: since.max(call.window.from) })
            }
            (State::Pending { life, since }, Phase::Lapsed { at_ms, delivery, attempts }) => {
                let life = life.met(seen, rules)?;
                let at = lapsed(life, since, *at_ms, call)?;
                let duty = Duty::NEW.met(*delivery, *attempts, rules)?;
                Ok(State::Lapsed { life, at, duty })
            }
            (State::Pending { .. }, Phase::Settled { .. }) => Err("nobody settled it"),
            (State::Settled { life, outcome, at }, Phase::Settled { outcome: word, at_ms }) => {
                let life = life.met(seen, rules)?;
                if outcome != word {
                    return Err("it was settled with another outcome");
                }
                if !at.holds(*at_ms) {
                    return Err("it was settled at another time");
                }
                Ok(State::Settled { life, outcome, at: Range::at(*at_ms) })
            }
            (State::Settled { .. }, _) => Err("it was settled"),
            (State::Lapsed { life, at, duty }, Phase::Lapsed { at_ms, delivery, attempts }) => {
                let life = life.met(seen, rules)?;
                if !at.holds(*at_ms) {
                    return Err("it lapsed at another time");
                }
                let at = Range::at(*at_ms);
                let duty = duty.met(*delivery, *attempts, rules)?;
                Ok(State::Lapsed { life, at, duty })
            }
            (State::Lapsed { .. }, _) => Err("it had lapsed"),
        }
    }

    /// If there may be nothing by now: the greatest number used.
    fn absent(self, call: Call<'h>) -> Result<u64, Why> {
        let kept = |since: u64| {
            call.rules.kept_ms.is_some_and(|kept| call.window.to >= since.saturating_add(kept))
        };
        match self {
            State::Absent { used } => Ok(used),
            State::Remembered { until, used, .. } if until.from <= call.window.to => Ok(used),
            State::Settled { life, at, .. } if kept(at.from) => Ok(life.id.unwrap_or(0)),
            State::Lapsed { life, at, duty } if duty.may_be_final(call.rules) && kept(at.from) => {
                Ok(life.id.unwrap_or(0))
            }
            // It may have lapsed and ended, too, without anybody having seen it.
            State::Pending { life, since } if call.rules.served => {
                let over = life.over_unseen(call.rules).max(since);
                if kept(over) { Ok(life.id.unwrap_or(0)) } else { Err("it is there") }
            }
            _ => Err("it is there"),
        }
    }

    /// If it may be final by now, this generation of it.
    fn finished(self, call: Call<'h>) -> Result<Life, Why> {
        match self {
            State::Settled { life, .. } => Ok(life),
            State::Lapsed { life, duty, .. } if duty.may_be_final(call.rules) => Ok(life),
            State::Pending { life, .. } if call.rules.served => {
                let is_over = life.over_unseen(call.rules) <= call.window.to;
                if is_over { Ok(life) } else { Err("it is not final") }
            }
            _ => Err("it is not final"),
        }
    }

    /// The generation that a schedule may follow.
    fn replaceable(self, if_exists: IfExists, call: Call<'h>) -> Result<Life, Why> {
        match (if_exists, self) {
            (_, State::Remembered { .. }) => Err("a settle was remembered for it"),
            (IfExists::Replace, State::Pending { life, .. }) => Ok(life),
            (IfExists::Replace | IfExists::Renew, _) => self.finished(call),
            (IfExists::Keep | IfExists::Fail, _) => Err("it was there already"),
        }
    }

    fn is_pending_in(self, generation: u32) -> bool {
        matches!(self, State::Pending { life, .. } if life.generation == generation)
    }

    fn pending(self) -> Result<(Life, u64), Why> {
        match self {
            State::Pending { life, since } => Ok((life, since)),
            _ => Err("it was not pending any more"),
        }
    }

    fn generation(self) -> Option<u32> {
        match self {
            State::Absent { .. } | State::Remembered { .. } => None,
            State::Pending { life, .. }
            | State::Settled { life, .. }
            | State::Lapsed { life, .. } => Some(life.generation),
        }
    }
}

/// A lapse at that time, if it may have been then.
fn lapsed(life: Life, since: u64, at_ms: u64, call: Call<'_>) -> Result<Range, Why> {
    if at_ms < life.over() {
        return Err("it lapsed before its time was over");
    }
    if at_ms < since {
        return Err("it was still pending after it had lapsed");
    }
    if at_ms > call.window.to {
        return Err("it lapsed in the future");
    }
    Ok(Range::at(at_ms))
}

/// When something scheduled now is due.
fn due(when: When, window: Range) -> Range {
    match when {
        When::AfterMs(after) => window.later(after),
        When::DueMs(due) => Range::at(due),
        When::Default => Range { from: window.from, to: u64::MAX },
    }
}

fn is_final(phase: &Phase) -> bool {
    match phase {
        Phase::Pending => false,
        Phase::Settled { .. } => true,
        Phase::Lapsed { delivery, .. } => {
            matches!(delivery, Delivery::Done | Delivery::Superseded)
        }
    }
}

/// May a verdict lead there?
fn ends(verdict: Verdict, delivery: Delivery) -> bool {
    matches!(
        (verdict, delivery),
        (Verdict::Done, Delivery::Done)
            | (Verdict::Superseded, Delivery::Superseded)
            | (Verdict::Dead | Verdict::Retry, Delivery::Dead)
            | (Verdict::Retry, Delivery::Ready)
    )
}
