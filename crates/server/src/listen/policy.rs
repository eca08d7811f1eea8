//! A queue's policy as a caller sends it, whatever protocol it comes by.
//!
//! It is laid over the defaults, so that the same document always gives the same policy, whatever
//! the queue was before; and its target leads to nothing that an operator has not declared.

use std::collections::BTreeSet;

use duly_engine::queue::Policy;

use super::payload::{self, BadJson};
use crate::config::table_of;
use crate::policy::{BadPolicyText, PolicyText};

/// Why a document is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Stable, as over every protocol.
    pub code: &'static str,
    /// What is wrong, and what to write instead.
    pub why: String,
}

impl From<BadJson> for Unread {
    fn from(bad: BadJson) -> Unread {
        let why = bad.why.unwrap_or_else(|| "it is nested too deeply".to_owned());
        Unread { code: bad.code, why }
    }
}

impl From<BadPolicyText> for Unread {
    fn from(bad: BadPolicyText) -> Unread {
        Unread { code: bad.code, why: bad.to_string() }
    }
}

/// The policy that a document says.
pub fn read(document: &[u8], tables: &BTreeSet<String>) -> Result<Policy, Unread> {
    let text: PolicyText = payload::object(payload::text(document)?)?;
    Ok(meant(&text, tables)?)
}

/// A policy as a document, with every field, and secrets masked.
pub fn shown(policy: &Policy) -> String {
    serde_json::to_string(&PolicyText::shown(policy)).expect("a policy has text for keys")
}

/// The policy that is meant, with a target among these tables of the configuration.
pub(super) fn meant(text: &PolicyText, tables: &BTreeSet<String>) -> Result<Policy, BadPolicyText> {
    let policy = text.over(&Policy::default())?;
    match table_of(&policy.target).filter(|table| !tables.contains(table)) {
        None => Ok(policy),
        Some(table) => Err(BadPolicyText {
            code: "bad_policy",
            field: "target",
            why: format!("the configuration has no [{table}]"),
            hint: "what a target does is declared by an operator in the configuration, never here"
                .to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{read, shown};

    #[test]
    fn a_document_that_is_shown_is_read_back() {
        let tables = BTreeSet::from(["sql.cancel".to_owned()]);
        let document = br#"{"default_delay":"30m","target":{"sql":"cancel"}}"#;
        let policy = read(document, &tables).expect("it is good");
        assert_eq!(read(shown(&policy).as_bytes(), &tables), Ok(policy));
    }

    #[test]
    fn what_is_no_policy_is_refused_by_the_code_of_every_protocol() {
        let deep = format!("{{\"retry\":{}{}}}", "[".repeat(64), "]".repeat(64));
        for (document, code) in [
            (&b"{"[..], "malformed_json"),
            (b"\xff", "malformed_json"),
            (b"", "malformed_json"),
            (b"[]", "bad_field"),
            (b"\"pull\"", "bad_field"),
            (br#"{"targt":"pull"}"#, "unknown_field"),
            (br#"{"target":{"webhook":{"url":"http://127.0.0.1/"}}}"#, "missing_field"),
            (br#"{"target":"dove"}"#, "bad_field"),
            (br#"{"target":{"sql":"cancel"}}"#, "bad_policy"),
            (br#"{"rate":0}"#, "bad_policy"),
            (br#"{"grace":"soon"}"#, "bad_duration"),
            (deep.as_bytes(), "too_deep"),
        ] {
            let why = read(document, &BTreeSet::new()).expect_err("it is no policy");
            assert_eq!(why.code, code, "{}: {}", String::from_utf8_lossy(document), why.why);
        }
    }
}
