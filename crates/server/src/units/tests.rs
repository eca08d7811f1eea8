//! What people write, and what comes of it.

use duly_engine::time::{Span, Time};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

use super::{
    WrittenDuration, WrittenInstant, duration, duration_or_seconds, instant, show_instant,
    time_zone,
};

fn json_duration(json: &str) -> Result<Span, super::BadUnit> {
    serde_json::from_str::<WrittenDuration>(json).expect("any JSON is taken").span()
}

fn json_instant(json: &str) -> Result<Time, super::BadUnit> {
    serde_json::from_str::<WrittenInstant>(json).expect("any JSON is taken").time()
}

#[test]
fn durations_are_read_as_people_write_them() {
    let cases = [
        (r#""90s""#, 90_000),
        (r#""30m""#, 1_800_000),
        (r#""1h30m""#, 5_400_000),
        (r#""1h 30m""#, 5_400_000),
        (r#""30 minutes""#, 1_800_000),
        (r#""1.5h""#, 5_400_000),
        (r#""1d""#, 86_400_000),
        (r#""2w""#, 1_209_600_000),
        (r#""PT30M""#, 1_800_000),
        (r#""P1D""#, 86_400_000),
        (r#""250ms""#, 250),
        (r#""0s""#, 0),
        ("1800", 1_800_000),
        ("1800.0", 1_800_000),
        ("0", 0),
    ];
    for (json, millis) in cases {
        assert_eq!(json_duration(json), Ok(Span::from_millis(millis)), "{json}");
    }
}

#[test]
fn where_numbers_are_text_digits_alone_are_seconds() {
    for (text, millis) in [("1800", Some(1_800_000)), ("30m", Some(1_800_000)), ("-1", None)] {
        assert_eq!(duration_or_seconds(text).ok().map(Span::millis), millis, "{text}");
    }
    assert!(duration("1800").is_err(), "elsewhere a text has its unit");
}

#[test]
fn what_could_be_misread_as_a_duration_is_refused_with_a_hint() {
    let cases = [
        (r#""30""#, "seconds"),
        (r#""P1M""#, "PT1M"),
        (r#""1mo""#, "days"),
        (r#""1y""#, "days"),
        (r#""-5m""#, "zero or more"),
        ("-5", "zero or more"),
        (r#""30m ago""#, "zero or more"),
        (r#""soon""#, "30m"),
        (r#""""#, "30m"),
        (r#""1us""#, "1ms"),
        ("1.5", "30m"),
        ("1e300", "30m"),
        ("true", "30m"),
        ("[30]", "30m"),
        (r#"{"m":30}"#, "30m"),
        (r#""4000d""#, "seconds"),
        ("1800000000", "milliseconds"),
        ("18446744073709551615", "milliseconds"),
    ];
    for (json, hint) in cases {
        let bad = json_duration(json).expect_err(json);
        assert_eq!(bad.code, "bad_duration", "{json}");
        assert!(bad.hint.contains(hint), "{json}: {bad}");
    }
}

#[test]
fn what_is_wrong_is_not_shown_back_whole() {
    for long in ["1".repeat(5_000), format!("{}y", "1".repeat(4)), format!("{}µs", "1".repeat(9))]
    {
        let bad = duration(&long).expect_err("it is no duration");
        assert!(bad.why.len() < 200, "{bad}");
    }
}

#[test]
fn a_shift_may_go_backward() {
    assert_eq!(WrittenDuration::from("-5m").signed_millis(), Ok(-300_000));
    assert_eq!(WrittenDuration::from("5m").signed_millis(), Ok(300_000));
}

#[test]
fn instants_are_rfc_3339_or_milliseconds() {
    let noon = Time::from_millis(1_795_348_800_000);
    assert_eq!(json_instant(r#""2026-11-22T12:00:00Z""#), Ok(noon));
    assert_eq!(json_instant(r#""2026-11-22T13:00:00+01:00""#), Ok(noon));
    assert_eq!(json_instant("1795348800000"), Ok(noon));
    assert_eq!(instant("1795348800000"), Ok(noon));
    assert_eq!(instant("2026-11-22T12:00:00.000Z"), Ok(noon));
}

#[test]
fn an_instant_in_seconds_is_refused_by_name() {
    for json in ["1795348800", "0", "99999999999"] {
        assert_eq!(json_instant(json).expect_err(json).code, "instant_in_seconds");
    }
    assert_eq!(instant("1795348800").expect_err("seconds").code, "instant_in_seconds");
}

#[test]
fn what_is_no_instant_is_refused() {
    let cases = [
        r#""2026-11-22T12:00:00""#,
        r#""2026-11-22""#,
        r#""tomorrow""#,
        r#""1960-01-01T00:00:00Z""#,
        "-1",
        "18446744073709551615",
        "1.5",
        "null",
    ];
    for json in cases {
        let bad = json_instant(json).expect_err(json);
        assert_eq!(bad.code, "bad_instant", "{json}");
    }
}

#[test]
fn instants_are_shown_in_utc_with_milliseconds() {
    assert_eq!(show_instant(Time::from_millis(1_795_348_800_000)), "2026-11-22T12:00:00.000Z");
    assert_eq!(show_instant(Time::from_millis(1_795_348_800_007)), "2026-11-22T12:00:00.007Z");
    assert!(show_instant(Time::NEVER).starts_with("9999-"));
    // As the library shows it, from 1970 to the last year it knows.
    let printer = DateTimePrinter::new().precision(Some(3));
    for number in 0..20_000_i64 {
        let millis = number * 12_670_000_013 + number * number % 1_000;
        let stamp = Timestamp::from_millisecond(millis).expect("it is before the year 10000");
        let time = Time::from_millis(u64::try_from(millis).expect("it is after 1970"));
        assert_eq!(show_instant(time), printer.timestamp_to_string(&stamp));
    }
}

#[test]
fn a_duration_shown_is_read_back() {
    for millis in [0, 1, 90_000, 5_400_000, 86_400_001] {
        let span = Span::from_millis(millis);
        assert_eq!(duration(&span.to_string()), Ok(span));
    }
}

#[test]
fn a_zone_is_a_name_or_an_offset_and_needs_no_files() {
    for name in ["UTC", "Europe/Berlin", "America/New_York", "+02:00", "-05:30"] {
        assert!(time_zone(name).is_ok(), "{name}");
    }
    for name in ["", "Berlin", "Europe/Nowhere", "2 o'clock"] {
        let why = time_zone(name).expect_err("there is no such zone");
        assert!(why.contains("Europe/Berlin"), "{why}");
    }
}
