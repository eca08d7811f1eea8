//! Instants and spans, both in whole milliseconds.
//!
//! A `Time` is milliseconds since 1970 UTC as the server's clock told them to the engine; a `Span`
//! is a length of time. They are two types so that adding two instants does not compile. Nothing
//! here reads a clock, and arithmetic saturates: a deadline "in the far future plus a day" is still
//! in the far future, never in 1970.

use std::fmt;

/// An absolute instant: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

/// A length of time in milliseconds, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Time {
    /// 1970-01-01T00:00:00Z; also "no time yet" for clocks that have not been read.
    pub const ZERO: Time = Time(0);
    /// Later than anything that can be scheduled.
    pub const NEVER: Time = Time(u64::MAX);

    /// The instant this many milliseconds after 1970.
    pub const fn from_millis(millis: u64) -> Time {
        Time(millis)
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// This instant, later by `span`.
    #[must_use]
    pub const fn plus(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }

    /// This instant, earlier by `span`; not before 1970.
    #[must_use]
    pub const fn minus(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// A span of this many milliseconds.
    pub const fn from_millis(millis: u64) -> Span {
        Span(millis)
    }

    /// A span of this many seconds.
    pub const fn from_secs(seconds: u64) -> Span {
        Span(seconds.saturating_mul(1_000))
    }

    /// A span of this many minutes.
    pub const fn from_mins(minutes: u64) -> Span {
        Span::from_secs(minutes.saturating_mul(60))
    }

    /// A span of this many hours.
    pub const fn from_hours(hours: u64) -> Span {
        Span::from_mins(hours.saturating_mul(60))
    }

    /// A span of this many days of 24 hours.
    pub const fn from_days(days: u64) -> Span {
        Span::from_hours(days.saturating_mul(24))
    }

    /// Its length in milliseconds.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Both spans together.
    #[must_use]
    pub const fn plus(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }

    /// What is left of this span after `other`; never negative.
    #[must_use]
    pub const fn minus(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }

    /// No time at all?
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Span {
    /// The shortest exact form a person writes: `1h30m`, `90s`, `0s`, `250ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 5] =
            [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        if self.is_zero() {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (size, unit) in UNITS {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}
