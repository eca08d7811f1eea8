//! What is JSON for this server, whatever protocol it comes by.
//!
//! A payload that came over one protocol is shown over the others, so both judge it here. Depth is
//! bounded because whoever reads it back may be less careful than this program.

use serde_json::value::RawValue;

/// Levels of nesting in a body.
const DEPTH: usize = 64;

/// Is it nested deeper than anything may be?
pub(super) fn is_too_deep(text: &str) -> bool {
    is_deeper(text, DEPTH)
}

/// Is it JSON that a body could carry as a payload?
pub(super) fn is_json(bytes: &[u8]) -> bool {
    // In a body there are braces around it.
    str::from_utf8(bytes).is_ok_and(|text| {
        serde_json::from_str::<&RawValue>(text).is_ok() && !is_deeper(text, DEPTH - 1)
    })
}

fn is_deeper(text: &str, most: usize) -> bool {
    if text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() <= most {
        // As good as every text: it has not even so many brackets.
        return false;
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{is_json, is_too_deep};

    #[test]
    fn a_body_may_be_64_levels_deep_and_brackets_in_text_do_not_count() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(!is_too_deep(&nested(64)));
        assert!(is_too_deep(&nested(65)));
        assert!(!is_too_deep(&format!(r#""{}\"[""#, "[".repeat(100))));
        assert!(is_json(nested(63).as_bytes()));
        assert!(!is_json(nested(64).as_bytes()));
    }

    #[test]
    fn json_is_what_a_body_could_carry() {
        for good in ["1", " {\"total\": \"19.90\"}\n", "null", "\"x\"", "[1e9]"] {
            assert!(is_json(good.as_bytes()), "{good}");
        }
        for bad in [&b""[..], b"x", b"{", b"1 2", b"\xff", b"\"\xff\"", b"{a:1}", b"'x'"] {
            assert!(!is_json(bad), "{bad:?}");
        }
    }
}
