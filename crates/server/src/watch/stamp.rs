//! How a table writes down instants, and how they are read without ever being early.
//!
//! A column holds local text (`2026-11-22 12:30:00`), text with an offset, seconds or milliseconds
//! since 1970. Local text is ambiguous for an hour a year, when the clocks are set back, and names
//! times that never were when they are set forward: both readings are kept, so that whoever decides
//! can take the later one. Bounds for a search go the other way: they are never too late. Nothing
//! here reads a clock or knows a table.

use duly_engine::time::{Span, Time};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{Offset, TimeZone};

use crate::database::Value;

/// Numbers below this are seconds since 1970, others milliseconds: the line between 1973 and 5138.
const FIRST_MILLIS: i64 = 100_000_000_000;
/// After the clocks are set back, local time has caught up with itself within this.
const SET_BACK: Span = Span::from_hours(26);

/// What a column holds for instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A date and a time of day, in letters and digits that sort like the times.
    Text,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
}

impl Form {
    /// The form of a value; none of a value that is no instant.
    pub(super) fn of(value: &Value) -> Option<Form> {
        match value {
            Value::Integer(number) if *number < FIRST_MILLIS => Some(Form::Seconds),
            Value::Integer(_) => Some(Form::Millis),
            Value::Text(text) if decimal(text).is_some() => Some(Form::Seconds),
            Value::Text(_) => Some(Form::Text),
            Value::Null | Value::Real(_) => None,
        }
    }
}

/// What was written, when there is more than one way to read it: from the earliest to the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instants {
    /// The earlier reading.
    pub(super) earliest: Time,
    /// The later one; mostly the same.
    pub(super) latest: Time,
}

impl Instants {
    /// Something that can be read in one way only.
    pub(super) fn one(at: Time) -> Instants {
        Instants { earliest: at, latest: at }
    }

    /// Is this one of the readings?
    pub(super) fn may_be(self, at: Time) -> bool {
        at == self.earliest || at == self.latest
    }

    /// Both readings, later by `span`.
    pub(super) fn plus(self, span: Span) -> Instants {
        Instants { earliest: self.earliest.plus(span), latest: self.latest.plus(span) }
    }
}

/// Reads a value. Text without an offset is local time in `zone`; text with one must agree with the
/// zone, or a search by the column would pass it over.
pub(super) fn read(value: &Value, zone: &TimeZone) -> Result<Instants, String> {
    match value {
        Value::Null => Err("is NULL".to_owned()),
        Value::Real(seconds) => seconds_with_fraction(*seconds),
        Value::Integer(number) => {
            let millis =
                if *number < FIRST_MILLIS { number.saturating_mul(1_000) } else { *number };
            let millis = u64::try_from(millis).map_err(|_| "is before 1970".to_owned())?;
            Ok(Instants::one(Time::from_millis(millis)))
        }
        Value::Text(text) => match decimal(text) {
            Some(seconds) => seconds_with_fraction(seconds),
            None => read_text(text.trim(), zone),
        },
    }
}

/// What the column holds at this instant or earlier: whatever was written at or after it compares
/// as greater or equal.
pub(super) fn bound(at: Time, form: Form, zone: &TimeZone) -> Value {
    let millis = i64::try_from(at.millis()).unwrap_or(i64::MAX);
    match form {
        Form::Seconds => Value::Integer(millis / 1_000),
        Form::Millis => Value::Integer(millis),
        Form::Text => {
            let stamp = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
            let end = Timestamp::from_millisecond(
                millis.saturating_add(i64::try_from(SET_BACK.millis()).unwrap_or(i64::MAX)),
            );
            let end = end.unwrap_or(Timestamp::MAX);
            let local = zone
                .following(stamp)
                .map(|transition| transition.timestamp())
                .take_while(|at| *at <= end)
                .map(|at| zone.to_datetime(at))
                .fold(zone.to_datetime(stamp), DateTime::min);
            Value::Text(local.strftime("%Y-%m-%d %H:%M:%S").to_string())
        }
    }
}

fn read_text(text: &str, zone: &TimeZone) -> Result<Instants, String> {
    let shown = || format!("{:?} cannot be read as a date and a time", shortened(text));
    if let Some((stamp, offset)) = with_offset(text) {
        return if zone.to_offset(stamp) == offset {
            Ok(Instants::one(upwards(stamp)?))
        } else {
            Err(format!("{:?} has another offset than the watch's time_zone", shortened(text)))
        };
    }
    let local: DateTime = text.parse().map_err(|_| shown())?;
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let (Ok(one), Ok(other)) = (ambiguous.earlier(), ambiguous.later()) else {
        return Err(shown());
    };
    Ok(Instants { earliest: upwards(one.min(other))?, latest: upwards(one.max(other))? })
}

/// An instant that says its own offset.
fn with_offset(text: &str) -> Option<(Timestamp, Offset)> {
    let pieces = DateTimeParser::new().parse_pieces(text).ok()?;
    let offset = pieces.to_numeric_offset()?;
    let local = DateTime::from_parts(pieces.date(), pieces.time()?);
    Some((offset.to_timestamp(local).ok()?, offset))
}

/// To whole milliseconds, never down: a deadline is never early, not by a microsecond.
fn upwards(stamp: Timestamp) -> Result<Time, String> {
    let nanos = stamp.as_nanosecond();
    let millis = nanos.div_euclid(1_000_000) + i128::from(nanos.rem_euclid(1_000_000) != 0);
    let millis = u64::try_from(millis).map_err(|_| "is before 1970".to_owned())?;
    Ok(Time::from_millis(millis))
}

/// Seconds since 1970 with a fraction, as text.
fn decimal(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits(whole) && digits(fraction) { text.parse().ok() } else { None }
}

fn seconds_with_fraction(seconds: f64) -> Result<Instants, String> {
    let plausible = 0.0..1e11;
    if !plausible.contains(&seconds) {
        return Err(format!("{seconds} is no instant in seconds since 1970"));
    }
    let whole = std::time::Duration::from_secs_f64(seconds);
    let millis = whole.as_nanos().div_ceil(1_000_000);
    let millis = u64::try_from(millis).map_err(|_| format!("{seconds} is out of range"))?;
    Ok(Instants::one(Time::from_millis(millis)))
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{instant, time_zone as zone};

    fn at(text: &str) -> Time {
        instant(text).expect("the test writes instants")
    }

    fn reading(text: &str, name: &str) -> Result<Instants, String> {
        read(&Value::Text(text.to_owned()), &zone(name).expect("the zone is known"))
    }

    fn bound_of(text: &str, name: &str) -> String {
        match bound(at(text), Form::Text, &zone(name).expect("the zone is known")) {
            Value::Text(text) => text,
            other => panic!("a bound of text is {other:?}"),
        }
    }

    #[test]
    fn local_text_is_read_in_its_zone() {
        let noon = Instants::one(at("2026-11-22T12:30:00Z"));
        for (text, zone) in [
            ("2026-11-22 12:30:00", "UTC"),
            ("2026-11-22T12:30:00", "UTC"),
            ("2026-11-22 12:30:00.000000", "UTC"),
            ("2026-11-22T12:30:00Z", "UTC"),
            ("2026-11-22 12:30:00+00", "UTC"),
            ("2026-11-22 13:30:00", "Europe/Berlin"),
            ("2026-11-22 13:30:00+01:00", "Europe/Berlin"),
            ("2026-11-22 10:30:00", "-02:00"),
            ("2026-11-22 18:00:00", "+05:30"),
        ] {
            assert_eq!(reading(text, zone), Ok(noon), "{text} in {zone}");
        }
    }

    #[test]
    fn numbers_are_seconds_or_milliseconds() {
        let utc = TimeZone::UTC;
        let wanted = Instants::one(at("2026-11-22T12:30:00Z"));
        assert_eq!(read(&Value::Integer(1_795_350_600), &utc), Ok(wanted));
        assert_eq!(read(&Value::Integer(1_795_350_600_000), &utc), Ok(wanted));
        assert_eq!(read(&Value::Text("1795350600.0".to_owned()), &utc), Ok(wanted));
    }

    #[test]
    fn a_fraction_of_a_millisecond_is_never_early() {
        let wanted = Instants::one(at("2026-11-22T12:30:00.001Z"));
        assert_eq!(reading("2026-11-22 12:30:00.000001", "UTC"), Ok(wanted));
    }

    #[test]
    fn the_hour_that_comes_twice_has_two_readings() {
        let twice = reading("2026-10-25 02:30:00", "Europe/Berlin").expect("it can be read");
        assert_eq!(twice.earliest, at("2026-10-25T00:30:00Z"));
        assert_eq!(twice.latest, at("2026-10-25T01:30:00Z"));
    }

    #[test]
    fn the_hour_that_never_was_is_read_as_the_later_one_too() {
        let never = reading("2026-03-29 02:30:00", "Europe/Berlin").expect("it can be read");
        assert_eq!(never.earliest, at("2026-03-29T00:30:00Z"));
        assert_eq!(never.latest, at("2026-03-29T01:30:00Z"));
    }

    #[test]
    fn what_is_no_instant_is_said_and_never_guessed() {
        for text in ["", "soon", "0000-00-00 00:00:00", "2026-13-01 00:00:00", "12:30"] {
            assert!(reading(text, "UTC").is_err(), "{text:?} was read");
        }
        assert!(read(&Value::Null, &TimeZone::UTC).is_err());
        assert!(read(&Value::Integer(-1), &TimeZone::UTC).is_err());
        assert!(read(&Value::Text("99999999999999.5".to_owned()), &TimeZone::UTC).is_err());
        let other = reading("2026-11-22 12:30:00+02:00", "UTC").expect_err("the offsets differ");
        assert!(other.contains("another offset"), "{other}");
    }

    #[test]
    fn a_bound_is_never_later_than_what_is_written_afterwards() {
        assert_eq!(bound_of("2026-11-22T12:30:00.900Z", "UTC"), "2026-11-22 12:30:00");
        // 02:50 in summer time; ten minutes later it is 02:00 again.
        assert_eq!(bound_of("2026-10-25T00:50:00Z", "Europe/Berlin"), "2026-10-25 02:00:00");
        assert_eq!(bound_of("2026-10-25T01:10:00Z", "Europe/Berlin"), "2026-10-25 02:10:00");
        assert_eq!(bound_of("2026-03-29T00:50:00Z", "Europe/Berlin"), "2026-03-29 01:50:00");
    }

    #[test]
    fn every_bound_holds_for_every_minute_around_a_change_of_the_clocks() {
        for (name, noon) in [
            ("Europe/Berlin", "2026-10-25T00:00:00Z"),
            ("Europe/Berlin", "2026-03-29T00:00:00Z"),
            ("America/New_York", "2026-11-01T05:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T14:00:00Z"),
        ] {
            let zone = zone(name).expect("the zone is known");
            let minute = |n: u64| at(noon).plus(Span::from_mins(n)).minus(Span::from_hours(3));
            for from in 0..360 {
                let Value::Text(bound) = bound(minute(from), Form::Text, &zone) else {
                    panic!("a bound of text is text")
                };
                for later in (from..360).step_by(7) {
                    let millis = i64::try_from(minute(later).millis()).expect("it is near");
                    let stamp = Timestamp::from_millisecond(millis).expect("it is near");
                    let written = zone.to_datetime(stamp).strftime("%Y-%m-%d %H:%M:%S").to_string();
                    assert!(written >= bound, "{name}: {written} is before the bound {bound}");
                    let read = read(&Value::Text(written), &zone).expect("it was just written");
                    assert!(read.may_be(minute(later)), "{name}: {read:?} for {later}");
                }
            }
        }
    }
}
