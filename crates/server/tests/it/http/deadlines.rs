//! The calls about one deadline, from its schedule to its end.

use serde_json::json;

use super::server::Server;

#[tokio::test]
async fn a_deadline_is_scheduled_shown_and_settled() {
    let server = Server::start().await;
    let body = json!({"after": "30m", "payload": {"total": "19.90"}});
    let created = server.schedule("42", &body).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(created["created"], true);
    let deadline = &created["deadline"];
    assert_eq!(deadline["queue"], "orders");
    assert_eq!(deadline["key"], "42");
    assert!(deadline["id"].is_string());
    assert_eq!(deadline["generation"], 1);
    assert_eq!(deadline["state"], "pending");
    assert_eq!(deadline["priority"], 1024);
    assert_eq!(deadline["payload"], json!({"total": "19.90"}));
    assert_eq!(deadline["timeline"][0]["what"], "scheduled");
    assert_eq!(deadline["timeline"][0]["due"], deadline["due"]);
    assert!(deadline.get("settled_at").is_none() && deadline.get("delivery").is_none());
    let shown = server.get("/v1/queues/orders/deadlines/42").await;
    assert_eq!((shown.status, &shown["deadline"]), (200, deadline));

    let settled = server.act("42", "settle", &json!({"outcome": "paid"})).await;
    assert_eq!((settled.status, &settled["result"]), (200, &json!("settled")));
    assert_eq!(settled["deadline"]["state"], "settled");
    assert_eq!(settled["deadline"]["outcome"], "paid");
    assert!(settled["deadline"]["settled_at"].is_string());
    let again = server.act("42", "settle", &json!({"outcome": "paid"})).await;
    assert_eq!((again.status, &again["result"]), (200, &json!("already_settled")));
    let otherwise = server.act("42", "settle", &json!({"outcome": "cancelled"})).await;
    otherwise.is_problem(409, "settled_otherwise");
    assert_eq!(otherwise["result"], "settled_otherwise");
    assert_eq!(otherwise["deadline"]["outcome"], "paid");
    server.stop().await;
}

#[tokio::test]
async fn a_settle_after_the_lapse_is_told_when_and_whether_somebody_acted() {
    let server = Server::start().await;
    server.schedule("42", &json!({"after": "30m"})).await;
    server.advance("30m").await;
    let late = server.act("42", "settle", &json!({"outcome": "paid"})).await;
    late.is_problem(409, "too_late");
    assert_eq!((&late["result"], &late["acted"]), (&json!("too_late"), &json!("no")));
    let delivery = &late["deadline"]["delivery"];
    assert_eq!(late["deadline"]["state"], "lapsed");
    assert_eq!(late["deadline"]["lapsed_at"], late["deadline"]["due"]);
    assert!(delivery["id"].as_str().is_some_and(|id| id.ends_with("-1-1")));
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("ready"), &json!(0)));
    assert_eq!(delivery.get("last_error"), Some(&json!(null)));
    for (verb, body) in [("extend", json!({"by": "5m"})), ("freeze", json!({"for": "5m"}))] {
        let refused = server.act("42", verb, &body).await;
        refused.is_problem(409, "too_late");
        assert_eq!(refused["acted"], "no");
    }
    server.stop().await;
}

#[tokio::test]
async fn one_millisecond_before_its_time_a_settle_wins() {
    let server = Server::start().await;
    server.schedule("42", &json!({"after": "30m"})).await;
    server.advance("1799999ms").await;
    let settled = server.act("42", "settle", &json!({"outcome": "paid"})).await;
    assert_eq!(settled["result"], "settled", "{settled:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_scheduled_twice_does_as_if_exists_says() {
    let server = Server::start().await;
    server.schedule("42", &json!({"after": 1800, "payload": 1})).await;
    let kept = server.schedule("42", &json!({"after": "20m", "payload": 2})).await;
    assert_eq!((kept.status, &kept["created"]), (200, &json!(false)));
    assert_eq!(kept["differs"], json!(["due", "payload"]));
    let failed = server.schedule("42", &json!({"after": "20m", "if_exists": "fail"})).await;
    failed.is_problem(409, "already_exists");
    assert_eq!(failed["deadline"]["payload"], 1);
    let replaced = server.schedule("42", &json!({"after": "20m", "if_exists": "replace"})).await;
    assert_eq!((replaced.status, &replaced["deadline"]["generation"]), (201, &json!(2)));
    assert_eq!(replaced["deadline"]["payload"], json!(null));
    let other = server.act("42", "settle", &json!({"outcome": "paid", "generation": 1})).await;
    other.is_problem(409, "other_generation");
    server.act("42", "settle", &json!({"outcome": "paid", "generation": 2})).await;
    let renewed = server.schedule("42", &json!({"after": "20m", "if_exists": "renew"})).await;
    assert_eq!((renewed.status, &renewed["deadline"]["generation"]), (201, &json!(3)));
    server.advance("20m").await;
    let under_way = server.schedule("42", &json!({"after": "1m", "if_exists": "replace"})).await;
    under_way.is_problem(409, "delivery_under_way");
    server.stop().await;
}

#[tokio::test]
async fn an_impossible_due_time_is_refused_and_nothing_is_left() {
    let server = Server::start().await;
    let clock = server.get("/v1/clock").await;
    let now = clock["clock"]["now"].as_str().expect("it is text").to_owned();
    let year = |add: i64| {
        let (year, rest) = now.split_at(4);
        format!("{:04}{rest}", year.parse::<i64>().expect("it is a year") + add)
    };
    let cases = [
        (json!({}), 422, "no_due_time"),
        (json!({"due": year(-1)}), 422, "due_in_past"),
        (json!({"due": year(11)}), 422, "due_too_far"),
        (json!({"after": "4000d"}), 422, "due_too_far"),
        (json!({"after": "30"}), 400, "bad_duration"),
        (json!({"after": "P1M"}), 400, "bad_duration"),
        (json!({"after": -1}), 400, "bad_duration"),
        (json!({"due": 1_795_348_800}), 400, "instant_in_seconds"),
        (json!({"due": "2026-11-22T12:00:00"}), 400, "bad_instant"),
        (json!({"after": "30m", "due": now}), 400, "bad_field"),
    ];
    for (body, status, code) in cases {
        server.schedule("42", &body).await.is_problem(status, code);
    }
    server.get("/v1/queues/orders").await.is_problem(404, "unknown_queue");
    let past = server.schedule("42", &json!({"due": year(-1), "allow_past": true})).await;
    assert_eq!(past.status, 201, "{past:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_settle_may_come_before_its_schedule() {
    let server = Server::start().await;
    server.put("/v1/queues/orders", &json!({})).await;
    let unknown = server.act("42", "settle", &json!({"outcome": "paid"})).await;
    unknown.is_problem(404, "unknown_deadline");
    assert_eq!(unknown["result"], "unknown_deadline");
    let remembered =
        server.act("42", "settle", &json!({"outcome": "paid", "remember": "1h"})).await;
    assert_eq!((remembered.status, &remembered["result"]), (202, &json!("remembered")));
    assert!(remembered["until"].is_string());
    let born = server.schedule("42", &json!({"after": "30m"})).await;
    assert_eq!(born["deadline"]["state"], "settled", "{born:?}");
    let too_long = json!({"outcome": "paid", "remember": "8d"});
    server.act("43", "settle", &too_long).await.is_problem(400, "bad_duration");
    server.stop().await;
}

#[tokio::test]
async fn extend_and_freeze_move_the_lapse_within_their_limits() {
    let server = Server::start().await;
    server.schedule("42", &json!({"after": "30m"})).await;
    let extended = server.act("42", "extend", &json!({"by": "15m"})).await;
    assert_eq!(extended.status, 200, "{extended:?}");
    let due = extended["deadline"]["due"].clone();
    let again = json!({"by": "15m", "if_due": due});
    assert_eq!(server.act("42", "extend", &again).await.status, 200);
    server.act("42", "extend", &again).await.is_problem(409, "due_changed");
    let far = server.act("42", "extend", &json!({"by": "24h"})).await;
    far.is_problem(409, "max_total");
    assert!(far["latest"].is_string());
    let neither = server.act("42", "extend", &json!({})).await;
    neither.is_problem(400, "missing_field");
    let frozen = server.act("42", "freeze", &json!({"for": "10m"})).await;
    assert!(frozen["deadline"]["frozen_until"].is_string(), "{frozen:?}");
    let long = server.act("42", "freeze", &json!({"for": "16m"})).await;
    long.is_problem(409, "max_freeze");
    assert!(long["left"].is_string(), "{long:?}");
    server.act("42", "settle", &json!({"outcome": "paid"})).await;
    server.act("42", "extend", &json!({"by": "1m"})).await.is_problem(409, "already_settled");
    server.stop().await;
}

#[tokio::test]
async fn only_what_is_over_is_erased() {
    let server = Server::start().await;
    let path = "/v1/queues/orders/deadlines/42";
    server.schedule("42", &json!({"after": "30m"})).await;
    server.delete(path).await.is_problem(409, "still_pending");
    server.act("42", "revive", &json!({})).await.is_problem(409, "not_dead");
    server.act("42", "settle", &json!({"outcome": "cancelled"})).await;
    let erased = server.delete(path).await;
    assert_eq!((erased.status, &erased["erased"]), (200, &json!(true)));
    server.get(path).await.is_problem(404, "unknown_deadline");
    server.stop().await;
}

#[tokio::test]
async fn a_payload_comes_back_as_it_was_sent() {
    let server = Server::start().await;
    let path = "/v1/queues/orders/deadlines/42";
    let payload =
        r#"{ "total": 19.90, "big": 12345678901234567890123, "text": "\u00e9\ud83d\ude00" }"#;
    let body = format!(r#"{{"after":"30m","payload":{payload}}}"#);
    server.send("PUT", path, &body).await;
    let shown = server.get(path).await;
    assert!(shown.text.contains(payload), "{}", shown.text);
    let large = |bytes: usize| json!({"after": "30m", "payload": "x".repeat(bytes)});
    let refused = server.schedule("43", &large(64 * 1024 - 1)).await;
    refused.is_problem(413, "payload_too_large");
    assert_eq!(server.schedule("43", &large(64 * 1024 - 2)).await.status, 201);
    server.stop().await;
}

#[tokio::test]
async fn any_text_without_control_characters_is_a_key() {
    let server = Server::start().await;
    for key in ["a%2Fb", "%C3%A9", "%F0%9F%98%80", "a%20b", "..", "%25", "x%3Fy%23z"] {
        let path = format!("/v1/queues/orders/deadlines/{key}");
        let created = server.put(&path, &json!({"after": "30m"})).await;
        assert_eq!(created.status, 201, "{key}: {created:?}");
        assert_eq!(server.get(&path).await["deadline"]["key"], created["deadline"]["key"]);
    }
    for key in ["%00", "a%0Ab", "%C2%85", "%FF", &"k".repeat(513)] {
        let path = format!("/v1/queues/orders/deadlines/{key}");
        server.put(&path, &json!({"after": "30m"})).await.is_problem(400, "bad_key");
    }
    server.stop().await;
}
