//! Histories made by hand, each wrong in a way that a broken server might be. One tick is one second
//! of the server here, from time 0 on; each wrong history has a neighbour that is right.

use super::super::check;
use crate::history::{
    Acted, Asked, Delivery, History, IfExists, Moment, Operation, Phase, Rules, Seen, SettleResult,
    Told, Verdict, When,
};

const PAID: &str = "paid";

/// A (queue, key) and what was asked of it.
#[derive(Default)]
struct Story(History);

impl Story {
    fn noted(mut self, from: u64, to: Option<u64>, asked: Asked, told: Option<Told>) -> Story {
        let moment = |second: u64| Moment { tick: second, ms: second * 1_000 };
        self.0.operations.push(Operation {
            process: u32::try_from(self.0.operations.len()).expect("stories are short"),
            queue: "orders".to_owned(),
            key: "42".to_owned(),
            asked_at: moment(from),
            asked,
            told: to.map(moment).zip(told),
        });
        self
    }

    /// Answered.
    fn told(self, from: u64, to: u64, asked: Asked, told: Told) -> Story {
        self.noted(from, Some(to), asked, Some(told))
    }

    /// Never answered.
    fn lost(self, from: u64, asked: Asked) -> Story {
        self.noted(from, None, asked, None)
    }

    /// Scheduled at 0..1, due at 10.
    fn begun() -> Story {
        Story::default().told(0, 1, schedule(IfExists::Keep), made(1))
    }

    #[track_caller]
    fn must_be_right(self) {
        let judgement = check(&self.0);
        assert_eq!(judgement.troubles, Vec::<String>::new());
    }

    #[track_caller]
    fn must_be_wrong(self, why: &str) {
        let judgement = check(&self.0);
        assert_eq!(judgement.troubles.len(), 1, "it was accepted");
        assert!(judgement.troubles[0].contains(why), "{}", judgement.troubles[0]);
    }
}

fn schedule(if_exists: IfExists) -> Asked {
    Asked::Schedule { if_exists, when: When::DueMs(10_000), over: None }
}

fn settle(outcome: &str) -> Asked {
    Asked::Settle { outcome: outcome.to_owned(), generation: None, remember_ms: None }
}

fn seen(generation: u32, phase: Phase) -> Seen {
    Seen { id: 7, generation, due_ms: 10_000, frozen_ms: 0, phase }
}

fn made(generation: u32) -> Told {
    Told::Scheduled { created: true, seen: seen(generation, Phase::Pending) }
}

fn settled(at: u64) -> Phase {
    Phase::Settled { outcome: PAID.to_owned(), at_ms: at * 1_000 }
}

fn won(at: u64) -> Told {
    Told::Settled { result: SettleResult::Settled, seen: seen(1, settled(at)) }
}

fn already(at: u64) -> Told {
    Told::Settled { result: SettleResult::Already, seen: seen(1, settled(at)) }
}

fn lapsed(at: u64, delivery: Delivery, attempts: u32) -> Phase {
    Phase::Lapsed { at_ms: at * 1_000, delivery, attempts }
}

fn record(phase: Phase) -> Told {
    Told::Record(seen(1, phase))
}

fn none() -> Told {
    Told::Refused { code: "unknown_deadline".to_owned(), seen: None }
}

fn handed(attempt: u32, token: u64) -> Told {
    Told::Handed {
        id: 7,
        generation: 1,
        due_ms: 10_000,
        lapsed_ms: 10_000,
        attempt,
        token: Some(token),
    }
}

fn verdict(token: u64, verdict: Verdict) -> Asked {
    Asked::Verdict { generation: 1, token, verdict }
}

#[test]
fn one_settle_wins() {
    let story = || Story::begun().told(2, 4, settle(PAID), won(3));
    story().told(2, 4, settle(PAID), already(3)).must_be_right();
    story().told(2, 4, settle(PAID), won(3)).must_be_wrong("it was not pending any more");
}

#[test]
fn a_settle_that_was_told_stays() {
    let story = || Story::begun().told(2, 4, settle(PAID), won(3));
    story().told(11, 12, Asked::Get, record(settled(3))).must_be_right();
    story()
        .told(11, 12, Asked::Get, record(lapsed(10, Delivery::Ready, 0)))
        .must_be_wrong("it was settled");
    story().told(11, 12, Asked::Get, none()).must_be_wrong("it is there");
}

#[test]
fn a_schedule_that_was_told_stays() {
    Story::begun().told(2, 3, Asked::Get, record(Phase::Pending)).must_be_right();
    Story::begun().told(2, 3, Asked::Get, none()).must_be_wrong("it is there");
    let again = schedule(IfExists::Keep);
    Story::begun().told(2, 3, again, made(1)).must_be_wrong("it was there already");
}

#[test]
fn a_read_never_goes_back() {
    // The settle is under way for long; who sees it first binds everybody after.
    let story = || {
        let story = Story::begun().told(2, 9, settle(PAID), won(4));
        story.told(3, 5, Asked::Get, record(settled(4)))
    };
    story().told(4, 7, Asked::Get, record(Phase::Pending)).must_be_right();
    story().told(6, 7, Asked::Get, record(Phase::Pending)).must_be_wrong("it was settled");
}

#[test]
fn a_read_after_the_answer_is_not_stale() {
    let story = || Story::begun().told(2, 3, settle(PAID), won(2));
    story().told(2, 5, Asked::Get, record(Phase::Pending)).must_be_right();
    story().told(4, 5, Asked::Get, record(Phase::Pending)).must_be_wrong("it was settled");
}

#[test]
fn nothing_lapses_before_its_time() {
    let ready = |at| record(lapsed(at, Delivery::Ready, 0));
    Story::begun().told(9, 10, Asked::Get, ready(10)).must_be_right();
    Story::begun().told(10, 11, Asked::Get, ready(9)).must_be_wrong("before its time was over");
    Story::begun().told(8, 9, Asked::Get, ready(10)).must_be_wrong("it lapsed in the future");
    let seen = |frozen_ms, phase| Told::Record(Seen { frozen_ms, ..seen(1, phase) });
    let frozen = || {
        let freeze = Asked::Freeze { for_ms: 10_000 };
        Story::begun().told(5, 5, freeze, seen(15_000, Phase::Pending))
    };
    let passed = |at| lapsed(at, Delivery::Ready, 0);
    frozen().told(20, 21, Asked::Get, seen(15_000, passed(15))).must_be_right();
    frozen().told(20, 21, Asked::Get, seen(15_000, passed(14))).must_be_wrong("before its time");
}

#[test]
fn what_lapsed_was_not_read_as_pending_later() {
    let ready = |at| record(lapsed(at, Delivery::Ready, 0));
    let story = || Story::begun().told(14, 15, Asked::Get, record(Phase::Pending));
    story().told(16, 17, Asked::Get, ready(14)).must_be_right();
    story().told(16, 17, Asked::Get, ready(12)).must_be_wrong("still pending after it had lapsed");
}

#[test]
fn a_late_settle_is_told_what_was_done() {
    let late = |acted, delivery, attempts| Told::Settled {
        result: SettleResult::TooLate(acted),
        seen: seen(1, lapsed(10, delivery, attempts)),
    };
    let story = || {
        let done = record(lapsed(10, Delivery::Done, 1));
        let story = Story::begun().told(10, 11, Asked::Lease, handed(1, 5));
        story.told(12, 14, verdict(5, Verdict::Done), done)
    };
    story().told(13, 15, settle(PAID), late(Acted::Maybe, Delivery::Leased, 1)).must_be_right();
    story().told(16, 17, settle(PAID), late(Acted::Yes, Delivery::Done, 1)).must_be_right();
    story()
        .told(16, 17, settle(PAID), late(Acted::Maybe, Delivery::Leased, 1))
        .must_be_wrong("its delivery was over");
    story()
        .told(16, 17, settle(PAID), late(Acted::No, Delivery::Done, 1))
        .must_be_wrong("contradicts the record");
}

#[test]
fn one_lease_takes_one_verdict() {
    let done = || record(lapsed(10, Delivery::Done, 1));
    let lost = || Told::Refused { code: "lease_lost".to_owned(), seen: None };
    let story = || Story::begun().told(10, 11, Asked::Lease, handed(1, 5));
    let twice = |told| {
        let story = story().told(12, 13, verdict(5, Verdict::Done), done());
        story.told(14, 15, verdict(5, Verdict::Done), told)
    };
    twice(done()).must_be_right();
    twice(lost()).must_be_wrong("the same verdict had been taken");
    story().told(12, 13, verdict(6, Verdict::Done), lost()).must_be_right();
    story()
        .told(12, 13, verdict(6, Verdict::Done), done())
        .must_be_wrong("not leased under this token");
    story().told(12, 13, Asked::Lease, handed(2, 9)).must_be_right();
    story().told(12, 13, Asked::Lease, handed(1, 9)).must_be_wrong("fewer attempts than before");
    story().told(12, 13, Asked::Get, done()).must_be_wrong("nobody took a verdict");
}

#[test]
fn nobody_gets_what_was_settled() {
    let story = Story::begun().told(2, 4, settle(PAID), won(3));
    story.told(10, 11, Asked::Lease, handed(1, 5)).must_be_wrong("nothing to act on");
}

#[test]
fn what_nobody_heard_happened_once_or_never() {
    let lost = || Story::begun().lost(2, settle(PAID));
    lost().told(4, 5, Asked::Get, record(Phase::Pending)).must_be_right();
    lost().told(4, 5, Asked::Get, record(settled(3))).must_be_right();
    // Late, but before the next generation.
    let replace = || schedule(IfExists::Replace);
    let late = |generation, phase| Told::Record(seen(generation, phase));
    lost()
        .told(4, 5, replace(), made(2))
        .told(8, 9, Asked::Get, late(2, settled(8)))
        .must_be_right();
    let twice = lost().told(4, 5, Asked::Get, record(settled(3)));
    let twice = twice.told(6, 7, replace(), made(2));
    twice.told(8, 9, Asked::Get, late(2, settled(8))).must_be_wrong("nobody settled it");
    // A schedule that nobody heard of makes one generation, not two.
    let twice = || Story::begun().lost(2, replace());
    twice().told(4, 5, Asked::Get, late(2, Phase::Pending)).must_be_right();
    twice()
        .told(4, 5, Asked::Get, late(3, Phase::Pending))
        .must_be_wrong("it is another generation");
}

#[test]
fn a_settle_that_nobody_heard_of_may_have_come_after_the_end_and_been_remembered() {
    let remember =
        Asked::Settle { outcome: PAID.to_owned(), generation: None, remember_ms: Some(60_000) };
    let told = |until_ms| {
        let mut story = Story::begun();
        let rules = Rules { kept_ms: Some(5_000), served: true, ..Rules::default() };
        story.0.rules.insert("orders".to_owned(), rules);
        story.lost(20, remember.clone()).told(21, 22, settle(PAID), Told::Remembered { until_ms })
    };
    told(80_500).must_be_right();
    told(70_000).must_be_wrong("it is not remembered for so long");
}

#[test]
fn a_remembered_settle_is_born_settled() {
    let remember =
        Asked::Settle { outcome: PAID.to_owned(), generation: None, remember_ms: Some(60_000) };
    let story = || {
        let told = Told::Remembered { until_ms: 61_000 };
        Story::default().told(0, 1, remember.clone(), told)
    };
    let born = Told::Scheduled { created: true, seen: seen(1, settled(2)) };
    story().told(2, 3, schedule(IfExists::Keep), born).must_be_right();
    story().told(2, 3, schedule(IfExists::Keep), made(1)).must_be_wrong("was remembered");
    story().told(70, 71, schedule(IfExists::Keep), made(1)).must_be_right();
}

#[test]
fn a_schedule_over_a_generation_follows_it_while_it_is_pending() {
    let over = |generation| Asked::Schedule {
        if_exists: IfExists::Replace,
        when: When::DueMs(10_000),
        over: Some(generation),
    };
    let refused = |code: &str, seen| Told::Refused { code: code.to_owned(), seen: Some(seen) };
    let open = |generation| seen(generation, Phase::Pending);
    Story::begun().told(2, 3, over(1), made(2)).told(4, 5, over(2), made(3)).must_be_right();
    // Of two who have looked at the same generation one is refused.
    let both = || Story::begun().told(2, 9, over(1), made(2));
    both().told(2, 9, over(1), refused("other_generation", open(2))).must_be_right();
    both().told(2, 9, over(1), made(3)).must_be_wrong("not pending in the generation");
    both().told(2, 9, over(2), refused("other_generation", open(2))).must_be_wrong("contradicts");
    let paid = || Story::begun().told(2, 4, settle(PAID), won(3));
    let too_late = refused("already_settled", seen(1, settled(3)));
    paid().told(5, 6, over(1), too_late.clone()).must_be_right();
    paid().told(5, 6, over(2), too_late).must_be_wrong("contradicts");
    paid().told(5, 6, over(1), made(2)).must_be_wrong("not pending in the generation");
    let nothing = || Told::Refused { code: "unknown_deadline".to_owned(), seen: None };
    Story::default().told(2, 3, over(1), nothing()).must_be_right();
    Story::begun().told(2, 3, over(1), nothing()).must_be_wrong("it is there");
    Story::default().told(2, 3, over(1), made(1)).must_be_wrong("not pending in the generation");
    // Nobody heard of it: it may have been, but over no other.
    let lost = |generation| Story::begun().lost(2, over(generation));
    let looked = |generation| Told::Record(seen(generation, Phase::Pending));
    lost(1).told(4, 5, Asked::Get, looked(1)).must_be_right();
    lost(1).told(4, 5, Asked::Get, looked(2)).must_be_right();
    lost(2).told(4, 5, Asked::Get, looked(2)).must_be_wrong("another generation");
}

#[test]
fn the_explanation_can_be_read() {
    let story = Story::begun().told(2, 4, settle(PAID), won(3));
    let judgement = check(&story.told(11, 12, Asked::Get, record(Phase::Pending)).0);
    let shown = &judgement.troubles[0];
    for part in
        ["orders 42", "possible so far: 1 2", "!  3 process 2 at 11", "settle", "cannot follow"]
    {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
}

#[test]
fn many_who_look_at_once_cost_little() {
    // Forty readers and a settle, all at the same time, and three settles that nobody heard of.
    let mut story = Story::begun().told(2, 9, settle(PAID), won(4));
    for reader in 0..40 {
        let seen = if reader % 2 == 0 { Phase::Pending } else { settled(4) };
        story = story.told(2, 9, Asked::Get, record(seen));
    }
    for _ in 0..3 {
        story = story.lost(2, settle("cancelled"));
    }
    story.told(10, 11, Asked::Get, record(settled(4))).must_be_right();
}

#[test]
fn what_was_remembered_may_be_said_again_after_something_else_was() {
    // Paid, then cancelled and paid at the same time: what counts may be either.
    let remember = |outcome: &str| Asked::Settle {
        outcome: outcome.to_owned(),
        generation: None,
        remember_ms: Some(60_000),
    };
    let kept = |until_ms| Told::Remembered { until_ms };
    Story::default()
        .told(0, 1, remember(PAID), kept(60_500))
        .told(2, 9, remember("cancelled"), kept(65_000))
        .told(2, 9, remember(PAID), kept(65_000))
        .told(10, 11, schedule(IfExists::Keep), {
            Told::Scheduled { created: true, seen: seen(1, settled(10)) }
        })
        .must_be_right();
}
