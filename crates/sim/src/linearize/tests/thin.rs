//! Answers that show no record: right ones have an order too, and wrong ones have none.

use super::super::check;
use super::shape;
use super::world::history;
use crate::history::{
    Asked, By, Delivery, History, IfExists, Moment, Operation, Phase, Rules, Seen, SettleResult,
    Told, When,
};

/// What the Redis protocol would have said instead, if it has few words for it.
fn thinned(asked: &Asked, told: &Told) -> Option<Told> {
    let pending = |seen: &Seen| Told::Pending { due: Some(When::DueMs(seen.due_ms)) };
    Some(match (asked, told) {
        (Asked::Schedule { over: None, .. }, Told::Scheduled { created: true, seen })
            if seen.phase == Phase::Pending =>
        {
            Told::Done
        }
        (Asked::Settle { generation: None, .. }, Told::Settled { result, .. }) => match result {
            SettleResult::Settled => Told::Done,
            _ => Told::NotPending,
        },
        (Asked::Extend { .. }, Told::Record(_)) => Told::Done,
        (Asked::Get, Told::Record(seen)) if seen.phase == Phase::Pending => pending(seen),
        (Asked::Get, Told::Record(_)) => Told::NotPending,
        (Asked::Get, Told::Refused { code, .. }) if code == "unknown_deadline" => Told::NotPending,
        _ => return None,
    })
}

#[test]
fn what_the_engine_answers_has_an_order_also_when_little_of_it_is_shown() {
    let (mut operations, mut thin) = (0, 0);
    for seed in 0..200 {
        let mut history = history(seed, shape(seed, 300));
        for (index, operation) in history.operations.iter_mut().enumerate() {
            // Half of them, as in an attack: others see the records.
            if let Some((_, told)) = &mut operation.told
                && index % 2 == 0
                && let Some(less) = thinned(&operation.asked, told)
            {
                *told = less;
                thin += 1;
            }
        }
        let judgement = check(&history);
        assert!(judgement.troubles.is_empty(), "seed {seed}: {}", judgement.troubles[0]);
        operations += judgement.operations;
    }
    println!("suite thin answers: work={thin}, floor=10000, of {operations} operations");
    assert!(thin >= 10_000, "only {thin} answers show little");
}

/// Set at second 0..1 and due at 10; then these, each within a second.
fn story(rest: &[(u64, Asked, Told)]) -> Vec<String> {
    let within = |(second, asked, told): &(u64, Asked, Told)| {
        ((*second, second + 1), asked.clone(), told.clone())
    };
    overlapping(rest.iter().map(within).collect())
}

/// The same, each between two seconds.
fn overlapping(rest: Vec<((u64, u64), Asked, Told)>) -> Vec<String> {
    let set =
        Asked::Schedule { if_exists: IfExists::Replace, when: When::DueMs(10_000), over: None };
    let all = [((0, 1), set, Told::Done)].into_iter().chain(rest);
    let moment = |second: u64| Moment { tick: second * 10, ms: second * 1_000 };
    let operations = all.zip(0..).map(|(((from, to), asked, told), process)| Operation {
        process,
        queue: "orders".to_owned(),
        key: "42".to_owned(),
        asked_at: moment(from),
        asked,
        told: Some((moment(to), told)),
    });
    let rules = [("orders".to_owned(), Rules { served: true, ..Rules::default() })];
    check(&History { rules: rules.into(), operations: operations.collect() }).troubles
}

fn del() -> Asked {
    Asked::Settle { outcome: "deleted".to_owned(), generation: None, remember_ms: None }
}

fn record(phase: Phase) -> Told {
    Told::Record(Seen { id: 7, generation: 1, due_ms: 10_000, frozen_ms: 0, phase })
}

fn settled(at_ms: u64) -> Told {
    record(Phase::Settled { outcome: "deleted".to_owned(), at_ms })
}

fn lapsed(at_ms: u64) -> Told {
    record(Phase::Lapsed { at_ms, delivery: Delivery::Done, attempts: 0 })
}

#[test]
fn what_was_done_and_what_was_not_has_an_order() {
    let pending = |due| Told::Pending { due };
    let moved = Asked::Extend { by: By::DueMs(20_000), if_due_ms: None };
    let set =
        Asked::Schedule { if_exists: IfExists::Replace, when: When::AfterMs(5_000), over: None };
    for right in [
        vec![
            (2, del(), Told::Done),
            (4, Asked::Get, Told::NotPending),
            (6, Asked::Get, settled(2_500)),
        ],
        vec![(2, del(), Told::Done), (4, del(), Told::NotPending)],
        vec![(12, del(), Told::NotPending), (14, Asked::Get, lapsed(10_000))],
        vec![(4, Asked::Get, pending(Some(When::AfterMs(5_500)))), (6, del(), Told::Done)],
        vec![(2, moved.clone(), Told::Done), (15, del(), Told::Done)],
        vec![(2, set.clone(), Told::Done), (4, Asked::Get, pending(Some(When::AfterMs(3_000))))],
        vec![(2, del(), Told::Done), (4, set, Told::Done), (6, del(), Told::Done)],
    ] {
        assert_eq!(story(&right), Vec::<String>::new(), "{right:?}");
    }
}

#[test]
fn who_saw_something_pending_may_have_seen_what_came_after() {
    let again =
        Asked::Schedule { if_exists: IfExists::Replace, when: When::AfterMs(20_000), over: None };
    let Told::Record(seen) = settled(2_500) else { unreachable!("it is a record") };
    let troubles = overlapping(vec![
        ((2, 8), del(), Told::Settled { result: SettleResult::Settled, seen }),
        ((3, 9), Asked::Get, Told::Pending { due: None }),
        ((7, 9), again, Told::Done),
    ]);
    assert_eq!(troubles, Vec::<String>::new());
}

#[test]
fn what_cannot_have_been_done_or_was_undone_has_none() {
    let pending = Told::Pending { due: None };
    let moved = Asked::Extend { by: By::DueMs(20_000), if_due_ms: None };
    for (wrong, why) in [
        (vec![(2, del(), Told::Done), (4, del(), Told::Done)], "it cannot have been done"),
        (
            vec![(12, Asked::Get, lapsed(10_000)), (14, del(), Told::Done)],
            "it cannot have been done",
        ),
        (
            vec![(12, Asked::Get, Told::NotPending), (14, del(), Told::Done)],
            "it cannot have been done",
        ),
        (vec![(2, del(), Told::NotPending)], "it was pending"),
        (vec![(2, Asked::Get, Told::NotPending)], "it was pending"),
        (vec![(2, del(), Told::Done), (4, Asked::Get, pending.clone())], "it was not pending"),
        (vec![(12, del(), Told::NotPending), (14, Asked::Get, pending)], "it was not pending"),
        (vec![(2, del(), Told::Done), (4, Asked::Get, settled(3_500))], "settled at another time"),
        (vec![(2, del(), Told::Done), (14, Asked::Get, lapsed(10_000))], "it was settled"),
        (
            vec![(12, del(), Told::NotPending), (14, Asked::Get, lapsed(13_500))],
            "lapsed at another time",
        ),
        (vec![(2, moved, Told::Done), (12, del(), Told::NotPending)], "it was pending"),
        (
            vec![(4, Asked::Get, Told::Pending { due: Some(When::AfterMs(9_000)) })],
            "it is due at another time",
        ),
    ] {
        let troubles = story(&wrong);
        assert_eq!(troubles.len(), 1, "{wrong:?} was accepted");
        assert!(troubles[0].contains(why), "{}", troubles[0]);
    }
}
