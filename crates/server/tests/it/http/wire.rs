//! What the wire itself promises: one form of every error, limits, the guard, an orderly end.

use std::fs;

use duly::listen::http::KINDS;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::server::Server;

#[tokio::test]
async fn every_error_is_a_problem_also_the_frameworks_own() {
    let server = Server::start().await;
    let path = "/v1/queues/orders/deadlines/42";
    server.get("/nowhere").await.is_problem(404, "unknown_path");
    server.get("/v1/queues/orders/deadlines/a/b").await.is_problem(404, "unknown_path");
    let wrong = server.send("PATCH", path, "").await;
    wrong.is_problem(405, "method_not_allowed");
    let allow = wrong.header("allow").expect("it says what is allowed");
    assert!(allow.contains("PUT") && allow.contains("DELETE"), "{allow}");
    server.send("PUT", path, "{\"after\":").await.is_problem(400, "malformed_json");
    let bad = server.send("PUT", path, "{\"after\":\"1m\"\n,}").await;
    bad.is_problem(400, "malformed_json");
    let detail = bad["detail"].as_str().expect("it says where");
    assert!(detail.contains("line 2"), "{detail}");
    server.put("/v1/queues/a%20b/deadlines/1", &json!({})).await.is_problem(400, "bad_queue_name");
    server.put("/v1/queues/%FF", &json!({})).await.is_problem(400, "bad_queue_name");
    let unknown = server.get("/v1/stats?verbose=1").await;
    unknown.is_problem(400, "unknown_parameter");
    assert_eq!(unknown["field"], "verbose");
    server.stop().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_its_sender_hears_why() {
    let server = Server::start().await;
    let path = "/v1/queues/orders/deadlines/42";
    let large = "x".repeat(17 << 20);
    server.send("PUT", path, &large).await.is_problem(413, "body_too_large");
    server.send("POST", "/v1/batch", &large).await.is_problem(413, "body_too_large");
    let deep = format!("{{\"payload\":{}{}}}", "[".repeat(64), "]".repeat(64));
    server.send("PUT", path, &deep).await.is_problem(400, "too_deep");
    let headers = format!("Host: localhost\r\nCookie: {}\r\n", "x".repeat(16 << 10));
    let refused = server.send_with("GET", path, &headers, b"").await;
    refused.is_problem(431, "header_too_large");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_writes_all_before_it_reads_hears_why_it_was_refused() {
    let server = Server::start().await;
    let large = "x".repeat(4 << 20);
    server.send("PUT", "/v1/queues/orders/deadlines/%00", &large).await.is_problem(400, "bad_key");
    server.send("PUT", "/nowhere", &large).await.is_problem(404, "unknown_path");
    let headers = "Host: shop.example\r\n";
    let refused = server.send_with("PUT", "/v1/queues/orders", headers, large.as_bytes()).await;
    refused.is_problem(403, "foreign_host");
    server.stop().await;
}

#[tokio::test]
async fn a_body_is_json_whatever_its_content_type_says() {
    let server = Server::start().await;
    let headers = "Host: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let path = "/v1/queues/orders/deadlines/42";
    let reply = server.send_with("PUT", path, headers, b"{\"after\":\"30m\"}").await;
    assert_eq!(reply.status, 201, "{reply:?}");
    server.stop().await;
}

#[tokio::test]
async fn pages_and_names_from_elsewhere_are_refused_before_anything_happens() {
    let server = Server::start().await;
    let path = "/v1/queues/orders/deadlines/42";
    let body = b"{\"after\":\"30m\"}";
    let cases = [
        ("Host: shop.example\r\n", 403, "foreign_host"),
        ("Host: localhost\r\nOrigin: https://shop.example\r\n", 403, "foreign_origin"),
        ("Host: localhost\r\nOrigin: null\r\n", 403, "foreign_origin"),
        ("", 400, "missing_host"),
    ];
    for (headers, status, code) in cases {
        server.send_with("PUT", path, headers, body).await.is_problem(status, code);
        server.send_with("GET", "/nowhere", headers, b"").await.is_problem(status, code);
    }
    server.get("/v1/queues/orders").await.is_problem(404, "unknown_queue");
    let own = "Host: localhost:7830\r\nOrigin: http://localhost:7830\r\n";
    assert_eq!(server.send_with("PUT", path, own, body).await.status, 201);
    server.stop().await;
}

#[tokio::test]
async fn the_documents_are_served_and_explain_every_code() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let errors = server.get("/docs/errors").await.text;
    for kind in KINDS {
        assert!(
            errors.contains(&format!("### `{}`\n{}. ", kind.code, kind.status)),
            "{}",
            kind.code
        );
    }
    let on_disk = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http.md"));
    assert_eq!(server.get("/docs/http").await.text, on_disk.expect("it is in the repository"));
    assert_eq!(server.get("/").await["openapi"], "/openapi.json");
    server.stop().await;
}

#[tokio::test]
async fn the_page_of_the_redis_protocol_says_where_each_call_is() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await;
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md"));
    let page = page.expect("it is in the repository");
    let mut calls = 0;
    for (path, methods) in document["paths"].as_object().expect("it has paths") {
        for method in methods.as_object().expect("a path has methods").keys() {
            let call = format!("`{} {path}`", method.to_ascii_uppercase());
            assert!(page.contains(&call), "docs/redis.md says nothing of {call}");
            calls += 1;
        }
    }
    assert!(calls > 30, "only {calls} calls");
    for command in duly_wire::command_names().filter(|name| name.starts_with("DULY.")) {
        assert!(page.contains(&format!("`{command} ")), "docs/redis.md says nothing of {command}");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_reference_in_the_openapi_document_leads_somewhere() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await;
    let schemas = document["components"]["schemas"].as_object().expect("it has schemas");
    let mut references = 0;
    for part in document.text.split("\"$ref\":\"").skip(1) {
        let name = part.split('"').next().unwrap_or_default();
        let name =
            name.strip_prefix("#/components/schemas/").expect("only schemas are referred to");
        assert!(schemas.contains_key(name), "{name}");
        references += 1;
    }
    assert!(references > 50, "only {references} references");
    server.stop().await;
}

#[tokio::test]
async fn the_page_about_http_has_a_section_for_every_call() {
    let server = Server::start().await;
    let document = server.get("/openapi.json").await;
    let page = server.get("/docs/http").await.text;
    let headings: String = page.lines().filter(|line| line.starts_with("## ")).collect();
    for path in document["paths"].as_object().expect("it has paths").keys() {
        let last = path.rsplit('/').next().unwrap_or_default();
        assert!(
            headings.contains(path.as_str()) || headings.contains(&format!("/{last}")),
            "{path}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn health_says_that_the_server_lives_and_is_ready() {
    let server = Server::start().await;
    assert_eq!(server.get("/healthz").await["status"], "alive");
    assert_eq!(server.get("/readyz").await["status"], "ready");
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_lets_a_waiting_worker_go() {
    let server = Server::start().await;
    server.put("/v1/queues/orders", &json!({})).await;
    let address = server.address();
    let mut worker = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let body = "{\"wait\":\"60s\"}";
    let head =
        "POST /v1/queues/orders/lease HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n";
    worker.write_all(format!("{head}{body}").as_bytes()).await.expect("it is read");
    // Another request over another connection is answered after the worker's was sent.
    assert_eq!(server.get("/readyz").await.status, 200);
    server.stop().await;
    let mut answer = Vec::new();
    worker.read_to_end(&mut answer).await.expect("it is answered, or closed before it was read");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.ends_with("{\"deliveries\":[]}"), "{answer}");
}
