//! Clocks that do not agree, zones that change, times that cannot be: refused or right, never early.

use super::*;

const SECOND: Span = Span::from_secs(1);
/// Of stories that last for hours: what they are about does not hang on it.
const PERIOD: Span = Span::from_secs(5);

/// A shop whose server writes times in `shop`, watched as if it were `rules`, over some hours.
fn shop_in(rules: &Watch, shop: &str, hours: i64) -> World {
    let mut world = World::new(rules.clone());
    world.run(SECOND);
    for number in 0..hours * 12 {
        let created = world.written(shop);
        world.row(number, &created);
        world.run(Span::from_mins(5));
    }
    world
}

/// When an order was really placed in `shop_in`.
fn placed(number: i64) -> Time {
    let number = u64::try_from(number).expect("numbers begin at zero");
    at(NOON).plus(SECOND).plus(Span::from_mins(5 * number))
}

#[test]
fn a_server_in_another_zone_never_makes_anything_early() {
    for shop in ["+02:00", "-02:00", "+05:30", "-08:00", "+00:15", "-00:15"] {
        for delay in [Span::from_mins(30), Span::from_hours(3), Span::from_hours(24)] {
            let rules = Watch { due: WatchDue::After(delay), period: PERIOD, ..rules() };
            let world = shop_in(&rules, shop, 12);
            for (number, cancelled) in &world.cancelled {
                let wanted = placed(*number).plus(delay);
                assert!(*cancelled >= wanted, "{shop} {delay}: {number} at {cancelled:?}");
            }
            for record in world.deadlines.values() {
                let number: i64 = record.key.as_str().parse().expect("keys are numbers");
                assert!(record.due >= placed(number).plus(delay), "{shop} {delay}: {number}");
            }
        }
    }
}

#[test]
fn a_server_ahead_is_told_at_once_and_one_behind_by_reconciling() {
    let ahead = shop_in(&rules(), "+02:00", 1);
    assert_eq!(ahead.trouble(), Some("watch_clock_mismatch"));
    assert!(ahead.deadlines.is_empty());
    let mut behind = World::new(rules());
    behind.run(SECOND);
    behind.order(1);
    behind.run(Span::from_mins(2));
    for number in 2..40 {
        let created = behind.written("-00:20");
        behind.row(number, &created);
        behind.run(Span::from_mins(1));
    }
    assert_eq!(behind.trouble(), Some("watch_clock_mismatch"));
    assert_eq!(behind.cancelled.len(), 1, "{:?}", behind.cancelled);
}

#[test]
fn the_right_zone_is_right_all_year_round() {
    for (zone, begin) in [
        ("Europe/Berlin", "2026-10-24T22:00:00Z"),
        ("Europe/Berlin", "2026-03-28T22:00:00Z"),
        ("America/New_York", "2026-11-01T02:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T10:00:00Z"),
    ] {
        for delay in [Span::from_mins(30), Span::from_hours(3)] {
            let rules = Watch {
                due: WatchDue::After(delay),
                period: PERIOD,
                time_zone: time_zone(zone).expect("it is known"),
                ..rules()
            };
            told(&rules, |mut world| {
                world.now = at(begin);
                world.run(SECOND);
                let mut placed = Vec::new();
                for number in 0..100 {
                    let created = world.written(zone);
                    world.row(number, &created);
                    placed.push(world.now);
                    world.run(Span::from_mins(4));
                }
                world.run(Span::from_hours(4));
                assert_eq!(world.cancelled.len(), 100, "{zone} {delay}: {:?}", world.trouble());
                for (number, cancelled) in &world.cancelled {
                    let number = usize::try_from(*number).expect("numbers begin at zero");
                    let wanted = placed[number].plus(delay);
                    assert!(*cancelled >= wanted, "{zone} {delay}: {number} is early");
                    assert!(
                        cancelled.since(wanted) < SECOND,
                        "{zone} {delay}: {number} is {} late",
                        cancelled.since(wanted)
                    );
                }
            });
        }
    }
}

#[test]
fn a_clock_that_is_a_little_off_is_no_mismatch() {
    for seconds in ["+00:00:40", "-00:00:40"] {
        let world = shop_in(&rules(), seconds, 2);
        assert_eq!(world.trouble(), None, "{seconds}");
        // The first one was created before the watch began, by its own clock.
        assert!(world.deadlines.len() >= 23, "{seconds}: {}", world.deadlines.len());
    }
}

#[test]
fn one_row_from_the_future_stops_arming_until_it_is_gone() {
    told(&rules(), |mut world| {
        world.run(SECOND);
        world.order(1);
        world.run(SECOND);
        world.row(666, "2031-01-01 00:00:00");
        world.run(SECOND);
        world.order(2);
        world.run(Span::from_mins(1));
        assert_eq!(world.trouble(), Some("watch_clock_mismatch"));
        let restarted = world.restarts;
        assert!(restarted || !world.deadlines.contains_key(&key(2)));
        world.set(666, "nonsense");
        world.order(3);
        world.run(Span::from_mins(2));
        assert_eq!(world.trouble(), None);
        assert!(world.deadlines.contains_key(&key(2)) && world.deadlines.contains_key(&key(3)));
        assert!(!world.deadlines.contains_key(&key(666)));
    });
}

#[test]
fn a_due_time_before_the_creation_stops_arming() {
    let rules = Watch { due: WatchDue::Column("pay_before".to_owned()), ..rules() };
    let mut world = World::new(rules);
    world.run(SECOND);
    world.order(1);
    world.orders[0].due = Some("2026-11-22 10:30:00".to_owned());
    world.run(Span::from_mins(2));
    assert_eq!(world.trouble(), Some("watch_clock_mismatch"));
    assert!(world.deadlines.is_empty());
}

#[test]
fn the_trust_in_the_clock_survives_a_restart_and_so_does_its_loss() {
    let mut world = World::new(rules());
    world.run(SECOND);
    world.order(1);
    world.run(SECOND);
    world.run(Span::from_mins(5));
    world.restart();
    world.order(2);
    world.run(SECOND);
    world.run(SECOND);
    assert_eq!(world.deadlines.len(), 2);
    world.row(666, "2031-01-01 00:00:00");
    world.run(Span::from_secs(5));
    world.restart();
    world.order(3);
    world.run(Span::from_secs(5));
    assert!(!world.deadlines.contains_key(&key(3)));
}
