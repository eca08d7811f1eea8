//! Answers of webhooks.

use duly::deliver::Answer;
use duly_engine::command::Verdict;
use duly_engine::id::{DeadlineId, DeliveryId, DirectoryId, Generation};
use duly_engine::limits::ERROR_BYTES;
use duly_engine::time::Time;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};

use super::Fate;

pub(super) const WORDS: &[&str] = &[
    "200\n\n",
    "204\n\n",
    "302\n",
    "410\n\n",
    "503\n",
    "Retry-After: 120\n",
    "location: https://u:p@h/p?q\n",
    "Retry-After: Sun, 22 Nov 2026 14:00:00 GMT\n",
    "Content-Type: text/html\n",
    "\n\n",
    "Content-Type: application/json\n",
    "Content-Encoding: gzip\n",
    "{\"verdict\":\"done\"}",
    "{\"verdict\":\"superseded\"}",
    "{\"verdict\":\"retry\",\"error\":\"x\"}",
    "{\"verdict\":\"dead\"}",
    "{\"results\":[",
    "{\"delivery_id\":\"0000000000007-17-1\",\"verdict\":\"done\"}",
    "<html>",
    "<!DOCTYPE html>",
    "Fatal error: ",
    "Parse error: ",
    "\u{feff}",
    "\"verdict\"",
    "null",
    "[]",
    "{",
];

const NOW: Time = Time::from_millis(1_795_348_800_000);

/// The first line is the status, lines up to an empty one are the header, the rest is the body.
pub(super) fn feed(input: &[u8]) -> Fate {
    let Some(answer) = answer(input) else { return Fate::refused("no answer") };
    let ids = [1, 2, 17].map(|number| DeliveryId {
        directory: DirectoryId(7),
        deadline: DeadlineId(number),
        generation: Generation::FIRST,
    });
    let single = answer.single(NOW);
    let batch = answer.batch(&ids, NOW);
    assert_eq!(batch.len(), ids.len(), "every lapse gets one verdict");
    let all = || batch.iter().chain([&single]);
    for verdict in all() {
        if let Verdict::Retry { error, .. } | Verdict::Dead { error } = verdict {
            assert!(!error.is_empty() && error.len() <= ERROR_BYTES, "{error:?} is too long");
            assert!(!error.chars().any(char::is_control), "{error:?} is not one line");
            let word = error.split(':').next().unwrap_or_default();
            let stable = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(stable && error.contains(':'), "{error:?} has no stable word");
            let redirect = error.starts_with("redirect:");
            assert!(!redirect || !error.contains(['?', '#']), "{error:?} tells too much");
        }
        if let Verdict::Retry { after: Some(after), .. } = verdict {
            assert!(!after.is_zero(), "\"at once\" is no wish");
        }
    }
    let acted = |verdict: &Verdict| matches!(verdict, Verdict::Done | Verdict::Superseded);
    let body = answer.body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&answer.body);
    let page = body.trim_ascii_start().starts_with(b"<");
    if !answer.status.is_success() || page || answer.cut {
        assert!(!all().any(acted), "{} was taken for a success", answer.status);
    }
    let dead = |verdict: &Verdict| matches!(verdict, Verdict::Dead { .. });
    if answer.status == StatusCode::GONE {
        assert!(all().all(dead), "410 is dead");
    } else if !answer.status.is_success() {
        assert!(!all().any(dead), "{} is worth another try", answer.status);
    }
    let kinds: Vec<_> = all().map(std::mem::discriminant).collect();
    if all().any(acted) { Fate::taken(kinds) } else { Fate::refused(kinds) }
}

fn answer(input: &[u8]) -> Option<Answer> {
    let mut rest = input;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        line
    };
    let status = std::str::from_utf8(line()).ok()?.parse().ok()?;
    let status = StatusCode::from_u16(status).ok()?;
    let mut headers = HeaderMap::new();
    loop {
        let line = line();
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.insert(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
    }
    // As the exchange reads it: only the body of a success, and not more than it may.
    let most = 4_096;
    let cut = rest.len() > most;
    let body = if status.is_success() { rest[..rest.len().min(most)].to_vec() } else { Vec::new() };
    Some(Answer { status, headers, body, cut })
}
