//! What a watch that only observes has seen others do: how late rows were closed, which were
//! cancelled although they had been paid, and what Duly would have done instead.
//!
//! Counts and bounded lists, in memory, since the process began. A row stands in one fate at a time
//! and may change it: one that was paid and is cancelled afterwards counts as cancelled although
//! paid. Whether a time was told by the table or only seen is kept with each. Nothing here asks a
//! table or reads a clock.

use std::collections::{BTreeMap, VecDeque};

use duly_engine::id::Key;
use duly_engine::time::{Span, Time};

/// Rows that are named of each fate; counts go on beyond.
pub const NAMED: usize = 100;
/// A row that is open so long after it was due is waited for by nobody any more.
pub const LONG: Span = Span::from_hours(1);

/// What became of a row that is no longer open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Cancelled, and it was paid: before, or in the same look.
    CancelledAlthoughPaid,
    /// Cancelled, and only then paid.
    PaidAfterCancelled,
    /// Cancelled before it was due.
    CancelledEarly,
    /// Cancelled when it was due or later.
    CancelledLate,
    /// Paid before it was due.
    PaidInTime,
    /// Paid so near its due time that the table does not tell on which side.
    PaidAboutDue,
    /// Paid after it was due, and not cancelled.
    PaidLate,
    /// Closed before it was due, neither paid nor cancelled as far as the watch was told.
    ClosedEarly,
    /// The same when it was due or later.
    ClosedLate,
}

impl Fate {
    /// All of them, the worst first.
    pub const ALL: [Fate; 9] = [
        Fate::CancelledAlthoughPaid,
        Fate::PaidAfterCancelled,
        Fate::CancelledEarly,
        Fate::CancelledLate,
        Fate::PaidInTime,
        Fate::PaidAboutDue,
        Fate::PaidLate,
        Fate::ClosedEarly,
        Fate::ClosedLate,
    ];

    /// A stable word.
    pub fn word(self) -> &'static str {
        match self {
            Fate::CancelledAlthoughPaid => "cancelled_although_paid",
            Fate::PaidAfterCancelled => "paid_after_cancelled",
            Fate::CancelledEarly => "cancelled_early",
            Fate::CancelledLate => "cancelled_late",
            Fate::PaidInTime => "paid_in_time",
            Fate::PaidAboutDue => "paid_about_due",
            Fate::PaidLate => "paid_late",
            Fate::ClosedEarly => "closed_early",
            Fate::ClosedLate => "closed_late",
        }
    }

    /// Is this a closing whose lateness is whoever closes rows' own?
    pub fn is_late_closing(self) -> bool {
        matches!(self, Fate::CancelledLate | Fate::ClosedLate)
    }

    /// Are such rows named? Those paid in time are as they should be.
    fn is_named(self) -> bool {
        !matches!(self, Fate::PaidInTime | Fate::ClosedEarly)
    }
}

/// What Duly would have done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instead {
    /// Cancelled it at its due time: it was open then.
    Cancelled,
    /// Left it alone: it was closed before.
    Kept,
    /// Nobody knows whether it was open at its due time: the table does not tell, and no look fell
    /// between.
    Unclear,
}

impl Instead {
    /// All of them.
    pub const ALL: [Instead; 3] = [Instead::Cancelled, Instead::Kept, Instead::Unclear];

    /// A stable word.
    pub fn word(self) -> &'static str {
        match self {
            Instead::Cancelled => "cancelled",
            Instead::Kept => "kept",
            Instead::Unclear => "unclear",
        }
    }
}

/// An instant that lies between two others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// Not before.
    pub earliest: Time,
    /// Not after.
    pub latest: Time,
    /// A column told it; else it is between two looks.
    pub told: bool,
}

impl When {
    /// The one instant to show: what the column said, or when it was first seen.
    pub fn shown(self) -> Time {
        if self.told { self.earliest } else { self.latest }
    }
}

/// One row, as it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its key.
    pub key: Key,
    /// When it was due.
    pub due: Time,
    /// When it was closed; none while it is open. For one that was cancelled, when that was.
    pub closed: Option<When>,
    /// When it was paid, if it was.
    pub paid: Option<When>,
    /// What Duly would have done.
    pub instead: Option<Instead>,
}

impl Case {
    /// How long after it was due it was closed.
    pub fn late(&self) -> Span {
        self.closed.map_or(Span::ZERO, |closed| closed.shown().since(self.due))
    }
}

/// How late rows were closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// By milliseconds, of which three digits are kept: so few entries whatever comes.
    counts: BTreeMap<u64, u64>,
    /// Of these, told by a column.
    pub told: u64,
    /// The others lie within so much.
    pub within: Span,
}

impl Delays {
    fn add(&mut self, case: &Case) {
        *self.counts.entry(three_digits(case.late())).or_default() += 1;
        let Some(closed) = case.closed else { return };
        self.told += u64::from(closed.told);
        if !closed.told {
            self.within = Span::from_millis(
                self.within.millis().max(closed.latest.since(closed.earliest).millis()),
            );
        }
    }

    fn take(&mut self, case: &Case) {
        let millis = three_digits(case.late());
        if let Some(count) = self.counts.get_mut(&millis) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&millis);
            }
        }
        self.told -= u64::from(case.closed.is_some_and(|closed| closed.told));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// So many of a hundred were not later than this.
    pub fn quantile(&self, percent: u64) -> Span {
        let wanted = (self.count() * percent).div_ceil(100);
        let mut seen = 0;
        for (millis, count) in &self.counts {
            seen += count;
            if seen >= wanted {
                return Span::from_millis(*millis);
            }
        }
        Span::ZERO
    }
}

/// A span of which three digits are kept; the others go up.
fn three_digits(span: Span) -> u64 {
    let mut unit = 1;
    while span.millis() / unit >= 1_000 {
        unit *= 10;
    }
    span.millis().div_ceil(unit) * unit
}

/// What the configuration lets the watch tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tells {
    /// Which closed rows were cancelled.
    pub cancelled: bool,
    /// Which rows were paid.
    pub paid: bool,
    /// When a row was changed.
    pub changed: bool,
}

/// Rows that are due and still open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// How many.
    pub count: u64,
    /// Of these, for longer than [`LONG`].
    pub long: u64,
    /// Those that were due first.
    pub first: Vec<Case>,
}

/// What was observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Since then; what was before nobody remembers.
    pub since: Time,
    /// Up to then.
    pub until: Time,
    /// What the configuration lets it tell.
    pub tells: Tells,
    /// Rows that were followed.
    pub followed: u64,
    /// Rows that were not: there were too many at a time.
    pub unfollowed: u64,
    /// Rows that are open and not yet due.
    pub open: u64,
    /// Rows that are due and still open.
    pub overdue: Overdue,
    /// How late rows were closed that nobody paid.
    pub delays: Delays,
    /// Rows that Duly would have cancelled although they were paid: `open` held for them.
    pub open_although_paid: u64,
    fates: BTreeMap<Fate, u64>,
    instead: BTreeMap<Instead, u64>,
    named: BTreeMap<Fate, VecDeque<Case>>,
}

impl Observed {
    /// Nothing yet.
    pub fn new(tells: Tells) -> Observed {
        Observed { tells, ..Observed::default() }
    }

    /// Rows with this fate.
    pub fn count(&self, fate: Fate) -> u64 {
        self.fates.get(&fate).copied().unwrap_or_default()
    }

    /// Rows that Duly would have treated so.
    pub fn instead(&self, instead: Instead) -> u64 {
        self.instead.get(&instead).copied().unwrap_or_default()
    }

    /// The rows with this fate that are named: the latest of those that were late, else the last.
    pub fn named(&self, fate: Fate) -> impl ExactSizeIterator<Item = &Case> {
        static NONE: VecDeque<Case> = VecDeque::new();
        self.named.get(&fate).unwrap_or(&NONE).iter()
    }

    /// A row has met its fate.
    pub fn add(&mut self, fate: Fate, case: Case) {
        *self.fates.entry(fate).or_default() += 1;
        if fate.is_late_closing() {
            self.delays.add(&case);
        }
        if !fate.is_named() {
            return;
        }
        let named = self.named.entry(fate).or_default();
        named.push_back(case);
        if named.len() > NAMED {
            let least = if fate.is_late_closing() {
                named.iter().enumerate().min_by_key(|(_, case)| case.late()).map(|(at, _)| at)
            } else {
                Some(0)
            };
            named.remove(least.unwrap_or_default());
        }
    }

    /// A row has got another fate, or none again.
    pub fn take(&mut self, fate: Fate, case: &Case) {
        if let Some(count) = self.fates.get_mut(&fate) {
            *count -= 1;
        }
        if fate.is_late_closing() {
            self.delays.take(case);
        }
        if let Some(named) = self.named.get_mut(&fate) {
            named.retain(|known| known.key != case.key);
        }
    }

    /// It has become known what Duly would have done with a row; or it was taken back.
    pub fn would(&mut self, instead: Instead, is_so: bool) {
        let count = self.instead.entry(instead).or_default();
        *count = if is_so { *count + 1 } else { count.saturating_sub(1) };
    }

    /// Rows that were due while they were followed and open then.
    pub fn fell_due(&self) -> u64 {
        self.instead(Instead::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Time = Time::from_millis(1_795_348_800_000);

    fn case(number: u64, late_ms: u64) -> Case {
        let at = NOON.plus(Span::from_millis(late_ms));
        Case {
            key: Key::new(&number.to_string()).expect("a number is a key"),
            due: NOON,
            closed: Some(When { earliest: at, latest: at, told: true }),
            paid: None,
            instead: Some(Instead::Cancelled),
        }
    }

    #[test]
    fn quantiles_are_of_the_rows_and_the_worst_is_the_last_of_a_hundred() {
        let mut observed = Observed::default();
        for number in 1..=200 {
            observed.add(Fate::CancelledLate, case(number, number * 1_000));
        }
        let delays = &observed.delays;
        assert_eq!((delays.count(), delays.told), (200, 200));
        assert_eq!(delays.quantile(50), Span::from_secs(100));
        assert_eq!(delays.quantile(99), Span::from_secs(198));
        assert_eq!(delays.quantile(100), Span::from_secs(200));
        assert_eq!(three_digits(Span::from_millis(123_401)), 124_000);
        assert_eq!(three_digits(Span::from_millis(999)), 999);
    }

    #[test]
    fn the_latest_are_named_and_all_are_counted() {
        let mut observed = Observed::default();
        for number in 1..=300 {
            observed.add(Fate::CancelledLate, case(number, number * 7_919 % 1_000));
            observed.add(Fate::PaidLate, case(number, 5));
        }
        assert_eq!(observed.count(Fate::CancelledLate), 300);
        let mut late: Vec<u64> = (1..=300).map(|number| number * 7_919 % 1_000).collect();
        late.sort_unstable();
        let named = observed.named(Fate::CancelledLate).map(|case| case.late().millis());
        let mut named: Vec<u64> = named.collect();
        named.sort_unstable();
        assert_eq!(named, late[200..]);
        let last: Vec<&str> = observed.named(Fate::PaidLate).map(|it| it.key.as_str()).collect();
        assert_eq!((last.len(), last[0], last[99]), (NAMED, "201", "300"));
    }

    #[test]
    fn a_row_that_gets_another_fate_leaves_the_first_one_whole() {
        let mut observed = Observed::default();
        observed.add(Fate::CancelledLate, case(1, 250));
        observed.add(Fate::CancelledLate, case(2, 250));
        observed.take(Fate::CancelledLate, &case(1, 250));
        observed.add(Fate::CancelledAlthoughPaid, case(1, 250));
        assert_eq!((observed.count(Fate::CancelledLate), observed.delays.count()), (1, 1));
        assert_eq!(observed.named(Fate::CancelledLate).len(), 1);
        assert_eq!(observed.count(Fate::CancelledAlthoughPaid), 1);
    }
}
