//! Instants as targets read them.
//!
//! Webhooks carry RFC 3339, statements carry the text that databases compare as dates. Both are
//! UTC with milliseconds; neither depends on the machine's time zone.

use duly_engine::time::Time;
use jiff::Timestamp;

/// `2026-11-22T12:30:00.000Z`.
pub(super) fn rfc3339(time: Time) -> String {
    timestamp(time).strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// `2026-11-22 12:30:00.000`.
pub(super) fn sql(time: Time) -> String {
    timestamp(time).strftime("%Y-%m-%d %H:%M:%S.%3f").to_string()
}

fn timestamp(time: Time) -> Timestamp {
    let millis = i64::try_from(time.millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_utc_with_milliseconds() {
        let time = Time::from_millis(1_795_350_600_007);
        assert_eq!(rfc3339(time), "2026-11-22T12:30:00.007Z");
        assert_eq!(sql(time), "2026-11-22 12:30:00.007");
        assert_eq!(rfc3339(Time::ZERO), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(Time::NEVER).starts_with("9999-12-30T"));
    }
}
