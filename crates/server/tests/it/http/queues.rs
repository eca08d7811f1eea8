//! The calls about a queue: policy, pause, shift, figures; and those about the clock.

use duly::config::ClockSource;
use serde_json::json;

use super::server::Server;

#[tokio::test]
async fn a_policy_is_laid_over_the_defaults_and_shown_whole() {
    let server = Server::start().await;
    let put = server.put("/v1/queues/orders", &json!({"default_delay": "30m", "grace": 2})).await;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(put["queue"]["name"], "orders");
    let policy = &put["queue"]["policy"];
    assert_eq!((&policy["default_delay"], &policy["grace"]), (&json!("30m"), &json!("2s")));
    assert_eq!((&policy["target"], &policy["rate"]), (&json!("pull"), &json!(null)));
    let again = server.put("/v1/queues/orders", policy).await;
    assert_eq!(&again["queue"]["policy"], policy);
    let reset = server.send("PUT", "/v1/queues/orders", "").await;
    assert_eq!(reset["queue"]["policy"]["default_delay"], json!(null));
    assert_eq!(server.get("/v1/queues/orders").await["queue"], reset["queue"]);
    server.stop().await;
}

#[tokio::test]
async fn secrets_are_never_shown() {
    let server = Server::start().await;
    let secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
    let webhook = json!({"url": "http://127.0.0.1:1/lapsed", "secrets": [secret]});
    let put = server.put("/v1/queues/orders", &json!({"target": {"webhook": webhook}})).await;
    assert_eq!(put["queue"]["target"], "webhook", "{put:?}");
    for text in [put.text, server.get("/v1/queues/orders").await.text] {
        assert!(!text.contains("MDEyMzQ1"), "{text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_a_policy_cannot_be_is_told_by_field() {
    let server = Server::start().await;
    let webhook = |url: &str| json!({"target": {"webhook": {"url": url, "secrets": ["weak"]}}});
    let cases = [
        (json!({"grace": "-1s"}), 400, "bad_duration", "grace"),
        (json!({"retry": ["often"]}), 400, "bad_duration", "retry"),
        (json!({"retry": []}), 422, "bad_policy", "retry"),
        (json!({"concurrency": 0}), 422, "bad_policy", "concurrency"),
        (json!({"target": {"sql": "nowhere"}}), 422, "bad_policy", "target"),
        (webhook("ftp://127.0.0.1/"), 422, "bad_policy", "url"),
        (webhook("http://127.0.0.1/"), 422, "bad_policy", "secrets"),
        (json!({"colour": "red"}), 400, "unknown_field", "colour"),
    ];
    for (body, status, code, field) in cases {
        let refused = server.put("/v1/queues/orders", &body).await;
        refused.is_problem(status, code);
        assert_eq!(refused["field"], field, "{body}");
    }
    server.get("/v1/queues/orders").await.is_problem(404, "unknown_queue");
    server.stop().await;
}

#[tokio::test]
async fn a_declared_queue_is_read_only_and_ends_the_creation_of_others() {
    let server = Server::start_with(|settings| {
        let name = duly_engine::id::QueueName::new("orders").expect("it is a good name");
        settings.queues.insert(name, duly_engine::queue::Policy::default());
        settings.limits.auto_create_queues = false;
    })
    .await;
    assert_eq!(server.get("/v1/queues/orders").await["queue"]["declared"], true);
    let put = server.put("/v1/queues/orders", &json!({"grace": "1s"})).await;
    put.is_problem(409, "queue_declared");
    server.delete("/v1/queues/orders").await.is_problem(409, "queue_declared");
    let body = json!({"after": "30m"});
    assert_eq!(server.schedule("42", &body).await.status, 201);
    server.put("/v1/queues/other/deadlines/42", &body).await.is_problem(404, "unknown_queue");
    server.stop().await;
}

#[tokio::test]
async fn an_empty_queue_is_deleted_and_a_full_one_is_not() {
    let server = Server::start().await;
    server.put("/v1/queues/empty", &json!({})).await;
    let deleted = server.delete("/v1/queues/empty").await;
    assert_eq!((deleted.status, &deleted["deleted"]), (200, &json!(true)));
    server.delete("/v1/queues/empty").await.is_problem(404, "unknown_queue");
    server.schedule("42", &json!({"after": "30m"})).await;
    server.delete("/v1/queues/orders").await.is_problem(409, "queue_not_empty");
    server.stop().await;
}

#[tokio::test]
async fn while_lapses_wait_a_settle_wins_and_while_deliveries_wait_nobody_leases() {
    let server = Server::start().await;
    for key in ["1", "2"] {
        server.schedule(key, &json!({"after": "30m"})).await;
    }
    let paused = server.post("/v1/queues/orders/pause", &json!({"lapses": true})).await;
    assert_eq!(
        (&paused["queue"]["paused"], &paused["queue"]["lapse_paused"]),
        (&json!(false), &json!(true))
    );
    server.advance("31m").await;
    let settled = server.act("1", "settle", &json!({"outcome": "paid"})).await;
    assert_eq!(settled["result"], "settled", "{settled:?}");
    server.send("POST", "/v1/queues/orders/pause", "").await;
    server.post("/v1/queues/orders/resume", &json!({"lapses": true})).await;
    let late = server.act("2", "settle", &json!({"outcome": "paid"})).await;
    late.is_problem(409, "too_late");
    assert_eq!(server.post("/v1/queues/orders/lease", &json!({})).await["deliveries"], json!([]));
    let resumed = server.send("POST", "/v1/queues/orders/resume", "").await;
    assert_eq!(resumed["queue"]["paused"], false);
    let leased = server.post("/v1/queues/orders/lease", &json!({})).await;
    assert_eq!(leased["deliveries"][0]["key"], "2", "{leased:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_shift_is_counted_first_and_then_moves_the_window() {
    let server = Server::start().await;
    for minutes in 1..=5 {
        server.schedule(&minutes.to_string(), &json!({"after": format!("{minutes}m")})).await;
    }
    let due = |reply: &super::server::Reply| reply["deadline"]["due"].clone();
    let from = due(&server.get("/v1/queues/orders/deadlines/2").await);
    let to = due(&server.get("/v1/queues/orders/deadlines/4").await);
    let path = "/v1/queues/orders/shift";
    let body = json!({"from": from, "to": to, "by": "30m", "dry_run": true});
    let counted = server.post(path, &body).await;
    assert_eq!((counted.status, &counted["would_move"]), (200, &json!(2)));
    let body = json!({"from": from, "to": to, "by": "30m"});
    let moved = server.post(path, &body).await;
    assert_eq!(moved["shift"], json!({"moved": 2, "finished": true}), "{moved:?}");
    server.advance("5m").await;
    for (key, state) in [("1", "lapsed"), ("2", "pending"), ("3", "pending"), ("4", "lapsed")] {
        let shown = server.get(&format!("/v1/queues/orders/deadlines/{key}")).await;
        assert_eq!(shown["deadline"]["state"], state, "{shown:?}");
    }
    let backward = json!({"from": to, "to": from, "by": "30m"});
    server.post(path, &backward).await.is_problem(400, "bad_field");
    server.post("/v1/queues/nowhere/shift", &body).await.is_problem(404, "unknown_queue");
    let body = json!({"from": from, "to": to, "by": "30m", "dry_run": true});
    server.post("/v1/queues/nowhere/shift", &body).await.is_problem(404, "unknown_queue");
    server.stop().await;
}

#[tokio::test]
async fn figures_count_what_happened() {
    let server = Server::start().await;
    for key in ["1", "2", "3"] {
        server.schedule(key, &json!({"after": "30m"})).await;
    }
    server.act("1", "settle", &json!({"outcome": "paid"})).await;
    server.advance("30m").await;
    server.act("2", "settle", &json!({"outcome": "paid"})).await.is_problem(409, "too_late");
    server.post("/v1/queues/orders/lease", &json!({})).await;
    let stats = server.get("/v1/stats").await;
    let queue = &stats["queues"][0];
    assert_eq!(queue["name"], "orders");
    assert!(queue.get("policy").is_none());
    assert_eq!((&queue["now"]["ready"], &queue["now"]["leased"]), (&json!(1), &json!(1)));
    assert_eq!((&queue["total"]["scheduled"], &queue["total"]["lapsed"]), (&json!(3), &json!(2)));
    assert_eq!(queue["total"]["settled"], json!({"paid": 1}));
    assert_eq!((&queue["total"]["attempts"], &queue["too_late"]), (&json!(1), &json!(1)));
    assert!(stats["lateness"]["count"].is_u64());
    assert_eq!(&server.get("/v1/queues/orders/stats").await["queue"], queue);
    server.get("/v1/queues/nowhere/stats").await.is_problem(404, "unknown_queue");
    let metrics = server.get("/metrics").await;
    for line in [
        r#"duly_deadlines{queue="orders",state="ready"} 1"#,
        r#"duly_settled_total{queue="orders",outcome="paid"} 1"#,
        r#"duly_lapsed_total{queue="orders"} 2"#,
        "# EOF",
    ] {
        assert!(metrics.text.contains(line), "{line} is missing in:\n{}", metrics.text);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_forecast_counts_what_falls_due_by_the_minute() {
    let server = Server::start().await;
    for (key, after) in [("1", "2m"), ("2", "2m"), ("3", "90m")] {
        server.schedule(key, &json!({"after": after})).await;
    }
    server.put("/v1/queues/other/deadlines/1", &json!({"after": "3m"})).await;
    let due = |reply: &super::server::Reply, queue: usize| -> u64 {
        let minutes = reply["queues"][queue]["minutes"].as_array().expect("it is a list").clone();
        minutes.iter().filter_map(|minute| minute["due"].as_u64()).sum()
    };
    let hour = server.get("/v1/forecast").await;
    assert_eq!((due(&hour, 0), due(&hour, 1)), (2, 1), "{hour:?}");
    let more = server.get("/v1/forecast?ahead=2h&queue=orders").await;
    assert_eq!(due(&more, 0), 3, "{more:?}");
    assert_eq!(more["queues"].as_array().map(Vec::len), Some(1));
    server.get("/v1/forecast?ahead=25h").await.is_problem(400, "bad_parameter");
    server.get("/v1/forecast?ahead=soon").await.is_problem(400, "bad_duration");
    server.get("/v1/forecast?queue=nowhere").await.is_problem(404, "unknown_queue");
    server.stop().await;
}

#[tokio::test]
async fn only_a_manual_clock_is_advanced() {
    let server = Server::start().await;
    let clock = server.get("/v1/clock").await;
    assert_eq!((&clock["clock"]["manual"], &clock["clock"]["guard"]), (&json!(true), &json!(null)));
    server.post("/v1/clock/confirm", &json!({})).await.is_problem(409, "clock_trusted");
    server.post("/v1/clock/advance", &json!({"by": "30"})).await.is_problem(400, "bad_duration");
    server.stop().await;

    let server = Server::start_with(|settings| settings.clock = ClockSource::Machine).await;
    server
        .post("/v1/clock/advance", &json!({"by": "1s"}))
        .await
        .is_problem(409, "clock_not_manual");
    server.stop().await;
}
