//! What happens, as it is followed: every event after its place, once and in order, also across a
//! restart, and an honest word when it is not kept.

use duly::config::Settings;
use serde_json::json;

use super::server::Server;
use super::stream::{Event, Stream};

async fn follow(server: &Server, path: &str) -> Stream {
    Stream::open(server.address(), path, "").await.expect("it is a stream")
}

/// What happened to which key.
fn what(event: &Event) -> String {
    assert_eq!(event.data["what"], event.name, "{event:?}");
    format!("{} {}", event.data["key"].as_str().unwrap_or("-"), event.name)
}

async fn whats(stream: &mut Stream, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..count {
        found.push(what(&stream.next().await.expect("there is more")));
    }
    found
}

#[tokio::test]
async fn a_life_is_told_line_by_line() {
    let server = Server::start().await;
    let mut stream = follow(&server, "/v1/events").await;
    assert!(stream.head.contains("text/event-stream"), "{}", stream.head);
    let policy =
        json!({"target": "pull", "retry": ["5s"], "retry_for": "10s", "max_freeze": "15m"});
    server.put("/v1/queues/orders", &policy).await;
    server.schedule("42", &json!({"after": "30m", "payload": {"secret": 1}})).await;
    let event = stream.next().await.expect("it was scheduled");
    assert_eq!(what(&event), "42 scheduled");
    let seq: u64 = stream.id.parse().expect("an id is a number");
    assert_eq!(event.data["seq"], stream.id);
    for (name, value) in [("queue", "orders"), ("state", "pending")] {
        assert_eq!(event.data[name], value, "{event:?}");
    }
    assert_eq!(event.data["generation"], 1);
    assert!(event.data["due"].is_string() && event.data["at"].is_string());
    assert!(event.data["payload"].is_null(), "payloads are not told");

    server.act("42", "extend", &json!({"by": "15m"})).await;
    server.act("42", "freeze", &json!({"for": "1m"})).await;
    server.advance("45m").await;
    server.post("/v1/queues/orders/lease", &json!({"max": 1, "lease": "1s"})).await;
    server.advance("2s").await;
    assert_eq!(whats(&mut stream, 2).await, ["42 extended", "42 frozen"]);
    let lapsed = stream.next().await.expect("it lapsed");
    assert_eq!((what(&lapsed).as_str(), &lapsed.data["state"]), ("42 lapsed", &json!("lapsed")));
    assert_eq!(lapsed.data["delivery"]["state"], "ready");
    let leased = stream.next().await.expect("it was leased");
    assert_eq!((what(&leased).as_str(), &leased.data["attempt"]), ("42 leased", &json!(1)));
    assert_eq!(leased.data["delivery"]["id"], lapsed.data["delivery"]["id"]);
    let retried = stream.next().await.expect("the lease ran out");
    assert_eq!(what(&retried), "42 retried");
    assert!(retried.data["error"].is_string() && retried.data["next_attempt_at"].is_string());

    server.schedule("43", &json!({"after": "30m"})).await;
    server.act("43", "settle", &json!({"outcome": "paid"})).await;
    server.delete("/v1/queues/orders/deadlines/43").await;
    assert_eq!(whats(&mut stream, 1).await, ["43 scheduled"]);
    let settled = stream.next().await.expect("it was settled");
    assert_eq!((what(&settled).as_str(), &settled.data["outcome"]), ("43 settled", &json!("paid")));
    let erased = stream.next().await.expect("it was erased");
    assert_eq!((what(&erased).as_str(), &erased.data["id"]), ("- erased", &settled.data["id"]));
    assert!(stream.id.parse::<u64>().expect("an id is a number") > seq);
    server.stop().await;
}

#[tokio::test]
async fn a_reader_hears_of_one_queue_or_of_one_key() {
    let server = Server::start().await;
    let mut of_key = follow(&server, "/v1/events?key=a%2Fb").await;
    let mut of_queue = follow(&server, "/v1/events?queue=other").await;
    for (queue, key) in [("orders", "1"), ("orders", "a%2Fb"), ("other", "2"), ("other", "a%2Fb")] {
        let path = format!("/v1/queues/{queue}/deadlines/{key}");
        server.put(&path, &json!({"after": "30m"})).await;
    }
    assert_eq!(whats(&mut of_key, 2).await, ["a/b scheduled", "a/b scheduled"]);
    assert_eq!(whats(&mut of_queue, 2).await, ["2 scheduled", "a/b scheduled"]);
    server.stop().await;
}

#[tokio::test]
async fn a_reader_goes_on_where_it_stopped_also_on_a_server_that_was_restarted() {
    let server = Server::start().await;
    for number in 0..20 {
        server.schedule(&number.to_string(), &json!({"after": "30m"})).await;
    }
    let mut stream = follow(&server, "/v1/events?after=0").await;
    let first = whats(&mut stream, 10).await;
    assert_eq!(first.last().map(String::as_str), Some("9 scheduled"));
    let place = stream.id.clone();
    drop(stream);
    server.act("3", "settle", &json!({"outcome": "paid"})).await;
    let server = Server::start_in(server.end().await, |_| ()).await;
    server.schedule("20", &json!({"after": "30m"})).await;
    let by_header = format!("Last-Event-ID: {place}\r\n");
    for (path, headers) in [
        (format!("/v1/events?after={place}"), String::new()),
        ("/v1/events".to_owned(), by_header.clone()),
        // A browser comes back to the address it was given, and says what it has heard.
        ("/v1/events?after=0".to_owned(), by_header),
    ] {
        let mut stream =
            Stream::open(server.address(), &path, &headers).await.expect("it is a stream");
        let rest = whats(&mut stream, 12).await;
        let expected: Vec<String> = (10..20)
            .map(|number| format!("{number} scheduled"))
            .chain(["3 settled".to_owned(), "20 scheduled".to_owned()])
            .collect();
        assert_eq!(rest, expected, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_comes_too_late_is_told_so_and_from_where_to_go_on() {
    let server =
        Server::start_with(|settings: &mut Settings| settings.events_keep = 64 << 10).await;
    let lines: Vec<String> = (0..2_000)
        .map(|number| {
            let (op, queue, key) = ("schedule", "orders", number.to_string());
            json!({"op": op, "queue": queue, "key": key, "after": "30m"}).to_string()
        })
        .collect();
    let mut live = None;
    for some in lines.chunks(100) {
        // An answer leaves before its events do: who has heard the last event knows that all are told.
        live = Some(follow(&server, "/v1/events").await);
        assert_eq!(server.send("POST", "/v1/batch", &some.join("\n")).await.status, 200);
    }
    let mut live = live.expect("there was a batch");
    while what(&live.next().await.expect("it is told")) != "1999 scheduled" {}
    let gone = server.get("/v1/events?after=5").await;
    gone.is_problem(410, "events_gone");
    let from = gone["kept_after"].as_str().expect("it says from where").to_owned();
    let mut stream = follow(&server, &format!("/v1/events?after={from}")).await;
    let mut last = what(&stream.next().await.expect("it is kept"));
    while last != "1999 scheduled" {
        last = what(&stream.next().await.expect("it is kept"));
    }
    server.get("/v1/events?after=999999").await.is_problem(410, "events_gone");
    server.get("/v1/events?after=x").await.is_problem(400, "bad_parameter");
    server.get("/v1/events?queue=a%20b").await.is_problem(400, "bad_queue_name");
    server.get("/v1/events?since=1").await.is_problem(400, "unknown_parameter");
    let headers = format!("Host: {}\r\nLast-Event-ID: seven\r\n", server.address());
    let bad = server.send_with("GET", "/v1/events", &headers, b"").await;
    bad.is_problem(400, "bad_parameter");
    server.stop().await;
}

#[tokio::test]
async fn there_is_room_for_so_many_readers_and_a_place_is_given_back() {
    let server = Server::start().await;
    let mut streams = Vec::new();
    for _ in 0..256 {
        streams.push(follow(&server, "/v1/events").await);
    }
    server.get("/v1/events").await.is_problem(503, "too_many_streams");
    drop(streams.pop());
    // The server hears of it when it hears of it.
    while Stream::open(server.address(), "/v1/events", "").await.is_err() {
        tokio::task::yield_now().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_the_server_stops() {
    let server = Server::start().await;
    let mut stream = follow(&server, "/v1/events").await;
    server.stop().await;
    assert!(stream.next().await.is_none());
}
