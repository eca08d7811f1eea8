//! Rows that come, change, are paid, deleted, forgotten: what becomes of their deadlines.

use super::*;

const SECOND: Span = Span::from_secs(1);
const MINUTE: Span = Span::from_mins(1);

#[test]
fn an_unpaid_order_is_cancelled_when_its_time_is_over_and_a_paid_one_never() {
    told(&rules(), |mut world| {
        world.run(SECOND);
        world.order(1);
        world.order(2);
        let placed = world.now;
        world.run(MINUTE);
        assert_eq!(world.deadlines.len(), 2, "both have a deadline");
        world.set(2, "paid");
        world.run(Span::from_mins(40));
        assert_eq!(world.cancelled, [(1, placed.plus(Span::from_mins(30)))]);
        assert_eq!(world.status(2), "paid");
        assert_eq!(world.outcome(2), Some("paid"));
        assert_eq!(world.trouble(), None);
    });
}

#[test]
fn who_pays_in_the_last_seconds_is_settled_and_at_the_very_end_the_guard_decides() {
    told(&rules(), |mut world| {
        world.run(SECOND);
        world.order(1);
        world.order(2);
        world.run(Span::from_secs(30 * 60 - 4));
        world.set(1, "paid");
        world.run(Span::from_millis(3_950));
        world.set(2, "paid");
        world.run(MINUTE);
        assert!(world.cancelled.is_empty());
        assert_eq!(world.outcome(1), Some("paid"));
        assert_eq!(world.deadlines[&key(2)].state, State::Lapsed, "the guard found it paid");
    });
}

#[test]
fn a_first_start_on_old_rows_cancels_none() {
    told(&rules(), |mut world| {
        for number in 0..10_000 {
            world.row(number, "2026-11-01 08:00:00");
        }
        world.run(Span::from_mins(3));
        world.order(20_000);
        world.run(Span::from_mins(40));
        assert_eq!(world.cancelled.len(), 1);
        assert_eq!(world.cancelled[0].0, 20_000);
        assert_eq!(world.deadlines.len(), 1);
    });
}

#[test]
fn the_start_stays_where_it_was_over_restarts() {
    let mut world = World::new(rules());
    world.run(SECOND);
    world.order(1);
    world.run(SECOND);
    let start = world.disk.clone().expect("it was kept").start;
    for _ in 0..5 {
        world.run(Span::from_mins(2));
        world.restart();
    }
    world.run(SECOND);
    assert_eq!(world.disk.expect("it was kept").start, start);
}

#[test]
fn old_rows_are_armed_when_that_is_wanted_and_only_once_the_clocks_agree() {
    let rules = Watch { start: WatchStart::All, ..rules() };
    told(&rules, |mut world| {
        for number in 0..3 {
            world.row(number, "2026-11-22 11:00:00");
        }
        world.row(3, "2026-11-22 11:45:00");
        world.run(Span::from_mins(2));
        assert!(world.deadlines.is_empty(), "no row has shown that the clocks agree");
        world.order(4);
        world.run(MINUTE);
        let cancelled: Vec<i64> = world.cancelled.iter().map(|(number, _)| *number).collect();
        assert_eq!(cancelled, [0, 1, 2]);
        world.run(Span::from_mins(40));
        assert_eq!(world.cancelled[3], (3, at("2026-11-22T12:15:00Z")));
        assert_eq!(world.cancelled.len(), 5);
    });
}

#[test]
fn rows_before_an_instant_are_left_alone() {
    let start = at("2026-11-22T11:00:00Z");
    told(&Watch { start: WatchStart::At(start), ..rules() }, |mut world| {
        world.row(1, "2026-11-22 10:59:59");
        world.row(2, "2026-11-22 11:00:00");
        world.order(3);
        world.run(MINUTE);
        assert_eq!(world.deadlines.keys().cloned().collect::<Vec<_>>(), [key(2), key(3)]);
    });
}

#[test]
fn a_row_whose_transaction_commits_late_is_found() {
    told(&Watch { overlap: Span::from_mins(5), ..rules() }, |mut world| {
        world.run(SECOND);
        world.order(1);
        world.run(SECOND);
        let begun = world.written("UTC");
        for number in 0..20 {
            world.order(100 + number);
            world.run(Span::from_secs(12));
        }
        world.row(2, &begun);
        world.run(Span::from_secs(5));
        assert!(world.deadlines.contains_key(&key(2)));
        assert_eq!(world.figures().drift.unarmed, 0, "a look found it, no reconciliation");
    });
}

#[test]
fn a_row_that_commits_beyond_the_overlap_is_found_by_reconciling_and_reported() {
    let mut world = World::new(rules());
    world.run(SECOND);
    let begun = world.written("UTC");
    for number in 0..40 {
        world.order(100 + number);
        world.run(Span::from_secs(5));
    }
    world.row(2, &begun);
    for number in 0..40 {
        world.order(200 + number);
        world.run(Span::from_secs(5));
    }
    assert!(world.deadlines.contains_key(&key(2)));
    assert_eq!(world.figures().drift.unarmed, 1);
    assert_eq!(world.trouble(), None);
}

#[test]
fn a_row_that_turns_up_when_its_time_is_over_is_reported_and_not_cancelled() {
    let mut world = World::new(rules());
    world.run(Span::from_mins(90));
    for number in 0..30 {
        world.order(100 + number);
        world.run(Span::from_secs(5));
    }
    world.row(2, "2026-11-22 12:30:00");
    for number in 0..30 {
        world.order(200 + number);
        world.run(Span::from_secs(5));
    }
    assert!(!world.deadlines.contains_key(&key(2)));
    assert_eq!(world.figures().drift.overdue, 1);
    assert_eq!(world.status(2), "unpaid");
}

#[test]
fn a_changed_due_time_moves_the_deadline_and_an_extended_one_stays() {
    let rules = Watch { due: WatchDue::Column("pay_before".to_owned()), ..rules() };
    told(&rules, |mut world| {
        world.run(SECOND);
        world.order(1);
        world.order(2);
        for order in &mut world.orders {
            order.due = Some("2026-11-22 12:20:00".to_owned());
        }
        world.run(MINUTE);
        world.orders[0].due = Some("2026-11-22 12:40:00".to_owned());
        let extended = at("2026-11-22T12:50:00Z");
        world.deadlines.get_mut(&key(2)).expect("it is armed").due = extended;
        world.run(Span::from_mins(60));
        let wanted = [(1, at("2026-11-22T12:40:00Z")), (2, extended)];
        assert_eq!(world.cancelled, wanted);
    });
}

#[test]
fn a_due_time_may_also_come_nearer() {
    let rules = Watch { due: WatchDue::Column("pay_before".to_owned()), ..rules() };
    told(&rules, |mut world| {
        world.run(SECOND);
        world.order(1);
        world.orders[0].due = Some("2026-11-22 13:00:00".to_owned());
        world.run(Span::from_mins(5));
        world.orders[0].due = Some("2026-11-22 12:10:00".to_owned());
        world.run(Span::from_mins(60));
        assert_eq!(world.cancelled, [(1, at("2026-11-22T12:10:00Z"))]);
    });
}

#[test]
fn a_row_without_a_due_time_has_no_deadline_until_it_has_one() {
    let rules = Watch { due: WatchDue::Column("pay_before".to_owned()), ..rules() };
    told(&rules, |mut world| {
        world.run(SECOND);
        world.order(1);
        world.run(Span::from_secs(10));
        assert!(world.deadlines.is_empty());
        assert_eq!(world.figures().unreadable, 1);
        world.orders[0].due = Some("2026-11-22 12:20:00".to_owned());
        world.run(Span::from_mins(60));
        assert_eq!(world.cancelled, [(1, at("2026-11-22T12:20:00Z"))]);
    });
}

#[test]
fn a_deleted_row_settles_its_deadline() {
    told(&rules(), |mut world| {
        world.run(SECOND);
        world.order(1);
        world.run(MINUTE);
        world.orders.clear();
        world.run(Span::from_mins(5));
        assert_eq!(world.outcome(1), Some("deleted"));
        assert!(world.cancelled.is_empty());
    });
}

#[test]
fn an_order_opened_again_with_a_new_time_gets_a_new_deadline() {
    let rules = Watch { due: WatchDue::Column("pay_before".to_owned()), ..rules() };
    told(&rules, |mut world| {
        world.run(SECOND);
        world.order(1);
        world.orders[0].due = Some("2026-11-22 12:10:00".to_owned());
        world.run(Span::from_mins(15));
        assert_eq!(world.status(1), "cancelled");
        world.set(1, "unpaid");
        world.orders[0].due = Some("2026-11-22 12:40:00".to_owned());
        world.run(Span::from_mins(60));
        let times: Vec<Time> = world.cancelled.iter().map(|(_, at)| *at).collect();
        assert_eq!(times, [at("2026-11-22T12:10:00Z"), at("2026-11-22T12:40:00Z")]);
        assert_eq!(world.deadlines[&key(1)].generation, Generation(2));
    });
}

#[test]
fn a_row_still_open_after_its_deadline_is_reported_and_not_asked_again() {
    let rules = Watch { acts: false, ..rules() };
    let mut world = World::new(rules);
    world.run(SECOND);
    world.order(1);
    world.run(Span::from_mins(40));
    assert_eq!(world.deadlines[&key(1)].generation, Generation::FIRST);
    assert_eq!(world.figures().drift.stuck, 1);
    assert_eq!(world.status(1), "unpaid", "a watch that observes touches nothing");
}

#[test]
fn somebody_elses_deadline_in_the_same_queue_is_left_alone() {
    let mut world = World::new(rules());
    world.run(SECOND);
    world.order(1);
    world.run(SECOND);
    let mut foreign = world.deadlines[&key(1)].clone();
    (foreign.key, foreign.payload) = (key(77), PayloadAt::None);
    foreign.id = DeadlineId(999);
    world.deadlines.insert(key(77), foreign);
    world.run(Span::from_mins(20));
    assert_eq!(world.deadlines[&key(77)].state, State::Pending);
}

#[test]
fn many_rows_of_one_second_are_all_armed_page_by_page() {
    told(&Watch { max_per_minute: 10_000, ..rules() }, |mut world| {
        world.run(SECOND);
        let created = world.written("UTC");
        for number in 0..1_777 {
            world.row(number, &created);
        }
        world.run(Span::from_secs(30));
        assert_eq!(world.deadlines.len(), 1_777);
    });
}

#[test]
fn more_rows_than_wanted_in_a_minute_wait_for_the_next_and_somebody_is_told() {
    let mut world = World::new(Watch { max_per_minute: 100, ..rules() });
    world.run(SECOND);
    for number in 0..250 {
        world.order(number);
    }
    world.run(Span::from_secs(30));
    assert_eq!(world.trouble(), Some("watch_too_many_rows"));
    assert_eq!(world.deadlines.len(), 100);
    world.run(Span::from_mins(4));
    assert_eq!(world.deadlines.len(), 250);
    assert_eq!(world.trouble(), None);
}

#[test]
fn more_lapses_than_wanted_in_a_minute_are_held_back_until_somebody_says_so() {
    let mut world = World::new(rules());
    world.run(SECOND);
    for number in 0..300 {
        world.order(number);
    }
    world.run(MINUTE);
    world.rules.max_per_minute = 100;
    world.restart();
    world.run(Span::from_mins(40));
    assert!(world.lapse_paused);
    assert_eq!(world.trouble(), Some("watch_too_many_lapses"));
    assert_eq!(world.cancelled.len(), 0);
    world.set(7, "paid");
    world.lapse_paused = false;
    world.run(MINUTE);
    assert_eq!(world.cancelled.len(), 299);
    assert_eq!(world.trouble(), None);
}

#[test]
fn a_database_that_is_away_loses_nothing_and_nothing_comes_early() {
    told(&rules(), |mut world| {
        world.run(SECOND);
        world.order(1);
        world.run(Span::from_secs(10));
        world.is_away = true;
        world.run(SECOND);
        world.order(2);
        let placed = world.now;
        world.run(Span::from_mins(10));
        assert_eq!(world.trouble(), Some("watch_database_away"));
        world.is_away = false;
        world.run(Span::from_mins(2));
        assert_eq!(world.trouble(), None);
        world.run(Span::from_mins(40));
        assert_eq!(world.cancelled.len(), 2);
        assert_eq!(world.cancelled[1], (2, placed.plus(Span::from_mins(30))));
    });
}

#[test]
fn a_server_that_takes_no_deadlines_is_asked_again() {
    let mut world = World::new(rules());
    world.run(SECOND);
    world.refusal = Some(Refusal::StorageLow);
    world.order(1);
    world.run(Span::from_secs(10));
    assert_eq!(world.trouble(), Some("watch_refused"));
    world.refusal = None;
    world.run(Span::from_secs(10));
    assert_eq!(world.trouble(), None);
    assert_eq!(world.deadlines.len(), 1);
}

#[test]
fn while_nothing_is_due_it_asks_at_most_twice_a_second() {
    let mut world = World::new(rules());
    world.run(SECOND);
    for number in 0..2_000 {
        world.row(number, "2026-11-22 12:00:00");
    }
    world.run(MINUTE);
    world.queries = 0;
    world.run(Span::from_mins(10));
    assert!(world.queries <= 1_200, "{} queries in 600 seconds", world.queries);
    assert!(world.queries >= 500, "{} queries in 600 seconds", world.queries);
}

#[test]
fn a_busy_overlap_is_not_read_again_every_second() {
    let mut world = World::new(Watch { max_per_minute: 100_000, ..rules() });
    world.run(SECOND);
    for second in 0..60 {
        for number in 0..100 {
            world.order(second * 100 + number);
        }
        world.run(SECOND);
    }
    assert_eq!(world.deadlines.len(), 6_000);
    assert!(world.rows_read < 60_000, "{} rows were read for 6000", world.rows_read);
}

#[test]
fn a_lost_bookmark_of_a_watch_from_the_beginning_costs_a_wider_reading_only() {
    let mut world = World::new(Watch { start: WatchStart::All, ..rules() });
    world.order(1);
    world.run(MINUTE);
    world.disk = None;
    world.restart();
    world.order(2);
    world.run(Span::from_mins(40));
    assert_eq!(world.cancelled.len(), 2);
}
