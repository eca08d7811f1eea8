//! What answers mean, without sockets.

use duly_engine::command::Verdict;
use duly_engine::time::{Span, Time};
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::super::answer::Answer;
use crate::deliver::tests::{delivery_id, error, is_retry};

/// Sunday, 22 November 2026, 12:30:00 GMT.
const NOW: Time = Time::from_millis(1_795_350_600_000);

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).expect("a header's value");
        map.insert(HeaderName::from_static(name), value);
    }
    let status = StatusCode::from_u16(status).expect("a status");
    Answer { status, headers: map, body: body.as_bytes().to_vec(), cut: false }
}

fn single(status: u16, headers: &[(&'static str, &str)], body: &str) -> Verdict {
    answer(status, headers, body).single(NOW)
}

#[test]
fn a_success_is_done_unless_its_json_says_otherwise() {
    let html = [("content-type", "text/html; charset=UTF-8")];
    for (headers, body) in [
        (&[][..], ""),
        (&[], "ok"),
        (&[], "{}"),
        (&[], "[1,2]"),
        (&[], "null"),
        (&[], r#"{"ok":true}"#),
        (&[], r#"{"verdict":"done"}"#),
        (&[], r#"{"verdict":"done","error":5}"#),
        // What PHP sends when a script does not say what it sends.
        (&html, ""),
        (&html, "ok"),
        (&html, r#"{"note":"<b>bold</b>"}"#),
    ] {
        assert_eq!(single(200, headers, body), Verdict::Done, "{body}");
    }
    assert_eq!(single(200, &html, r#"{"verdict":"superseded"}"#), Verdict::Superseded);
    let refused = single(200, &[], r#"{"verdict":"dead","error":"no\nsuch order"}"#);
    assert_eq!(refused, Verdict::Dead { error: "target: no such order".into() });
    let busy = single(200, &[("retry-after", "7")], r#"{"verdict":"retry"}"#);
    let after = Some(Span::from_secs(7));
    assert_eq!(busy, Verdict::Retry { error: "target: it gave no error".into(), after });
    for verdict in [r#""DONE""#, r#""cancelled""#, "true", "null", "{}"] {
        let verdict = single(200, &[], &format!("{{\"verdict\":{verdict}}}"));
        assert!(is_retry(&verdict, "bad_verdict: "), "{verdict:?}");
    }
}

#[test]
fn a_page_is_no_answer() {
    for (headers, body) in [
        (&[][..], "<!doctype html><title>Sign in</title>"),
        (&[], "  \r\n\t<html></html>"),
        (&[], "\u{feff}<html></html>"),
        (&[("content-type", "application/json")], "<br />\n<b>Warning</b>: Undefined variable"),
        (&[("content-type", "text/html")], "Please <a href=/login>sign in</a>"),
        (&[("content-type", "TEXT/HTML")], "Please <a href=/login>sign in</a>"),
        (&[("content-type", "application/xhtml+xml")], "x<br/>"),
    ] {
        for status in [200, 201, 202, 299] {
            let verdict = single(status, headers, body);
            assert!(is_retry(&verdict, "html_answer: "), "{status} {body}: {verdict:?}");
        }
    }
}

#[test]
fn an_answer_that_cannot_be_read_whole_is_no_success() {
    let mut cut = answer(200, &[], "{\"verdict\":\"do");
    cut.cut = true;
    assert!(is_retry(&cut.single(NOW), "long_answer: "));
    cut.body = b"<html>".to_vec();
    assert!(is_retry(&cut.single(NOW), "html_answer: "));
    let packed = single(200, &[("content-encoding", "gzip")], "\u{1f}packed");
    assert!(is_retry(&packed, "encoded_answer: "));
    assert_eq!(single(200, &[("content-encoding", "identity")], "ok"), Verdict::Done);
    assert_eq!(single(204, &[("content-encoding", "gzip")], ""), Verdict::Done);
}

#[test]
fn an_answer_that_broke_on_its_way_is_no_success() {
    let json = [("content-type", "application/json")];
    for (headers, body) in [
        (&json[..], "{\"verdict\":\"retry\",\"error\":\"x\""),
        (&json, "ok"),
        (&json, ""),
        (&json, "  "),
        (&[], "{\"verdict\":\"retry\""),
        (&[], "\nWarning: foo in x.php on line 3\n{\"verdict\":\"retry\"}"),
        (&[], "PHP Fatal error: Uncaught PDOException in lapsed.php:12"),
        (&[], "\nParse error: syntax error in lapsed.php on line 3"),
    ] {
        let verdict = single(200, headers, body);
        assert!(is_retry(&verdict, "broken_answer: "), "{body}: {verdict:?}");
    }
    for (status, headers, body) in [
        (204, &json[..], ""),
        (205, &json, ""),
        (200, &[], ""),
        (200, &[], "ok"),
        (200, &[], "order 42 cancelled"),
    ] {
        assert_eq!(single(status, headers, body), Verdict::Done, "{status} {body}");
    }
    let marked = single(200, &[], "\u{feff}{\"verdict\":\"superseded\"}");
    assert_eq!(marked, Verdict::Superseded);
}

#[test]
fn a_redirect_is_named_without_what_may_be_secret() {
    for (location, place) in [
        ("https://shop.example/login", "https://shop.example/login"),
        ("https://user:pass@shop.example/login?token=s3cret#part", "https://shop.example/login"),
        ("/login?token=s3cret", "/login"),
        ("not a url at all", "somewhere"),
    ] {
        let verdict = single(302, &[("location", location)], "");
        let words = format!("redirect: answered 302 Found to {place}; redirects are not followed");
        assert_eq!(error(&verdict), words);
    }
    let nowhere = single(304, &[], "");
    assert!(is_retry(&nowhere, "redirect: answered 304 Not Modified; "), "{nowhere:?}");
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    for (wish, after) in [
        ("120", Some(Span::from_secs(120))),
        (" 3 ", Some(Span::from_secs(3))),
        ("0", None),
        ("99999999999999999999999", Some(Span::from_secs(u64::MAX))),
        ("Sun, 22 Nov 2026 12:31:00 GMT", Some(Span::from_mins(1))),
        ("Sunday, 22-Nov-26 12:31:00 GMT", Some(Span::from_mins(1))),
        ("Sun Nov 22 12:31:00 2026", Some(Span::from_mins(1))),
        ("Sun, 22 Nov 2026 12:29:00 GMT", None),
        ("Thu, 01 Jan 1969 00:00:00 GMT", None),
        ("-5", None),
        ("+5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ] {
        for status in [302, 400, 429, 500, 503] {
            let verdict = single(status, &[("retry-after", wish)], "");
            let Verdict::Retry { after: told, .. } = verdict else { panic!("{verdict:?}") };
            assert_eq!(told, after, "{status} {wish:?}");
        }
    }
    // A target that is gone for good does not come back.
    let gone = single(410, &[("retry-after", "5")], "");
    assert_eq!(gone, Verdict::Dead { error: "status: answered 410 Gone".into() });
}

#[test]
fn a_batch_is_answered_one_by_one() {
    let ids: Vec<_> = (1..=6).map(delivery_id).collect();
    let results = format!(
        r#"{{"results":[
            {{"delivery_id":"{}","verdict":"superseded"}},
            {{"delivery_id":"{}","verdict":"done"}},
            {{"delivery_id":"{}","verdict":"retry","error":"locked"}},
            {{"delivery_id":"{}","verdict":"dead","error":"no such order"}},
            {{"delivery_id":"{}"}},
            {{"delivery_id":"somebody else's","verdict":"done"}},
            {{"verdict":"done"}}, null, 5
        ]}}"#,
        ids[1], ids[0], ids[2], ids[3], ids[4]
    );
    let verdicts = answer(200, &[("retry-after", "9")], &results).batch(&ids, NOW);
    assert_eq!(verdicts[..2], [Verdict::Done, Verdict::Superseded]);
    let after = Some(Span::from_secs(9));
    assert_eq!(verdicts[2], Verdict::Retry { error: "target: locked".into(), after });
    assert_eq!(verdicts[3], Verdict::Dead { error: "target: no such order".into() });
    assert!(is_retry(&verdicts[4], "bad_verdict: "), "{verdicts:?}");
    assert!(is_retry(&verdicts[5], "no_result: "), "{verdicts:?}");
}

#[test]
fn a_batch_without_results_is_retried_whole() {
    let ids: Vec<_> = (1..=3).map(delivery_id).collect();
    for (status, body, beginning) in [
        (200, "", "no_results: "),
        (204, "", "no_results: "),
        (200, "ok", "no_results: "),
        (200, r#"{"verdict":"done"}"#, "no_results: "),
        (200, r#"{"results":{}}"#, "no_results: "),
        (200, r#"{"results":[]}"#, "no_result: "),
        (200, "<html>", "html_answer: "),
        (500, r#"{"results":[]}"#, "status: "),
        (302, "", "redirect: "),
    ] {
        let verdicts = answer(status, &[], body).batch(&ids, NOW);
        assert_eq!(verdicts.len(), 3);
        for verdict in verdicts {
            assert!(is_retry(&verdict, beginning), "{status} {body}: {verdict:?}");
        }
    }
    let gone = answer(410, &[], "").batch(&ids, NOW);
    assert!(gone.iter().all(|verdict| matches!(verdict, Verdict::Dead { .. })), "{gone:?}");
}
