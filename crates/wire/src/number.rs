//! Numbers as Redis reads and writes them: strictly.
//!
//! An integer has no plus sign, no leading zero and no space; what Redis refuses is refused here in
//! its words, because clients compare them.

/// A signed integer, or none if Redis would not take it for one.
pub(crate) fn integer(word: &[u8]) -> Option<i64> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    let is_plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let is_canonical =
        digits == b"0" && digits.len() == word.len() || digits.first() != Some(&b'0');
    if !is_plain || !is_canonical {
        return None;
    }
    str::from_utf8(word).ok()?.parse().ok()
}

/// A floating point number; `inf` is one, not-a-number is not.
pub(crate) fn float(word: &[u8]) -> Option<f64> {
    let text = str::from_utf8(word).ok()?;
    let starts_well = text.starts_with(|first: char| !first.is_whitespace());
    text.parse::<f64>().ok().filter(|number| starts_well && !number.is_nan())
}

/// A number as Redis writes it: no fraction if there is none, else the shortest that reads the same.
pub(crate) fn written(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    format!("{number}")
}

#[cfg(test)]
mod tests {
    use super::{float, integer, written};

    #[test]
    fn integers_are_read_strictly() {
        for (word, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("42", Some(42)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            (" 1", None),
            ("1 ", None),
            ("1.0", None),
            ("0x1", None),
        ] {
            assert_eq!(integer(word.as_bytes()), expected, "{word}");
        }
    }

    #[test]
    fn floats_are_numbers() {
        assert_eq!(float(b"1.5"), Some(1.5));
        assert_eq!(float(b"-inf"), Some(f64::NEG_INFINITY));
        assert_eq!(float(b"nan"), None);
        assert_eq!(float(b" 1"), None);
        assert_eq!(float(b""), None);
        assert_eq!(written(1_700_000_000.0), "1700000000");
        assert_eq!(written(1.5), "1.5");
        assert_eq!(written(f64::INFINITY), "inf");
    }
}
