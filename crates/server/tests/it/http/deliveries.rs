//! Workers: lease, verdict, touch, and what is shown of it.

use serde_json::{Value, json};

use super::server::{Reply, Server};

const LEASE: &str = "/v1/queues/orders/lease";

/// A server with one lapsed deadline in `orders`.
async fn with_a_lapse() -> Server {
    let server = Server::start().await;
    server.schedule("42", &json!({"after": "30m", "payload": {"total": "19.90"}})).await;
    server.advance("30m").await;
    server
}

async fn verdict(server: &Server, leased: &Value, body: Value) -> Reply {
    let mut body = body;
    body["token"] = leased["token"].clone();
    let id = leased["id"].as_str().expect("an id is text");
    server.post(&format!("/v1/deliveries/{id}/verdict"), &body).await
}

#[tokio::test]
async fn a_worker_leases_and_says_done_once_or_twice() {
    let server = with_a_lapse().await;
    let leased = server.post(LEASE, &json!({"max": 10, "lease": "30s"})).await;
    assert_eq!(leased.status, 200, "{leased:?}");
    let delivery = &leased["deliveries"][0];
    assert_eq!((&delivery["key"], &delivery["attempt"]), (&json!("42"), &json!(1)));
    assert_eq!(delivery["payload"], json!({"total": "19.90"}));
    assert!(delivery["token"].is_string() && delivery["leased_until"].is_string());
    let late = server.act("42", "settle", &json!({"outcome": "paid"})).await;
    assert_eq!(late["acted"], "maybe");
    for _ in 0..2 {
        let done = verdict(&server, delivery, json!({"verdict": "done"})).await;
        assert_eq!(done.status, 200, "{done:?}");
        assert_eq!(done["deadline"]["delivery"]["state"], "done");
    }
    let late = server.act("42", "settle", &json!({"outcome": "paid"})).await;
    assert_eq!(late["acted"], "yes");
    assert_eq!(server.post(LEASE, &json!({})).await["deliveries"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn a_batch_takes_the_verdicts_and_touches_of_many_leases() {
    let server = Server::start().await;
    for key in ["1", "2", "3"] {
        server.schedule(key, &json!({"after": "30m"})).await;
    }
    server.advance("30m").await;
    let leased = server.post(LEASE, &json!({"max": 3})).await;
    let line = |number: usize, op: &str, rest: &str| {
        let (id, token) =
            (&leased["deliveries"][number]["id"], &leased["deliveries"][number]["token"]);
        format!(r#"{{"op":"{op}","id":{id},"token":{token}{rest}}}"#)
    };
    let lines = [
        line(0, "verdict", r#","verdict":"done""#),
        line(1, "verdict", r#","verdict":"superseded""#),
        line(2, "touch", r#","lease":"60s""#),
        line(2, "verdict", r#","verdict":"perhaps""#),
    ];
    let reply = server.send("POST", "/v1/batch", &lines.join("\n")).await;
    let lines = reply.lines();
    let statuses: Vec<u64> = lines.iter().filter_map(|line| line["status"].as_u64()).collect();
    assert_eq!(statuses, [200, 200, 200, 400], "{reply:?}");
    assert_eq!(lines[0]["deadline"]["delivery"]["state"], "done");
    assert_eq!(lines[1]["deadline"]["delivery"]["state"], "superseded");
    assert!(lines[2]["leased_until"].is_string());
    server.stop().await;
}

#[tokio::test]
async fn a_lease_that_ran_out_is_lost() {
    let server = with_a_lapse().await;
    let leased = server.post(LEASE, &json!({"lease": "30s"})).await;
    let delivery = &leased["deliveries"][0];
    let id = delivery["id"].as_str().expect("an id is text");
    let touch = json!({"token": delivery["token"], "lease": "60s"});
    let touched = server.post(&format!("/v1/deliveries/{id}/touch"), &touch).await;
    assert!(touched["leased_until"].is_string(), "{touched:?}");
    server.advance("59s").await;
    assert_eq!(server.post(LEASE, &json!({})).await["deliveries"], json!([]));
    server.advance("1s").await;
    let lost = verdict(&server, delivery, json!({"verdict": "done"})).await;
    lost.is_problem(409, "lease_lost");
    server.post(&format!("/v1/deliveries/{id}/touch"), &touch).await.is_problem(409, "lease_lost");
    server.stop().await;
}

#[tokio::test]
async fn a_failed_attempt_is_tried_again_and_a_dead_one_revived() {
    let server = with_a_lapse().await;
    let leased = server.post(LEASE, &json!({})).await;
    let body = json!({"verdict": "retry", "error": "503", "retry_after": "10m"});
    let retried = verdict(&server, &leased["deliveries"][0], body).await;
    let delivery = &retried["deadline"]["delivery"];
    assert_eq!((&delivery["state"], &delivery["last_error"]), (&json!("ready"), &json!("503")));
    assert!(delivery["next_attempt_at"].is_string(), "{retried:?}");
    server.advance("10m").await;
    let leased = server.post(LEASE, &json!({})).await;
    assert_eq!(leased["deliveries"][0]["attempt"], 2, "{leased:?}");
    let body = json!({"verdict": "dead", "error": "é".repeat(600)});
    let dead = verdict(&server, &leased["deliveries"][0], body).await;
    assert_eq!(dead["deadline"]["delivery"]["state"], "dead");
    assert_eq!(dead["deadline"]["delivery"]["last_error"], "é".repeat(256));
    let again = server.schedule("42", &json!({"after": "1m", "if_exists": "replace"})).await;
    again.is_problem(409, "delivery_under_way");
    let hint = again["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("revive or erase one that is dead"), "{hint}");
    let revived = server.act("42", "revive", &json!({})).await;
    assert_eq!(revived["deadline"]["delivery"]["state"], "ready", "{revived:?}");
    let leased = server.post(LEASE, &json!({})).await;
    let kept = verdict(&server, &leased["deliveries"][0], json!({"verdict": "superseded"})).await;
    assert_eq!(kept["deadline"]["delivery"]["state"], "superseded");
    let late = server.act("42", "settle", &json!({"outcome": "paid"})).await;
    assert_eq!(late["acted"], "kept");
    server.stop().await;
}

#[tokio::test]
async fn a_lease_waits_for_the_first_lapse() {
    let server = Server::start().await;
    server.schedule("42", &json!({"after": "30m"})).await;
    let body = json!({"wait": "60s"});
    let (leased, ()) = tokio::join!(server.post(LEASE, &body), server.advance("30m"));
    assert_eq!(leased["deliveries"][0]["key"], "42", "{leased:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_a_worker_can_get_wrong_is_told() {
    let server = with_a_lapse().await;
    server.put("/v1/queues/hooks", &json!({"target": "none"})).await;
    server.post("/v1/queues/hooks/lease", &json!({})).await.is_problem(409, "not_pull");
    server.post("/v1/queues/nowhere/lease", &json!({})).await.is_problem(404, "unknown_queue");
    let cases = [
        (json!({"max": 0}), "bad_field"),
        (json!({"max": 1001}), "bad_field"),
        (json!({"wait": "61s"}), "bad_duration"),
        (json!({"lease": "999ms"}), "bad_duration"),
        (json!({"lease": "13h"}), "bad_duration"),
        (json!({"count": 1}), "unknown_field"),
    ];
    for (body, code) in cases {
        server.post(LEASE, &body).await.is_problem(400, code);
    }
    let leased = server.post(LEASE, &json!({})).await;
    let delivery = &leased["deliveries"][0];
    let cases = [
        json!({"verdict": "maybe"}),
        json!({"verdict": "done", "error": "none"}),
        json!({"verdict": "dead", "retry_after": "1m"}),
    ];
    for body in cases {
        verdict(&server, delivery, body).await.is_problem(400, "bad_field");
    }
    let body = json!({"token": "1", "verdict": "done"});
    let elsewhere = "/v1/deliveries/0000000000000-1-1/verdict";
    server.post(elsewhere, &body).await.is_problem(404, "unknown_delivery");
    server.post("/v1/deliveries/7/verdict", &body).await.is_problem(404, "unknown_delivery");
    server.stop().await;
}

#[tokio::test]
async fn nobody_who_acts_is_a_warning_until_a_worker_leases() {
    let server = Server::start().await;
    let first = server.schedule("1", &json!({"after": "30m"})).await;
    assert_eq!(first["warnings"][0]["code"], "nobody_acts", "{first:?}");
    server.post(LEASE, &json!({})).await;
    let second = server.schedule("2", &json!({"after": "30m"})).await;
    assert!(second["warnings"].is_null(), "{second:?}");
    server.stop().await;
}
