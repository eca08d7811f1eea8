//! Durations and instants as people write them.
//!
//! A duration is `90s`, `1h30m`, `1d`, ISO 8601 (`PT30M`) or a bare integer of seconds; an instant is
//! RFC 3339 with its offset or an integer of milliseconds since 1970. Whatever looks like one and
//! could be misread is refused with a hint, never guessed: the text `30`, the month `P1M`, seconds
//! where milliseconds belong. The configuration, HTTP and the command line share this one reading.
//! Nothing here reads a clock: what is relative stays relative.

#[cfg(test)]
mod tests;

use std::fmt;

use duly_engine::limits::HORIZON;
use duly_engine::time::{Span, Time};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{Offset, TimeZone};
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

/// Floating-point numbers below this hold whole numbers exactly.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
/// An instant written as an integer below this is taken for seconds and refused.
const FIRST_PLAUSIBLE_MILLIS: i128 = 100_000_000_000;
/// [`HORIZON`] in seconds, for the schema.
const HORIZON_SECONDS: u64 = HORIZON.millis() / 1_000;
/// How durations are shown, and most of the ways in which they are written.
const DURATION_PATTERN: &str = concat!(
    "^(([12]?[0-9]{1,3}d|3[0-5][0-9]{2}d|36[0-4][0-9]d|365[0-3]d)?([0-9]{1,4}h)?([0-9]{1,6}m)?",
    "([0-9]{1,8}s)?([0-9]{1,9}ms)?",
    "|P[0-9]{1,3}D|PT([0-9]{1,4}H)?[0-9]{1,6}M|PT[0-9]{1,4}H|PT[0-9]{1,8}S)$"
);

/// Why something written is not a duration or an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUnit {
    /// Stable: `bad_duration`, `bad_instant` or `instant_in_seconds`.
    pub code: &'static str,
    /// What is wrong, with what was written.
    pub why: String,
    /// What to write instead.
    pub hint: &'static str,
}

impl fmt::Display for BadUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.why, self.hint)
    }
}

impl std::error::Error for BadUnit {}

/// A duration as it was written, not yet understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenDuration(Written);

/// An instant as it was written, not yet understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenInstant(Written);

/// What stood there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Written {
    Integer(i128),
    Text(String),
    /// Neither; the words say what.
    Other(&'static str),
}

impl WrittenDuration {
    /// The duration; never negative, never longer than ten years.
    pub fn span(&self) -> Result<Span, BadUnit> {
        let millis = self.signed_millis()?;
        let millis = u64::try_from(millis).map_err(|_| {
            bad_duration(format!("{self} is negative"), "a duration is zero or more")
        })?;
        Ok(Span::from_millis(millis))
    }

    /// The duration in milliseconds where a negative one means earlier; at most ten years either way.
    pub fn signed_millis(&self) -> Result<i64, BadUnit> {
        let millis = self.millis()?;
        if millis.unsigned_abs() > u128::from(HORIZON.millis()) {
            return Err(bad_duration(
                format!("{self} is longer than ten years"),
                "a bare number is in seconds, not in milliseconds",
            ));
        }
        Ok(i64::try_from(millis).expect("ten years of milliseconds fit in 63 bits"))
    }

    /// Is it a good duration but for being longer than ten years?
    pub fn is_too_long(&self) -> bool {
        self.millis().is_ok_and(|millis| millis > i128::from(HORIZON.millis()))
    }

    fn millis(&self) -> Result<i128, BadUnit> {
        match &self.0 {
            Written::Integer(seconds) => Ok(seconds.saturating_mul(1_000)),
            Written::Text(text) => parse_duration(text),
            Written::Other(what) => Err(bad_duration(
                format!("{what} is no duration"),
                "write \"30m\", \"1h30m\", \"PT30M\" or a whole number of seconds",
            )),
        }
    }
}

impl WrittenInstant {
    /// The instant.
    pub fn time(&self) -> Result<Time, BadUnit> {
        match &self.0 {
            Written::Integer(millis) => instant_from_millis(*millis),
            Written::Text(text) => parse_instant(text),
            Written::Other(what) => Err(bad_instant(format!("{what} is no instant"))),
        }
    }
}

/// A duration from a command line's or an environment's text.
pub fn duration(text: &str) -> Result<Span, BadUnit> {
    WrittenDuration::from(text).span()
}

/// A duration from a protocol in which numbers are text, too: digits alone are seconds.
pub fn duration_or_seconds(text: &str) -> Result<Span, BadUnit> {
    match text.parse() {
        Ok(seconds) => WrittenDuration(Written::Integer(seconds)).span(),
        Err(_) => duration(text),
    }
}

/// An instant from a command line's or an environment's text; digits alone are milliseconds.
pub fn instant(text: &str) -> Result<Time, BadUnit> {
    match text.parse::<i128>() {
        Ok(millis) => instant_from_millis(millis),
        Err(_) => parse_instant(text),
    }
}

/// The zone that an operator names: `UTC`, `Europe/Berlin`, `+02:00`.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    DateTimeParser::new().parse_time_zone(name).map_err(|_| {
        format!("{name:?} is no time zone; write UTC, a name such as Europe/Berlin, or +02:00")
    })
}

/// An instant as the API shows it: RFC 3339, UTC, milliseconds (`2026-11-22T12:30:00.000Z`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown(pub Time);

/// The bytes of an instant that is shown.
type ShownBytes = [u8; 24];

impl Shown {
    /// Every record shows a few of them: the library knows the calendar, and the digits are written
    /// here, where there is one form and not all there are.
    fn bytes(self) -> ShownBytes {
        let millis = i64::try_from(self.0.millis()).unwrap_or(i64::MAX);
        let stamp = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
        let shown = Offset::UTC.to_datetime(stamp);
        let mut bytes = *b"0000-00-00T00:00:00.000Z";
        let mut put = |end: usize, digits: usize, number: i16| {
            let mut rest = number.unsigned_abs();
            for place in (end - digits..end).rev() {
                bytes[place] += u8::try_from(rest % 10).expect("a digit fits");
                rest /= 10;
            }
        };
        put(4, 4, shown.year());
        put(7, 2, shown.month().into());
        put(10, 2, shown.day().into());
        put(13, 2, shown.hour().into());
        put(16, 2, shown.minute().into());
        put(19, 2, shown.second().into());
        put(23, 3, shown.millisecond());
        bytes
    }
}

/// The text of them.
fn ascii(bytes: &ShownBytes) -> &str {
    str::from_utf8(bytes).expect("digits are ASCII")
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(ascii(&self.bytes()))
    }
}

/// Writes the text of an instant that is [`Shown`].
pub fn write_instant(time: Time, out: &mut Vec<u8>) {
    out.extend_from_slice(&Shown(time).bytes());
}

/// The text of an instant that is [`Shown`].
pub fn show_instant(time: Time) -> String {
    ascii(&Shown(time).bytes()).to_owned()
}

fn parse_duration(text: &str) -> Result<i128, BadUnit> {
    if !text.is_empty() && text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad_duration(
            format!("{:?} has no unit", shortened(text)),
            "write \"30m\" or \"30s\"; a JSON number without quotes is in seconds",
        ));
    }
    let span: jiff::Span = text.parse().map_err(|_| {
        bad_duration(
            format!("{:?} is no duration", shortened(text)),
            "write \"90s\", \"30m\", \"1h30m\", \"1d\" or ISO 8601 \"PT30M\"",
        )
    })?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(bad_duration(
            format!("{:?} has calendar months or years, whose length varies", shortened(text)),
            "write days (\"30d\"); a minute in ISO 8601 is \"PT1M\", not \"P1M\"",
        ));
    }
    if span.get_microseconds() != 0 || span.get_nanoseconds() != 0 {
        return Err(bad_duration(
            format!("{:?} is not a whole number of milliseconds", shortened(text)),
            "the shortest unit is \"1ms\"",
        ));
    }
    let units = [
        (i128::from(span.get_weeks()), 604_800_000),
        (i128::from(span.get_days()), 86_400_000),
        (i128::from(span.get_hours()), 3_600_000),
        (i128::from(span.get_minutes()), 60_000),
        (i128::from(span.get_seconds()), 1_000),
        (i128::from(span.get_milliseconds()), 1),
    ];
    Ok(units.into_iter().map(|(count, millis)| count * millis).sum())
}

fn parse_instant(text: &str) -> Result<Time, BadUnit> {
    let stamp: Timestamp = text
        .parse()
        .map_err(|_| bad_instant(format!("{:?} is no instant with an offset", shortened(text))))?;
    let millis = u64::try_from(stamp.as_millisecond())
        .map_err(|_| bad_instant(format!("{:?} is before 1970", shortened(text))))?;
    Ok(Time::from_millis(millis))
}

fn instant_from_millis(millis: i128) -> Result<Time, BadUnit> {
    if (0..FIRST_PLAUSIBLE_MILLIS).contains(&millis) {
        return Err(BadUnit {
            code: "instant_in_seconds",
            why: format!("{millis} milliseconds after 1970 is before 1973; it looks like seconds"),
            hint: "an instant as a number is in milliseconds since 1970: multiply seconds by 1000",
        });
    }
    let fits = u64::try_from(millis).ok().filter(|&millis| {
        i64::try_from(millis).is_ok_and(|millis| Timestamp::from_millisecond(millis).is_ok())
    });
    fits.map(Time::from_millis).ok_or_else(|| bad_instant(format!("{millis} is out of range")))
}

fn bad_duration(why: String, hint: &'static str) -> BadUnit {
    BadUnit { code: "bad_duration", why, hint }
}

fn bad_instant(why: String) -> BadUnit {
    BadUnit {
        code: "bad_instant",
        why,
        hint: "write RFC 3339 with an offset, \"2026-11-22T12:30:00Z\", or milliseconds since 1970",
    }
}

/// What is shown back of something that cannot be right: its beginning.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

impl From<&str> for WrittenDuration {
    fn from(text: &str) -> WrittenDuration {
        WrittenDuration(Written::Text(text.to_owned()))
    }
}

impl From<Span> for WrittenDuration {
    fn from(span: Span) -> WrittenDuration {
        WrittenDuration(Written::Text(span.to_string()))
    }
}

impl From<Time> for WrittenInstant {
    fn from(time: Time) -> WrittenInstant {
        WrittenInstant(Written::Text(show_instant(time)))
    }
}

impl From<&str> for WrittenInstant {
    /// As in an address: digits alone are a number.
    fn from(text: &str) -> WrittenInstant {
        WrittenInstant(match text.parse() {
            Ok(millis) => Written::Integer(millis),
            Err(_) => Written::Text(text.to_owned()),
        })
    }
}

impl fmt::Display for WrittenDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Written::Integer(seconds) => write!(f, "{seconds} s"),
            Written::Text(text) => write!(f, "{:?}", shortened(text)),
            Written::Other(what) => f.write_str(what),
        }
    }
}

/// Takes anything, so that what is not a duration or an instant gets a hint and not a type name.
struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a whole number")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Written, E> {
        Ok(Written::Integer(i128::from(number)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Written, E> {
        Ok(Written::Integer(i128::from(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Written, E> {
        Ok(Written::Text(text.to_owned()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Written, E> {
        // `1800.0` is what some languages make of 1800.
        let whole = number.fract() == 0.0 && number.abs() < EXACT_BELOW;
        let integer = whole.then(|| format!("{number:.0}").parse().ok()).flatten();
        Ok(integer.map_or(Written::Other("a fraction"), Written::Integer))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Written, E> {
        Ok(Written::Other("true or false"))
    }

    fn visit_unit<E>(self) -> Result<Written, E> {
        Ok(Written::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Written, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Written::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Written, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Written::Other("an object"))
    }
}

impl<'de> Deserialize<'de> for WrittenDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WrittenDuration, D::Error> {
        deserializer.deserialize_any(Anything).map(WrittenDuration)
    }
}

impl<'de> Deserialize<'de> for WrittenInstant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WrittenInstant, D::Error> {
        deserializer.deserialize_any(Anything).map(WrittenInstant)
    }
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Written::Integer(number) => serializer.serialize_i128(*number),
            Written::Text(text) => serializer.serialize_str(text),
            Written::Other(what) => Err(serde::ser::Error::custom(what)),
        }
    }
}

impl Serialize for WrittenDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Serialize for WrittenInstant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl PartialSchema for WrittenDuration {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .min_length(Some(2))
            .pattern(Some(DURATION_PATTERN))
            .description(Some("`90s`, `30m`, `1h30m`, `1d`, or ISO 8601 such as `PT30M`"));
        let seconds = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Integer))
            .minimum(Some(0_u64))
            .maximum(Some(HORIZON_SECONDS))
            .description(Some("seconds"));
        OneOfBuilder::new().item(text).item(seconds).into()
    }
}

impl ToSchema for WrittenDuration {
    fn name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
}

impl PartialSchema for WrittenInstant {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339 with an offset"));
        let millis = ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::Integer))
            .minimum(Some(100_000_000_000_u64))
            .maximum(Some(Timestamp::MAX.as_millisecond()))
            .description(Some("milliseconds since 1970"));
        OneOfBuilder::new().item(text).item(millis).into()
    }
}

impl ToSchema for WrittenInstant {
    fn name() -> std::borrow::Cow<'static, str> {
        "Instant".into()
    }
}
