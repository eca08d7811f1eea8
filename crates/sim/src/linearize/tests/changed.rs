//! Histories that are right but for one answer.

use crate::dice::Dice;
use crate::history::{Delivery, History, Operation, Phase, Seen, SettleResult, Told};

/// What is done to an answer. Nothing (false) where it cannot be done.
pub(super) struct Change {
    pub(super) name: &'static str,
    /// Of a hundred such histories at least so many must be rejected: some changes tell something
    /// else that may be.
    pub(super) floor: u64,
    change: fn(&mut Told, &mut Dice) -> bool,
}

/// Every way of changing an answer.
pub(super) const CHANGES: &[Change] = &[
    Change { name: "another generation", floor: 95, change: other_generation },
    Change { name: "due at another time", floor: 95, change: other_due },
    Change { name: "another number", floor: 95, change: other_id },
    Change { name: "settled is pending", floor: 75, change: unsettled },
    Change { name: "lapsed is pending", floor: 80, change: unlapsed },
    Change { name: "pending is lapsed", floor: 95, change: lapsed_early },
    Change { name: "lapsed at another time", floor: 70, change: lapsed_otherwise },
    Change { name: "two winners", floor: 99, change: second_winner },
    Change { name: "the winner lost", floor: 99, change: no_winner },
    Change { name: "another outcome", floor: 95, change: other_outcome },
    Change { name: "fewer attempts", floor: 90, change: fewer_attempts },
    Change { name: "another end", floor: 80, change: other_end },
    Change { name: "made but not made", floor: 90, change: not_created },
    Change { name: "not made but made", floor: 95, change: created },
    Change { name: "there is none", floor: 85, change: gone },
];

/// Makes one change to one answer of a history, if there is one that can be changed so. Says whose.
pub(super) fn changed(history: &mut History, change: &Change, dice: &mut Dice) -> Option<usize> {
    let first = dice.index(history.operations.len());
    let count = history.operations.len();
    (first..first + count).map(|index| index % count).find(|&index| {
        let Operation { told, .. } = &mut history.operations[index];
        told.as_mut().is_some_and(|(_, told)| (change.change)(told, dice))
    })
}

fn seen(told: &mut Told) -> Option<&mut Seen> {
    match told {
        Told::Scheduled { seen, .. } | Told::Settled { seen, .. } | Told::Record(seen) => {
            Some(seen)
        }
        Told::Refused { seen, .. } => seen.as_mut(),
        Told::Remembered { .. }
        | Told::Handed { .. }
        | Told::Erased
        | Told::Done
        | Told::Pending { .. }
        | Told::NotPending => None,
    }
}

fn other_generation(told: &mut Told, dice: &mut Dice) -> bool {
    seen(told).is_some_and(|seen| {
        let later = dice.percent(50) || seen.generation == 1;
        seen.generation = if later { seen.generation + 1 } else { seen.generation - 1 };
        true
    })
}

fn other_due(told: &mut Told, dice: &mut Dice) -> bool {
    seen(told).is_some_and(|seen| {
        let by = 100_000 + dice.below(1_000);
        seen.due_ms = if dice.percent(50) { seen.due_ms + by } else { seen.due_ms - by };
        true
    })
}

fn other_id(told: &mut Told, _: &mut Dice) -> bool {
    seen(told).is_some_and(|seen| {
        seen.id += 1_000;
        true
    })
}

/// A record read again as it was before: only where a plain record is shown.
fn read(told: &mut Told) -> Option<&mut Seen> {
    match told {
        Told::Record(seen) => Some(seen),
        _ => None,
    }
}

fn unsettled(told: &mut Told, _: &mut Dice) -> bool {
    read(told).is_some_and(|seen| {
        let settled = matches!(seen.phase, Phase::Settled { .. });
        if settled {
            seen.phase = Phase::Pending;
        }
        settled
    })
}

fn unlapsed(told: &mut Told, _: &mut Dice) -> bool {
    read(told).is_some_and(|seen| {
        let lapsed = matches!(seen.phase, Phase::Lapsed { .. });
        if lapsed {
            seen.phase = Phase::Pending;
        }
        lapsed
    })
}

fn lapsed_early(told: &mut Told, _: &mut Dice) -> bool {
    read(told).is_some_and(|seen| {
        let pending = seen.phase == Phase::Pending;
        if pending {
            let at_ms = seen.due_ms.max(seen.frozen_ms) - 1;
            seen.phase = Phase::Lapsed { at_ms, delivery: Delivery::Ready, attempts: 0 };
        }
        pending
    })
}

fn lapsed_otherwise(told: &mut Told, dice: &mut Dice) -> bool {
    seen(told).is_some_and(|seen| {
        let Phase::Lapsed { at_ms, .. } = &mut seen.phase else { return false };
        if dice.percent(50) {
            *at_ms += 1;
        } else {
            *at_ms -= 1;
        }
        true
    })
}

fn second_winner(told: &mut Told, _: &mut Dice) -> bool {
    let Told::Settled { result, .. } = told else { return false };
    let second = *result == SettleResult::Already;
    if second {
        *result = SettleResult::Settled;
    }
    second
}

fn no_winner(told: &mut Told, _: &mut Dice) -> bool {
    let Told::Settled { result, .. } = told else { return false };
    let won = *result == SettleResult::Settled;
    if won {
        *result = SettleResult::Already;
    }
    won
}

fn other_outcome(told: &mut Told, _: &mut Dice) -> bool {
    seen(told).is_some_and(|seen| {
        let Phase::Settled { outcome, .. } = &mut seen.phase else { return false };
        *outcome = if outcome == "paid" { "cancelled" } else { "paid" }.to_owned();
        true
    })
}

fn fewer_attempts(told: &mut Told, _: &mut Dice) -> bool {
    seen(told).is_some_and(|seen| {
        let Phase::Lapsed { attempts, .. } = &mut seen.phase else { return false };
        let some = *attempts > 0;
        *attempts = attempts.saturating_sub(1);
        some
    })
}

fn other_end(told: &mut Told, _: &mut Dice) -> bool {
    seen(told).is_some_and(|seen| {
        let Phase::Lapsed { delivery, .. } = &mut seen.phase else { return false };
        let (end, other) = match delivery {
            Delivery::Done => (true, Delivery::Superseded),
            Delivery::Superseded => (true, Delivery::Dead),
            Delivery::Dead => (true, Delivery::Done),
            Delivery::Ready | Delivery::Leased => (false, *delivery),
        };
        *delivery = other;
        end
    })
}

fn not_created(told: &mut Told, _: &mut Dice) -> bool {
    let Told::Scheduled { created, .. } = told else { return false };
    std::mem::replace(created, false)
}

fn created(told: &mut Told, _: &mut Dice) -> bool {
    let Told::Scheduled { created, .. } = told else { return false };
    !std::mem::replace(created, true)
}

fn gone(told: &mut Told, _: &mut Dice) -> bool {
    let is_record = matches!(told, Told::Record(_));
    if is_record {
        *told = Told::Refused { code: "unknown_deadline".to_owned(), seen: None };
    }
    is_record
}
