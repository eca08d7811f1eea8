//! What clients ask: any kind of request about a few keys, so that they get in each other's way.

use duly_engine::answer::Leased;
use duly_engine::command::{
    Address, Command, Count, Extend, ExtendBy, Filter, IfDue, IfExists, Scan, Schedule, Settle,
    Verdict, When,
};
use duly_engine::id::{Generation, Key, Outcome};
use duly_engine::time::{Span, Time};

use super::plan::{KINDS, Kind, Plan, policy};
use crate::dice::Dice;
use crate::oracle::Oracle;

/// Whatever a client thinks of next.
pub(super) fn command(
    plan: &Plan,
    dice: &mut Dice,
    oracle: &mut Oracle,
    old: &[Leased],
    heavy: bool,
) -> Command {
    let (mut kind, _) = KINDS[dice.weighted(&plan.weights)];
    if heavy && dice.percent(80) {
        kind = if dice.one_in(2) { Kind::Replace } else { Kind::Remember };
    }
    let mut at = plan.address(dice);
    if heavy && kind == Kind::Remember {
        // What only settles may still do when room is low, and as long as anything can be.
        at.key = Key::new(&format!("{:0>480}", dice.below(10_000))).expect("a long key");
    }
    let now = oracle.now();
    match kind {
        Kind::Keep => Command::Schedule(schedule(plan, dice, oracle, IfExists::Keep, heavy)),
        Kind::Replace => Command::Schedule(schedule(plan, dice, oracle, IfExists::Replace, heavy)),
        Kind::Renew => Command::Schedule(schedule(plan, dice, oracle, IfExists::Renew, heavy)),
        Kind::Fail => Command::Schedule(schedule(plan, dice, oracle, IfExists::Fail, heavy)),
        Kind::Over => {
            let if_exists = if dice.one_in(4) { IfExists::Keep } else { IfExists::Replace };
            let schedule = schedule(plan, dice, oracle, if_exists, heavy);
            let over = generation(&schedule.at, dice, oracle);
            Command::Schedule(Schedule { over: over.or(Some(Generation::FIRST)), ..schedule })
        }
        Kind::Settle => settle(at, dice, None, None),
        Kind::SettleGeneration => {
            let wanted = generation(&at, dice, oracle);
            settle(at, dice, wanted, None)
        }
        Kind::Remember => {
            let span = dice.span(Span::from_secs(1), Span::from_hours(6));
            settle(at, dice, None, Some(span))
        }
        Kind::Extend => {
            let known = oracle.glance(&at).map(|glance| IfDue::At(glance.due));
            let by = dice.span(Span::from_millis(1), Span::from_hours(3));
            let by = match dice.below(4) {
                0 | 1 => ExtendBy::Span(by),
                2 => ExtendBy::After(by),
                _ => ExtendBy::Due(now.plus(by)),
            };
            Command::Extend(Extend { at, by, if_due: known.filter(|_| dice.one_in(2)) })
        }
        Kind::Freeze => {
            let span = dice.span(Span::from_millis(1), Span::from_mins(10));
            Command::Freeze { at, span: if dice.one_in(5) { Span::ZERO } else { span } }
        }
        Kind::Scan => Command::Scan(Scan {
            queue: (!dice.one_in(4)).then_some(at.queue),
            from_slot: 0,
            filter: Filter::default(),
            after: None,
            limit: 1_000,
        }),
        Kind::Count => Command::Count(Count {
            queue: Some(at.queue),
            from_slot: 0,
            filter: Filter::default(),
            per: Span::from_mins(1),
        }),
        Kind::Waiting => {
            let limit = usize::try_from(dice.below(8)).expect("a small number");
            Command::Waiting { queue: at.queue, due: Time::ZERO..Time::NEVER, limit }
        }
        Kind::Claim => {
            let span = dice.span(Span::from_secs(1), Span::from_mins(3));
            Command::Lease { queue: at.queue, key: Some(at.key), max: 1, span }
        }
        Kind::Revive => Command::Revive(at),
        Kind::Erase => Command::Erase(at),
        Kind::OldVerdict if !old.is_empty() => {
            let leased = dice.pick(old);
            let (delivery, token) = (leased.id, leased.token);
            if dice.one_in(3) {
                Command::Touch { delivery, token, span: Span::from_secs(30) }
            } else {
                Command::Verdict { delivery, token, verdict: verdict(dice) }
            }
        }
        // Nobody has leased anything yet.
        Kind::OldVerdict | Kind::Get => Command::Get(at),
        Kind::PutQueue => {
            Command::PutQueue { queue: at.queue, policy: Box::new(policy(dice)), declared: None }
        }
        Kind::Pause => {
            let one = |dice: &mut Dice| dice.one_in(2).then(|| dice.one_in(3));
            let (deliveries, lapses) = (one(dice), one(dice));
            Command::Pause { queue: at.queue, deliveries, lapses }
        }
        Kind::Shift => {
            let ahead = dice.span(Span::from_secs(1), Span::from_hours(6));
            let by = dice.span(Span::from_secs(1), Span::from_hours(2));
            let by_ms = i64::try_from(by.millis()).expect("a few hours");
            let by_ms = if dice.one_in(3) { -by_ms } else { by_ms };
            Command::Shift { queue: at.queue, from: Time::ZERO, to: now.plus(ahead), by_ms }
        }
        Kind::DeleteQueue => Command::DeleteQueue(at.queue),
        Kind::GetQueue => Command::GetQueue(at.queue),
        Kind::ListQueues => Command::ListQueues,
        Kind::GetClock => Command::GetClock,
        Kind::Confirm => Command::ConfirmClock,
    }
}

fn schedule(
    plan: &Plan,
    dice: &mut Dice,
    oracle: &mut Oracle,
    if_exists: IfExists,
    heavy: bool,
) -> Schedule {
    let at = plan.address(dice);
    let bytes =
        if heavy { plan.payload } else { 1 + dice.below(plan.payload) / (1 + dice.below(8)) };
    let bytes = usize::try_from(bytes).expect("a small payload");
    let span = match dice.below(8) {
        0..3 => dice.span(Span::from_millis(1), Span::from_secs(2)),
        3..6 => dice.span(Span::from_secs(2), Span::from_mins(10)),
        _ => dice.span(Span::from_mins(10), Span::from_hours(5)),
    };
    let past = dice.one_in(20);
    let when = match dice.below(8) {
        0 => When::Default,
        1 if past => When::Due(oracle.now().minus(span)),
        1 => When::Due(oracle.now().plus(span)),
        _ => When::After(span),
    };
    Schedule {
        payload: Some(oracle.payload(bytes)),
        priority: dice.one_in(3).then(|| u32::try_from(dice.below(3)).expect("it is small")),
        if_exists,
        allow_past: past,
        ..Schedule::new(at, when)
    }
}

/// The generation that is there, as far as anybody knows, or the one after it.
fn generation(at: &Address, dice: &mut Dice, oracle: &Oracle) -> Option<Generation> {
    let known = oracle.glance(at).map(|glance| glance.generation);
    if dice.one_in(3) { known.map(Generation::next) } else { known }
}

pub(super) fn settle(
    at: Address,
    dice: &mut Dice,
    generation: Option<Generation>,
    remember: Option<Span>,
) -> Command {
    let outcome = *dice.pick(&["paid", "paid", "paid", "cancelled", "refunded"]);
    let outcome = Outcome::new(outcome).expect("a short outcome");
    Command::Settle(Settle { at, outcome, remember, generation })
}

/// Whatever a target or a worker says.
pub(super) fn verdict(dice: &mut Dice) -> Verdict {
    match dice.below(20) {
        0..11 => Verdict::Done,
        11..14 => Verdict::Superseded,
        14..19 => Verdict::Retry {
            error: "not now".into(),
            after: dice.one_in(3).then(|| dice.span(Span::from_secs(1), Span::from_mins(30))),
        },
        _ => Verdict::Dead { error: "never".into() },
    }
}
