//! What is JSON for this server, whatever protocol it comes by.
//!
//! A payload that came over one protocol is shown over the others, so both judge it here, and a
//! document that one of them reads is read by the other in the same way. Depth is bounded because
//! whoever reads it back may be less careful than this program.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

/// Levels of nesting in a body.
const DEPTH: usize = 64;

/// Why a document cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadJson {
    /// Stable, as over every protocol.
    pub(super) code: &'static str,
    /// What is wrong with it, if the code does not say all.
    pub(super) why: Option<String>,
    /// The field at fault.
    pub(super) field: Option<String>,
}

impl BadJson {
    fn new(code: &'static str, why: impl Into<Option<String>>) -> BadJson {
        BadJson { code, why: why.into(), field: None }
    }
}

impl From<serde_json::Error> for BadJson {
    fn from(error: serde_json::Error) -> BadJson {
        let why = error.to_string();
        if !error.is_data() {
            return BadJson::new("malformed_json", why);
        }
        // The words are serde's own; a test holds them fast.
        let code = if why.starts_with("unknown field") {
            "unknown_field"
        } else if why.starts_with("missing field") {
            "missing_field"
        } else {
            return BadJson::new("bad_field", why);
        };
        let field = Some(why.split('`').nth(1).unwrap_or_default().to_owned());
        BadJson { code, why: Some(why), field }
    }
}

/// Bytes as text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, BadJson> {
    str::from_utf8(bytes).map_err(|error| {
        let why = format!("byte {} is not UTF-8", error.valid_up_to() + 1);
        BadJson::new("malformed_json", why)
    })
}

/// Reads one JSON object.
pub(super) fn object<T: DeserializeOwned>(text: &str) -> Result<T, BadJson> {
    if is_deeper(text, DEPTH) {
        return Err(BadJson::new("too_deep", None));
    }
    // A derived struct would also take a list of its fields' values.
    let opens = text.trim_ascii_start().as_bytes().first();
    if opens.is_some_and(|byte| b"[\"-0123456789tfn".contains(byte)) {
        serde_json::from_str::<IgnoredAny>(text)?;
        return Err(BadJson::new("bad_field", "it is not an object".to_owned()));
    }
    Ok(serde_json::from_str(text)?)
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
    use serde_json::{Map, Value};

    use super::{is_json, object};

    #[test]
    fn a_body_may_be_64_levels_deep_and_brackets_in_text_do_not_count() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let body = |within: &str| object::<Map<String, Value>>(&format!(r#"{{"a":{within}}}"#));
        assert!(body(&nested(63)).is_ok());
        assert_eq!(body(&nested(64)).expect_err("it is deeper").code, "too_deep");
        assert!(body(&format!(r#""{}\"[""#, "[".repeat(100))).is_ok());
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
