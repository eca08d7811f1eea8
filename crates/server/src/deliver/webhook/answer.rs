//! From an HTTP answer to verdicts.
//!
//! `2xx` means that the shop has acted, and nothing else does: a redirect, a login page served with
//! `200`, an answer that is cut off or cannot be read are all tried again, because a lapse repeated
//! is harmless behind a guarded `UPDATE` and a lapse lost is an order that is never cancelled. Pure
//! functions over what was received; the exchange itself is in `mod.rs`.

use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use duly_engine::command::Verdict;
use duly_engine::id::DeliveryId;
use duly_engine::time::{Span, Time};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode, Uri};
use serde_json::Value;

use crate::deliver::failure::{dead, retry, retry_after};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What PHP writes into an answer with status 200 when a script breaks down and errors are shown.
const BREAKDOWNS: [&[u8]; 2] = [b"Fatal error: ", b"Parse error: "];

fn contains(body: &[u8], words: &[u8]) -> bool {
    body.windows(words.len()).any(|window| window == words)
}

/// What was received; the body only of a success.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The header.
    pub headers: HeaderMap,
    /// The body, or as much of it as may be read.
    pub body: Vec<u8>,
    /// The body was longer than may be read.
    pub cut: bool,
}

/// What a body means.
enum Meaning {
    /// Nothing that Duly understands, and nothing that speaks against a success.
    Plain,
    /// JSON.
    Json(Value),
    /// It cannot be taken for a success.
    Refused(&'static str),
}

impl Answer {
    /// The verdict on a single lapse.
    pub fn single(&self, now: Time) -> Verdict {
        match self.meaning() {
            Err(words) => self.failed(&words, now),
            Ok(Meaning::Refused(error)) => retry_after(error, self.retry_after(now)),
            Ok(Meaning::Json(json)) if json.get("verdict").is_some() => {
                verdict(&json, self.retry_after(now))
            }
            Ok(_) => Verdict::Done,
        }
    }

    /// The verdicts on the lapses of a batch, in their order.
    pub fn batch(&self, ids: &[DeliveryId], now: Time) -> Vec<Verdict> {
        let all = |verdict: Verdict| ids.iter().map(|_| verdict.clone()).collect();
        let json = match self.meaning() {
            Err(words) => return all(self.failed(&words, now)),
            Ok(Meaning::Refused(error)) => {
                return all(retry_after(error, self.retry_after(now)));
            }
            Ok(Meaning::Plain) => Value::Null,
            Ok(Meaning::Json(json)) => json,
        };
        let Some(Value::Array(results)) = json.get("results") else {
            return all(retry("no_results: the answer to a batch has no results[]"));
        };
        let after = self.retry_after(now);
        let mut named: HashMap<&str, Verdict> = HashMap::with_capacity(results.len());
        for result in results {
            if let Some(id) = result.get("delivery_id").and_then(Value::as_str) {
                named.insert(id, verdict(result, after));
            }
        }
        let missing = || retry("no_result: the answer's results[] do not name this delivery");
        ids.iter().map(|id| named.remove(id.to_string().as_str()).unwrap_or_else(missing)).collect()
    }

    /// What the body means, or why the answer is no success whatever its body.
    fn meaning(&self) -> Result<Meaning, String> {
        if self.status.is_redirection() {
            return Err(format!("redirect: {}", self.redirect()));
        }
        if !self.status.is_success() {
            return Err(format!("status: answered {}", self.status));
        }
        let plain = self.header(&CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
        if !plain && !self.body.is_empty() {
            return Ok(Meaning::Refused("encoded_answer: the answer is compressed"));
        }
        if self.is_html() {
            return Ok(Meaning::Refused(
                "html_answer: the answer is a page, perhaps a login or an error page",
            ));
        }
        if self.cut {
            return Ok(Meaning::Refused("long_answer: the answer is longer than may be read"));
        }
        let body = self.body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.body);
        match serde_json::from_slice(body) {
            Ok(json) => Ok(Meaning::Json(json)),
            Err(_) if self.was_to_be_json(body) => {
                Ok(Meaning::Refused("broken_answer: the answer was to be JSON and cannot be read"))
            }
            Err(_) if BREAKDOWNS.iter().any(|words| contains(body, words)) => {
                Ok(Meaning::Refused("broken_answer: the answer tells that the program broke down"))
            }
            Err(_) => Ok(Meaning::Plain),
        }
    }

    /// Was it meant as JSON? An answer that would have said `retry`, had it not been cut off or
    /// followed a warning, must not be taken for a success. Neither must one that is called JSON and
    /// is empty: when php-fpm is killed after the header, nginx ends the answer as if it were whole.
    fn was_to_be_json(&self, body: &[u8]) -> bool {
        let body = body.trim_ascii_start();
        let called_json = self
            .header(&CONTENT_TYPE)
            .is_some_and(|kind| kind.to_ascii_lowercase().contains("json"));
        let has_none = matches!(self.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
        (called_json && !has_none) || body.starts_with(b"{") || contains(body, b"\"verdict\"")
    }

    /// The verdict of an answer that is no success.
    fn failed(&self, words: &str, now: Time) -> Verdict {
        if self.status == StatusCode::GONE {
            return dead(words);
        }
        retry_after(words, self.retry_after(now))
    }

    /// A page instead of an answer. PHP calls everything `text/html` that does not say otherwise, so
    /// the type alone does not make `ok` or `{"verdict":"done"}` a page; a tag does.
    fn is_html(&self) -> bool {
        let body = self.body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.body);
        let body = body.trim_ascii_start();
        if body.starts_with(b"<") {
            return true;
        }
        let called_html = self
            .header(&CONTENT_TYPE)
            .is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
        let json = body.starts_with(b"{") || body.starts_with(b"[");
        called_html && !json && body.contains(&b'<')
    }

    /// Where a redirect leads, without what may be secret in it.
    fn redirect(&self) -> String {
        let status = self.status;
        let Some(location) = self.header(&LOCATION) else {
            return format!("answered {status}; redirects are not followed");
        };
        let path = location.split(['?', '#']).next().unwrap_or_default();
        let place = match path.parse::<Uri>().ok().map(Uri::into_parts) {
            Some(parts) => {
                let host = parts.authority.as_ref().map_or("", |authority| authority.host());
                let scheme = parts.scheme.as_ref().map_or("", |scheme| scheme.as_str());
                let path = parts.path_and_query.as_ref().map_or("", |path| path.path());
                let between = if scheme.is_empty() { "" } else { "://" };
                format!("{scheme}{between}{host}{path}")
            }
            None => "somewhere".to_owned(),
        };
        let place: String = place.chars().take(200).collect();
        format!("answered {status} to {place}; redirects are not followed")
    }

    /// How long the target wishes to be left alone; the engine bounds it.
    fn retry_after(&self, now: Time) -> Option<Span> {
        let wish = self.header(&RETRY_AFTER)?.trim();
        let span = if !wish.is_empty() && wish.bytes().all(|byte| byte.is_ascii_digit()) {
            // More digits than fit are a very long time.
            Span::from_secs(wish.parse().unwrap_or(u64::MAX))
        } else {
            let date = httpdate::parse_http_date(wish).ok()?.duration_since(UNIX_EPOCH).ok()?;
            Time::from_millis(u64::try_from(date.as_millis()).ok()?).since(now)
        };
        // "At once" is no wish: the queue's own ladder is the least there is.
        (!span.is_zero()).then_some(span)
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The verdict that JSON names: an answer to a single lapse, or one of a batch's results.
fn verdict(json: &Value, after: Option<Span>) -> Verdict {
    let error = || {
        let error = json.get("error").and_then(Value::as_str);
        format!("target: {}", error.unwrap_or("it gave no error"))
    };
    match json.get("verdict").and_then(Value::as_str) {
        Some("done") => Verdict::Done,
        Some("superseded") => Verdict::Superseded,
        Some("retry") => retry_after(&error(), after),
        Some("dead") => dead(&error()),
        _ => retry("bad_verdict: a verdict is done, superseded, retry or dead"),
    }
}
