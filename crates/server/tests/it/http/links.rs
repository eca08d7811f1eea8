//! Watch links: what they show and to whom, what they never show, and when they are void.

use duly::config::Settings;
use serde_json::json;

use super::server::{Reply, Server};
use super::stream::Stream;

const SECRET: &str = "a secret of thirty-two characters";

async fn link(server: &Server, more: &serde_json::Value) -> String {
    let mut wish = json!({"queue": "orders", "key": "42"});
    for (name, value) in more.as_object().expect("more fields") {
        wish[name] = value.clone();
    }
    let made = server.post("/v1/links", &wish).await;
    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(made["url"], format!("/w/{}", made["token"].as_str().expect("it has a token")));
    made["url"].as_str().expect("it has an address").to_owned()
}

fn shown(reply: &Reply) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_str(&reply.text).expect("it is JSON");
    value.as_object().expect("it is an object").keys().cloned().collect()
}

#[tokio::test]
async fn a_link_shows_where_its_deadline_stands_and_nothing_else() {
    let server = Server::start().await;
    server.schedule("42", &json!({"after": "30m", "payload": {"name": "Ada"}})).await;
    let url = link(&server, &json!({})).await;
    let showing = link(&server, &json!({"show_outcome": true})).await;
    let seen = server.get(&url).await;
    assert_eq!((&seen["state"], &seen["remaining_ms"]), (&json!("pending"), &json!(1_800_000)));
    assert_eq!(shown(&seen), ["due", "frozen_until", "remaining_ms", "server_time", "state"]);
    assert_eq!(seen.header("access-control-allow-origin"), Some("*"));
    assert_eq!(seen.header("cache-control"), Some("no-store"));

    server.advance("20m").await;
    server.act("42", "freeze", &json!({"for": "15m"})).await;
    let seen = server.get(&url).await;
    assert_eq!(seen["remaining_ms"], 900_000, "a freeze that ends after due counts");
    assert!(seen["frozen_until"].is_string(), "{seen:?}");
    server.act("42", "extend", &json!({"by": "1h"})).await;
    assert_eq!(server.get(&url).await["remaining_ms"], 4_200_000);
    server.advance("15m").await;
    assert!(server.get(&url).await["frozen_until"].is_null(), "it has thawed");

    server.act("42", "settle", &json!({"outcome": "paid"})).await;
    let seen = server.get(&url).await;
    assert_eq!(shown(&seen), ["due", "server_time", "settled_at", "state"]);
    assert_eq!(server.get(&showing).await["outcome"], "paid");

    server.schedule("42", &json!({"after": "1m", "if_exists": "replace"})).await;
    server.advance("1m").await;
    let seen = server.get(&url).await;
    assert_eq!(seen["state"], "lapsed");
    assert_eq!(shown(&seen), ["due", "lapsed_at", "server_time", "state"]);
    server.stop().await;
}

#[tokio::test]
async fn a_link_ends_when_it_expires_or_its_generation_is_over() {
    let server = Server::start().await;
    server.schedule("42", &json!({"after": "30m"})).await;
    let short = link(&server, &json!({"ttl": "10m"})).await;
    let usual = link(&server, &json!({})).await;
    let first = link(&server, &json!({"generation": 1})).await;
    server.advance("599s").await;
    assert_eq!(server.get(&short).await.status, 200);
    server.advance("1s").await;
    let over = server.get(&short).await;
    over.is_problem(410, "link_expired");
    assert_eq!(over.header("access-control-allow-origin"), Some("*"), "a page may read why");
    server.get(&format!("{short}/events")).await.is_problem(410, "link_expired");

    server.schedule("42", &json!({"after": "30m", "if_exists": "replace"})).await;
    server.get(&first).await.is_problem(410, "link_outdated");
    assert_eq!(server.get(&usual).await["state"], "pending");
    let late = json!({"queue": "orders", "key": "42", "generation": 1});
    server.post("/v1/links", &late).await.is_problem(409, "other_generation");
    // A day beyond the due time it was made for.
    server.advance("24h").await;
    assert_eq!(server.get(&usual).await.status, 200);
    server.advance("20m").await;
    server.get(&usual).await.is_problem(410, "link_expired");
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_linked_is_refused_where_the_link_is_made() {
    let server = Server::start().await;
    let make = async |wish: serde_json::Value| server.post("/v1/links", &wish).await;
    make(json!({"queue": "orders", "key": "42"})).await.is_problem(404, "unknown_queue");
    server.schedule("42", &json!({"after": "30m"})).await;
    make(json!({"queue": "orders", "key": "43"})).await.is_problem(404, "unknown_deadline");
    make(json!({"queue": "a b", "key": "42"})).await.is_problem(400, "bad_queue_name");
    make(json!({"queue": "orders", "key": ""})).await.is_problem(400, "bad_key");
    make(json!({"queue": "orders"})).await.is_problem(400, "missing_field");
    for (name, value, code) in [
        ("ttl", json!("0s"), "bad_duration"),
        ("ttl", json!("4000d"), "bad_duration"),
        ("ttl", json!("soon"), "bad_duration"),
        ("generation", json!(0), "bad_field"),
        ("until", json!("2h"), "unknown_field"),
    ] {
        let mut wish = json!({"queue": "orders", "key": "42"});
        wish[name] = value;
        make(wish).await.is_problem(400, code);
    }
    server.get("/w/AQ").await.is_problem(404, "unknown_link");
    server.get("/w/%FF").await.is_problem(404, "unknown_link");
    server.send("POST", "/w/AQ", "").await.is_problem(405, "method_not_allowed");
    server.stop().await;
}

#[tokio::test]
async fn links_are_known_again_after_a_restart_and_by_whoever_has_the_secret() {
    let server = Server::start().await;
    server.schedule("42", &json!({"after": "30m"})).await;
    let own = link(&server, &json!({})).await;
    let directory = server.end().await;
    let server = Server::start_in(directory, |_| ()).await;
    assert_eq!(server.get(&own).await.status, 200);
    let given = |settings: &mut Settings| {
        settings.links.secrets = vec![SECRET.to_owned()];
        settings.links.public_url = Some("https://shop.example/duly".to_owned());
    };
    let server = Server::start_in(server.end().await, given).await;
    server.get(&own).await.is_problem(404, "unknown_link");
    let made = server.post("/v1/links", &json!({"queue": "orders", "key": "42"})).await;
    let token = made["token"].as_str().expect("it has a token").to_owned();
    assert_eq!(made["url"], format!("https://shop.example/duly/w/{token}"));
    let rotated = |settings: &mut Settings| {
        settings.links.secrets = vec![SECRET.replace('a', "b"), SECRET.to_owned()];
    };
    let server = Server::start_in(server.end().await, rotated).await;
    assert_eq!(server.get(&format!("/w/{token}")).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_page_that_follows_a_link_hears_of_every_change_and_of_nothing_else() {
    let server = Server::start().await;
    server.put("/v1/queues/orders", &json!({"target": "pull"})).await;
    server.schedule("42", &json!({"after": "30m"})).await;
    let url = link(&server, &json!({})).await;
    let origin = "Origin: https://shop.example\r\n";
    let mut stream = Stream::open(server.address(), &format!("{url}/events"), origin)
        .await
        .expect("it is a stream");
    assert!(stream.head.to_lowercase().contains("access-control-allow-origin: *"));
    let at_once = stream.next().await.expect("it is told at once");
    assert_eq!((at_once.name.as_str(), &at_once.data["state"]), ("message", &json!("pending")));

    for number in 100..110 {
        server.schedule(&number.to_string(), &json!({"after": "30m"})).await;
    }
    server.act("42", "extend", &json!({"by": "30m"})).await;
    let extended = stream.next().await.expect("it was extended");
    assert_eq!(extended.data["remaining_ms"], 3_600_000);
    server.act("42", "freeze", &json!({"for": "1m"})).await;
    let frozen = stream.next().await.expect("it was frozen");
    assert!(frozen.data["frozen_until"].is_string(), "{frozen:?}");
    server.act("42", "freeze", &json!({"for": "0s"})).await;
    let thawed = stream.next().await.expect("the freeze was ended");
    assert!(thawed.data["frozen_until"].is_null(), "{thawed:?}");
    server.advance("1h").await;
    assert_eq!(stream.next().await.expect("it lapsed").data["state"], "lapsed");
    // What becomes of the delivery is the shop's business.
    server.post("/v1/queues/orders/lease", &json!({"max": 1})).await;
    server.schedule("42", &json!({"after": "5m", "if_exists": "keep"})).await;
    assert!(stream.id.is_empty(), "an id would tell how many orders there are");
    server.stop().await;
    assert!(stream.next().await.is_none(), "nothing else was told");
}

#[tokio::test]
async fn pages_of_other_sites_may_watch_and_do_nothing_else() {
    let server = Server::start().await;
    server.schedule("42", &json!({"after": "30m"})).await;
    let url = link(&server, &json!({})).await;
    let foreign = "Host: watch.shop.example\r\nOrigin: https://shop.example\r\n";
    let seen = server.send_with("GET", &url, foreign, b"").await;
    assert_eq!(seen.status, 200, "{seen:?}");
    for path in ["/v1/stats", "/", "/w", "/v1/queues/orders", "/w/../v1/stats", "//w/x", "/W/x"] {
        let reply = server.send_with("GET", path, foreign, b"").await;
        assert!(reply.status == 403 || reply["code"] == "unknown_path", "{path}: {reply:?}");
    }
    let script = server.send_with("GET", "/w/duly.js", foreign, b"").await;
    assert_eq!(script.status, 200);
    assert!(script.text.len() <= 2_048, "{} bytes", script.text.len());
    assert!(script.text.contains("duly-countdown"));
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    server.stop().await;
}

#[tokio::test]
async fn the_public_listener_serves_links_and_nothing_else() {
    let public = |settings: &mut Settings| {
        settings.public = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    };
    let server = Server::start_with(public).await;
    server.schedule("42", &json!({"after": "30m"})).await;
    let url = link(&server, &json!({})).await;
    let mut stream =
        Stream::open(server.public(), &format!("{url}/events"), "").await.expect("it is a stream");
    assert_eq!(stream.next().await.expect("at once").data["state"], "pending");
    for path in ["/", "/v1/stats", "/healthz", "/openapi.json", "/v1/queues/orders/deadlines/42"] {
        let refused = Stream::open(server.public(), path, "").await.err().expect("not there");
        refused.is_problem(404, "unknown_path");
    }
    server.stop().await;
    assert!(stream.next().await.is_none());
}
