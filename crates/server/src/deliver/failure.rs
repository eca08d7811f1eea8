//! Verdicts of attempts that failed, and the wording of their errors.
//!
//! An error is kept in the record and shown to whoever may read it, so it is short, one line, and
//! begins with a stable word (`timeout: …`). It never holds a query string, a user name, a secret
//! or an address inside the operator's network.

use std::sync::Arc;

use duly_engine::command::Verdict;
use duly_engine::limits::ERROR_BYTES;
use duly_engine::time::Span;

/// Try again when the queue's ladder says so.
pub(super) fn retry(error: &str) -> Verdict {
    Verdict::Retry { error: short(error), after: None }
}

/// Try again, but not before the target wishes it.
pub(super) fn retry_after(error: &str, after: Option<Span>) -> Verdict {
    Verdict::Retry { error: short(error), after }
}

/// Give it up.
pub(super) fn dead(error: &str) -> Verdict {
    Verdict::Dead { error: short(error) }
}

/// One line of at most [`ERROR_BYTES`].
fn short(error: &str) -> Arc<str> {
    let line: String =
        error.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let line = line.trim();
    if line.len() <= ERROR_BYTES {
        return line.into();
    }
    let mut end = ERROR_BYTES - '…'.len_utf8();
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &line[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_short_line() {
        for (error, kept) in [
            ("connect: refused", "connect: refused".to_owned()),
            ("a\r\nb\0c ", "a  b c".to_owned()),
            (&"ß".repeat(300), format!("{}…", "ß".repeat(254))),
            (&"x".repeat(512), "x".repeat(512)),
        ] {
            let short = short(error);
            assert_eq!(&*short, kept);
            assert!(short.len() <= ERROR_BYTES);
        }
    }
}
