//! What a person finds who opens the server in a browser: where everything is, and two documents.
//!
//! The documents are the repository's own, compiled in, so that the address in every error's `type`
//! leads somewhere without any network.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::reply::json as json_response;

const ERRORS: &str = include_str!("../../../../../docs/errors.md");
const HTTP: &str = include_str!("../../../../../docs/http.md");

/// Where everything is.
pub(super) async fn root() -> Response {
    let map = json!({
        "name": "duly",
        "version": env!("CARGO_PKG_VERSION"),
        "documents": ["/docs/http", "/docs/errors"],
        "openapi": "/openapi.json",
        "health": ["/healthz", "/readyz", "/metrics"],
    });
    json_response(StatusCode::OK, &map)
}

/// Every code: meaning, cause, what to do.
pub(super) async fn errors() -> Response {
    text(ERRORS)
}

/// The HTTP API, call by call.
pub(super) async fn http() -> Response {
    text(HTTP)
}

fn text(document: &'static str) -> Response {
    let mut response = document.into_response();
    let media_type = HeaderValue::from_static("text/markdown; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}
