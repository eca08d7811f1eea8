//! Observe mode: what is said about rows that others close, with and without a column that tells when.

use super::*;
use crate::metrics::{Fate, Instead, Observed};

const SECOND: Span = Span::from_secs(1);
const HALF_HOUR: Span = Span::from_mins(30);

fn observing() -> World {
    World::new(Watch { acts: false, ..rules() })
}

impl World {
    fn account(&self) -> Observed {
        self.watcher.observed(self.now).expect("it observes")
    }

    /// Runs until an order that was placed at `placed` has been due for so long.
    fn run_to_due(&mut self, placed: Time, late: Span) {
        let until = placed.plus(HALF_HOUR).plus(late);
        self.run(until.since(self.now));
    }

    /// An order is placed and seen; when it was placed.
    fn placed(&mut self, number: i64) -> Time {
        self.run(SECOND);
        self.order(number);
        let placed = self.now;
        self.run(SECOND);
        placed
    }

    /// The one row with this fate.
    fn only(&self, fate: Fate) -> crate::metrics::Case {
        let account = self.account();
        assert_eq!(account.count(fate), 1, "{account:?}");
        account.named(fate).next().expect("it is named").clone()
    }
}

#[test]
fn a_cron_that_is_late_is_late_by_what_was_seen() {
    let mut world = observing();
    let placed = world.placed(1);
    world.run_to_due(placed, Span::from_secs(41));
    assert_eq!(world.account().overdue.count, 1);
    world.set(1, "cancelled");
    world.run(Span::from_secs(5));
    let case = world.only(Fate::CancelledLate);
    let closed = case.closed.expect("it is closed");
    assert!(!closed.told && closed.latest.since(closed.earliest) <= SECOND.plus(SECOND));
    let truth = placed.plus(HALF_HOUR).plus(Span::from_secs(41));
    assert!(closed.earliest <= truth && truth <= closed.latest, "{closed:?}");
    assert_eq!(case.instead, Some(Instead::Cancelled));
    assert_eq!(world.status(1), "cancelled", "it was not Duly");
    assert_eq!(world.account().overdue.count, 0);
    assert_eq!(world.cancelled, []);
}

#[test]
fn a_column_that_fits_what_was_seen_is_believed_and_no_other() {
    for (written, told) in [(Some(41), true), (Some(10), false), (Some(400), false), (None, false)]
    {
        let mut world = observing();
        let placed = world.placed(1);
        world.run_to_due(placed, Span::from_secs(41));
        let due = placed.plus(HALF_HOUR);
        world.set(1, "cancelled");
        world.orders[0].changed = written.map(|seconds| {
            let at = due.plus(Span::from_secs(seconds));
            crate::units::show_instant(at).replace('T', " ").replace(".000Z", "")
        });
        world.run(Span::from_secs(5));
        let case = world.only(Fate::CancelledLate);
        let closed = case.closed.expect("it is closed");
        assert_eq!(closed.told, told, "{written:?}");
        if told {
            assert_eq!(case.late(), Span::from_secs(41));
        }
        assert_eq!(world.account().delays.told, u64::from(told));
    }
}

#[test]
fn who_was_seen_paid_and_is_cancelled_all_the_same_is_counted_as_that() {
    let mut world = observing();
    let placed = world.placed(1);
    world.run_to_due(placed, Span::from_secs(20));
    world.set(1, "paid");
    world.run(Span::from_secs(3));
    let late = world.only(Fate::PaidLate);
    assert_eq!(late.instead, Some(Instead::Cancelled));
    world.run(Span::from_secs(20));
    world.set(1, "cancelled");
    world.run(Span::from_mins(2));
    let case = world.only(Fate::CancelledAlthoughPaid);
    assert!(case.paid.is_some_and(|paid| paid.latest < case.closed.expect("it is").earliest));
    let account = world.account();
    assert_eq!((account.count(Fate::PaidLate), account.count(Fate::CancelledLate)), (0, 0));
    assert_eq!(account.delays.count(), 0);
    assert_eq!(account.instead(Instead::Cancelled), 1);
}

#[test]
fn money_that_comes_for_a_cancelled_order_is_another_matter() {
    let mut world = observing();
    let placed = world.placed(1);
    world.run_to_due(placed, Span::from_secs(20));
    world.set(1, "cancelled");
    world.run(Span::from_secs(30));
    world.only(Fate::CancelledLate);
    world.orders[0].is_paid = true;
    world.run(Span::from_mins(2));
    world.only(Fate::PaidAfterCancelled);
    assert_eq!(world.account().delays.count(), 0);
}

#[test]
fn what_is_paid_or_cancelled_in_time_duly_would_have_kept() {
    let mut world = observing();
    let placed = world.placed(1);
    world.order(2);
    world.order(3);
    world.run(Span::from_mins(10));
    world.set(1, "paid");
    world.set(2, "cancelled");
    world.set(3, "refused");
    world.run_to_due(placed, Span::from_mins(1));
    let account = world.account();
    for fate in [Fate::PaidInTime, Fate::CancelledEarly, Fate::ClosedEarly] {
        assert_eq!(account.count(fate), 1, "{fate:?}");
    }
    assert_eq!((account.instead(Instead::Kept), account.fell_due()), (3, 0));
    assert_eq!(account.named(Fate::CancelledEarly).len(), 1);
}

#[test]
fn what_nobody_could_see_is_unclear() {
    let mut world = observing();
    let placed = world.placed(1);
    // After the last reading before the due time, and before the first one after it.
    world.run_to_due(placed, Span::ZERO);
    world.now = placed.plus(HALF_HOUR).minus(Span::from_millis(1));
    world.set(1, "paid");
    world.run(Span::from_secs(5));
    let account = world.account();
    assert_eq!(account.instead(Instead::Unclear), 1, "{account:?}");
    assert_eq!(account.count(Fate::PaidAboutDue), 1, "{account:?}");
}

#[test]
fn a_condition_that_holds_for_paid_rows_would_cancel_them() {
    let mut world = observing();
    let placed = world.placed(1);
    world.run(Span::from_mins(10));
    world.orders[0].is_paid = true;
    world.run_to_due(placed, Span::from_secs(5));
    assert_eq!(world.account().open_although_paid, 1);
}

#[test]
fn a_row_that_moves_or_is_deleted_is_followed_to_its_end() {
    let due = WatchDue::Column("pay_before".to_owned());
    let mut world = World::new(Watch { acts: false, due, ..rules() });
    world.run(SECOND);
    world.order(1);
    world.order(2);
    for order in &mut world.orders {
        order.due = Some("2026-11-22 12:10:00".to_owned());
    }
    world.run(Span::from_mins(5));
    world.orders[0].due = Some("2026-11-22 12:20:00".to_owned());
    world.run(Span::from_mins(7));
    assert_eq!((world.account().fell_due(), world.account().overdue.count), (1, 1));
    world.orders.retain(|order| order.key != 2);
    world.run(Span::from_mins(10));
    world.only(Fate::ClosedLate);
    assert_eq!((world.account().fell_due(), world.account().overdue.count), (2, 1));
}

#[test]
fn who_is_closed_is_forgotten_in_the_end_and_who_is_open_is_not() {
    let mut world = observing();
    world.placed(1);
    let placed = world.placed(2);
    world.run(Span::from_mins(3));
    world.set(1, "paid");
    world.run_to_due(placed, Span::from_hours(3));
    let queries = world.queries;
    world.set(1, "cancelled");
    world.run(Span::from_hours(3));
    assert_eq!(world.account().count(Fate::PaidInTime), 1, "nobody looks any more");
    let account = world.account();
    assert_eq!((account.overdue.count, account.overdue.long), (1, 1));
    // A look and a reading of the open row: what is long overdue is read seldom.
    let hours = 3 * 3_600;
    assert!(world.queries - queries < hours + hours / 10, "{}", world.queries - queries);
}

#[test]
fn a_watch_that_acts_follows_nobody() {
    let mut world = World::new(rules());
    let placed = world.placed(1);
    world.run_to_due(placed, Span::from_mins(1));
    assert_eq!(world.watcher.observed(world.now), None);
}
