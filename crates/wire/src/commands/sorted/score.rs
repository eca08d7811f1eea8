//! Scores: instants as numbers, in seconds with a fraction or in milliseconds.
//!
//! A number with a fraction is seldom exact. What is a whole millisecond but for that is that
//! millisecond; whatever lies between two is the later one, so that nothing is due too early.

use duly_engine::time::{Span, Time};

use super::No;
use crate::Score;
use crate::number;
use crate::reply::Reply;

/// Nearer than this to a whole millisecond is one: what is lost when an instant of these centuries is
/// written as a number of seconds is a quarter of that.
const NEAR: f64 = 0.001;

impl Score {
    fn millis(self) -> f64 {
        match self {
            Score::Seconds => 1_000.0,
            Score::Milliseconds => 1.0,
        }
    }

    /// The word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Score::Seconds => "seconds",
            Score::Milliseconds => "milliseconds",
        }
    }
}

/// Instants from one on, before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: Time,
    pub(super) to: Time,
}

impl Range {
    /// From `min` to `max` as Redis writes them: `(` before a bound leaves it out.
    pub(super) fn read(min: &[u8], max: &[u8], unit: Score) -> Result<Range, No> {
        let (min, leaves_min) = bound(min, unit)?;
        let (max, leaves_max) = bound(max, unit)?;
        // The first whole millisecond at a bound, and the first after it.
        let (at, after) = (f64::ceil, |ms: f64| ms.floor() + 1.0);
        let from = if leaves_min { after(min) } else { at(min) };
        let to = if leaves_max { at(max) } else { after(max) };
        Ok(Range { from: time(from), to: time(to) })
    }

    /// Is nothing left out?
    pub(super) fn is_all(self) -> bool {
        self == Range { from: Time::ZERO, to: Time::NEVER }
    }
}

/// A bound in milliseconds, and whether it is itself left out.
fn bound(word: &[u8], unit: Score) -> Result<(f64, bool), No> {
    let bare = word.strip_prefix(b"(");
    let number = number::float(bare.unwrap_or(word));
    let number = number.ok_or_else(|| No::err("min or max is not a float"))?;
    Ok((whole(number * unit.millis()), bare.is_some()))
}

/// The same without what was lost in writing it.
fn whole(ms: f64) -> f64 {
    let near = ms.round();
    if (ms - near).abs() < NEAR { near } else { ms }
}

/// The instant that a score means.
pub(super) fn instant(word: &[u8], unit: Score) -> Result<Time, No> {
    let score = number::float(word).ok_or_else(|| No::err("value is not a valid float"))?;
    if score < 0.0 || score.is_infinite() {
        let unit = unit.word();
        return Err(No::err(format!("a score is an instant: a number of {unit} since 1970")));
    }
    Ok(time(whole(score * unit.millis()).ceil()))
}

/// A number of seconds, and never less.
pub(super) fn span(seconds: f64) -> Span {
    time((seconds * 1_000.0).ceil()).since(Time::ZERO)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is too small or too large becomes the first or the last instant there is"
)]
fn time(ms: f64) -> Time {
    Time::from_millis(ms as u64)
}

/// A due time as a score.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact for ages")]
pub(super) fn shown(due: Time, unit: Score) -> Reply {
    Reply::Double(due.millis() as f64 / unit.millis())
}

#[cfg(test)]
mod tests {
    use super::{Range, instant};
    use crate::Score::{Milliseconds, Seconds};
    use duly_engine::time::Time;

    #[test]
    fn a_score_is_an_instant_and_never_an_earlier_one() {
        for (word, unit, ms) in [
            ("1795348800", Seconds, 1_795_348_800_000),
            ("1795348800.123", Seconds, 1_795_348_800_123),
            ("1795348800.1231", Seconds, 1_795_348_800_124),
            ("1795348800.999", Seconds, 1_795_348_800_999),
            ("1.7953488e9", Seconds, 1_795_348_800_000),
            ("1795348800123", Milliseconds, 1_795_348_800_123),
            ("1795348800123.5", Milliseconds, 1_795_348_800_124),
            ("0", Seconds, 0),
        ] {
            let time = instant(word.as_bytes(), unit).ok().expect(word);
            assert_eq!(time, Time::from_millis(ms), "{word}");
        }
        for word in ["inf", "-inf", "-1", "nan", "", "x", "1 "] {
            assert!(instant(word.as_bytes(), Seconds).is_err(), "{word}");
        }
    }

    #[test]
    fn every_whole_millisecond_can_be_written_in_seconds() {
        for ms in (0..1_000_000).map(|step| 1_795_348_800_000 + step * 1_000_003) {
            let word = format!("{}.{:03}", ms / 1_000, ms % 1_000);
            let time = instant(word.as_bytes(), Seconds).ok().expect("it is a number");
            assert_eq!(time, Time::from_millis(ms), "{word}");
        }
    }

    #[test]
    fn a_range_has_its_bounds_unless_they_are_left_out() {
        for (min, max, from, to) in [
            ("1", "2", 1_000, 2_001),
            ("(1", "(2", 1_001, 2_000),
            ("1.0005", "2.0005", 1_001, 2_001),
            ("(1.0005", "(2.0005", 1_001, 2_001),
            ("-inf", "+inf", 0, u64::MAX),
            ("-5", "-4", 0, 0),
            ("0", "0", 0, 1),
        ] {
            let range = Range::read(min.as_bytes(), max.as_bytes(), Seconds);
            let expected = Range { from: Time::from_millis(from), to: Time::from_millis(to) };
            assert_eq!(range.ok().expect(min), expected, "{min} {max}");
        }
        assert!(Range::read(b"[1", b"2", Seconds).is_err());
        assert!(Range::read(b"1", b"", Seconds).is_err());
    }
}
