//! Durations and instants.

use duly::units::{self, WrittenDuration, WrittenInstant, show_instant};
use duly_engine::limits::HORIZON;

use super::Fate;

pub(super) const WORDS: &[&str] = &[
    "90s",
    "30m",
    "1h30m",
    "1d",
    "PT30M",
    "P1D",
    "P1DT2H",
    "P1M",
    "PT0.5S",
    "-5m",
    "ms",
    "3653d",
    "315619200",
    "1e3",
    "1800.0",
    "2026-11-22T12:30:00Z",
    "2026-11-22T12:30:00.123+01:00",
    "1795348800000",
    "100000000000",
    "99999999999",
    "253402207200000",
    "T",
    "Z",
    "[Europe/Berlin]",
    "\"",
    "null",
    "true",
    "[]",
    "{}",
    "18446744073709551615",
    "9223372036854775807",
    "µs",
    "ns",
];

const CODES: [&str; 3] = ["bad_duration", "bad_instant", "instant_in_seconds"];

/// The input is the text of a command line, and JSON if it is that.
pub(super) fn feed(input: &[u8]) -> Fate {
    let Ok(text) = std::str::from_utf8(input) else { return Fate::refused("no text") };
    let typed = (units::duration(text), units::instant(text));
    if let Ok(span) = typed.0 {
        assert!(span <= HORIZON, "{text:?} is longer than ten years");
        let nothing = !text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
        assert!(!span.is_zero() || nothing || is_tiny(text), "{text:?} became nothing");
        let shown = span.to_string();
        assert_eq!(units::duration(&shown), Ok(span), "{text:?} is shown as {shown:?}");
    }
    if let Ok(time) = typed.1 {
        let shown = show_instant(time);
        assert_eq!(units::instant(&shown), Ok(time), "{text:?} is shown as {shown:?}");
        assert!(shown.len() == 24 && shown.ends_with('Z'), "{text:?} is shown as {shown:?}");
    }
    if let Ok(written) = serde_json::from_str::<WrittenDuration>(text) {
        again(text, &written);
        let signed = written.signed_millis();
        let span = written.span();
        if let Ok(signed) = signed {
            assert!(signed.unsigned_abs() <= HORIZON.millis(), "{text:?} is too long");
            let same = span.as_ref().map(|span| span.millis()).ok() == u64::try_from(signed).ok();
            assert!(same, "{text:?} has two meanings");
        } else {
            assert!(span.is_err(), "{text:?} has a meaning only without its sign");
        }
    }
    if let Ok(written) = serde_json::from_str::<WrittenInstant>(text)
        && written.time().is_ok()
    {
        let json = serde_json::to_string(&written).expect("what has a meaning is text or number");
        let read: WrittenInstant = serde_json::from_str(&json).expect("it was just written");
        assert_eq!(read.time(), written.time(), "{text:?}");
    }
    for bad in [typed.0.as_ref().err(), typed.1.as_ref().err()].into_iter().flatten() {
        assert!(CODES.contains(&bad.code), "{} is no stable code", bad.code);
        assert!(bad.why.len() < 400, "{text:?} comes back whole");
    }
    match typed {
        (Err(duration), Err(instant)) => Fate::refused((duration.code, instant.code)),
        (duration, instant) => Fate::taken((duration.is_ok(), instant.is_ok())),
    }
}

/// Less than a millisecond is rounded away, and only that.
fn is_tiny(text: &str) -> bool {
    ["µ", "μ", "u", "n", ".", ","].iter().any(|small| text.contains(small))
}

fn again(text: &str, written: &WrittenDuration) {
    if written.signed_millis().is_ok() {
        let json = serde_json::to_string(written).expect("what has a meaning is text or number");
        let read: WrittenDuration = serde_json::from_str(&json).expect("it was just written");
        assert_eq!(read.signed_millis(), written.signed_millis(), "{text:?}");
    }
}
