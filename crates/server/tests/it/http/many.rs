//! Many deadlines at once: batches and lists.

use serde_json::{Value, json};

use super::server::Server;

const LIST: &str = "/v1/queues/orders/deadlines";

#[tokio::test]
async fn a_batch_answers_every_line_at_its_place() {
    let server = Server::start().await;
    let lines = [
        r#"{"op":"schedule","queue":"orders","key":"1","after":"30m","payload":{"n": 1}}"#,
        r#"{"op":"schedule","queue":"orders","key":"2","after":"30m"}"#,
        "not JSON",
        "",
        r#"{"op":"settle","queue":"orders","key":"1","outcome":"paid"}"#,
        r#"{"op":"settle","queue":"orders","key":"nobody","outcome":"paid"}"#,
        r#"{"op":"extend","queue":"orders","key":"2","by":"5m"}"#,
        r#"{"op":"freeze","queue":"orders","key":"2","for":"5m"}"#,
        r#"{"op":"get","queue":"orders","key":"1"}"#,
        r#"{"op":"revive","queue":"orders","key":"1"}"#,
        r#"{"op":"erase","queue":"orders","key":"1"}"#,
        r#"{"op":"erase","queue":"orders","key":"2","force":true}"#,
    ];
    let reply = server.send("POST", "/v1/batch", &lines.join("\n")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    let wanted = [
        (201, json!(null)),
        (201, json!(null)),
        (400, json!("malformed_json")),
        (200, json!(null)),
        (404, json!("unknown_deadline")),
        (200, json!(null)),
        (200, json!(null)),
        (200, json!(null)),
        (409, json!("not_dead")),
        (200, json!(null)),
        (400, json!("unknown_field")),
    ];
    let found: Vec<(Value, Value)> =
        reply.lines().iter().map(|line| (line["status"].clone(), line["code"].clone())).collect();
    let wanted: Vec<(Value, Value)> =
        wanted.into_iter().map(|(status, code)| (json!(status), code)).collect();
    assert_eq!(found, wanted);
    let lines = reply.lines();
    assert_eq!(lines[0]["deadline"]["payload"], json!({"n": 1}));
    assert_eq!(
        (&lines[3]["result"], &lines[4]["result"]),
        (&json!("settled"), &json!("unknown_deadline"))
    );
    server.get("/v1/queues/orders/deadlines/1").await.is_problem(404, "unknown_deadline");
    server.stop().await;
}

#[tokio::test]
async fn a_payload_over_several_lines_stays_on_its_line_of_a_batch() {
    let server = Server::start().await;
    let payload = "{\r\n  \"text\": \"a\\nb\"\r\n}";
    let body = format!(r#"{{"after":"30m","payload":{payload}}}"#);
    server.send("PUT", "/v1/queues/orders/deadlines/1", &body).await;
    let reply =
        server.send("POST", "/v1/batch", r#"{"op":"get","queue":"orders","key":"1"}"#).await;
    assert_eq!(reply.lines()[0]["deadline"]["payload"], json!({"text": "a\nb"}));
    server.stop().await;
}

#[tokio::test]
async fn a_batch_of_ten_thousand_is_taken_and_one_more_is_not() {
    let server = Server::start().await;
    let line = |number: usize| {
        format!(
            "{{\"op\":\"schedule\",\"queue\":\"orders\",\"key\":\"{number}\",\"after\":\"30m\"}}\n"
        )
    };
    let mut body: String = (0..10_001).map(line).collect();
    server.send("POST", "/v1/batch", &body).await.is_problem(413, "batch_too_long");
    body.truncate(body.len() - line(10_000).len());
    let reply = server.send("POST", "/v1/batch", &body).await;
    assert_eq!(reply.lines().len(), 10_000);
    assert!(reply.lines().iter().all(|line| line["status"] == 201));
    let stats = server.get("/v1/queues/orders/stats").await;
    assert_eq!(stats["queue"]["now"]["pending"], 10_000);
    server.stop().await;
}

#[tokio::test]
async fn all_that_became_due_has_lapsed_when_the_clock_was_advanced() {
    let server = Server::start().await;
    for begin in [0, 10_000] {
        let line = |number: usize| {
            format!(r#"{{"op":"schedule","queue":"orders","key":"{number}","after":"30m"}}"#)
        };
        let lines: Vec<String> = (begin..begin + 10_000).map(line).collect();
        assert_eq!(server.send("POST", "/v1/batch", &lines.join("\n")).await.status, 200);
    }
    server.advance("31m").await;
    let stats = server.get("/v1/queues/orders/stats").await;
    let now = &stats["queue"]["now"];
    assert_eq!((&now["pending"], &now["ready"]), (&json!(0), &json!(20_000)));
    server.stop().await;
}

#[tokio::test]
async fn pages_of_a_list_join_without_gap_or_repetition() {
    let server = Server::start().await;
    for number in 0..25 {
        let minutes = 30 + (number * 7) % 10;
        server.schedule(&number.to_string(), &json!({"after": format!("{minutes}m")})).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{LIST}?limit=7{cursor}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        seen.extend(page["deadlines"].as_array().expect("it is a list").clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let mut keys: Vec<&str> = seen.iter().filter_map(|one| one["key"].as_str()).collect();
    assert!(seen.is_sorted_by_key(|one| one["due"].as_str().map(str::to_owned)));
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((seen.len(), keys.len()), (25, 25));
    server.stop().await;
}

#[tokio::test]
async fn a_list_shows_what_its_parameters_let_through() {
    let server = Server::start().await;
    for key in ["a-1", "a-2", "b-1", "b-2"] {
        server.schedule(key, &json!({"after": "30m"})).await;
    }
    server.schedule("c-1", &json!({"after": "60m"})).await;
    server.act("a-1", "settle", &json!({"outcome": "paid"})).await;
    let due = server.get("/v1/queues/orders/deadlines/c-1").await["deadline"]["due"].clone();
    let due = due.as_str().expect("it is text").to_owned();
    server.advance("30m").await;
    let cases = [
        (String::new(), vec!["a-1", "a-2", "b-1", "b-2", "c-1"]),
        ("?key_prefix=b".to_owned(), vec!["b-1", "b-2"]),
        ("?state=settled".to_owned(), vec!["a-1"]),
        ("?state=lapsed&delivery=ready".to_owned(), vec!["a-2", "b-1", "b-2"]),
        ("?delivery=dead".to_owned(), vec![]),
        (format!("?due_from={due}"), vec!["c-1"]),
        (format!("?due_to={due}&state=pending"), vec![]),
    ];
    for (query, wanted) in cases {
        let page = server.get(&format!("{LIST}{query}")).await;
        let found = page["deadlines"].as_array().cloned().unwrap_or_default();
        let mut found: Vec<&str> = found.iter().filter_map(|one| one["key"].as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, wanted, "{query}");
    }
    let bad = [
        ("?state=asleep", "bad_parameter"),
        ("?limit=0", "bad_parameter"),
        ("?limit=1001", "bad_parameter"),
        ("?limit=many", "bad_parameter"),
        ("?cursor=nonsense", "bad_parameter"),
        ("?due_from=yesterday", "bad_instant"),
        ("?due_to=1795348800", "instant_in_seconds"),
        ("?colour=red", "unknown_parameter"),
        ("?limit=1&limit=2", "bad_parameter"),
    ];
    for (query, code) in bad {
        server.get(&format!("{LIST}{query}")).await.is_problem(400, code);
    }
    server.get("/v1/queues/nowhere/deadlines").await.is_problem(404, "unknown_queue");
    server.stop().await;
}
