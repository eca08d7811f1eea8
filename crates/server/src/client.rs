//! One request to a Duly server and its answer: the public API as its callers see it.
//!
//! The command line and the demonstration shop talk to the server through this and nothing else. It
//! knows addresses and bytes; what a request says and what an answer means is the caller's. Plain
//! HTTP only, because that is what the server speaks.

use std::fmt;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::http::request;
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Longer than any answer takes; a server that is silent for so long is as good as away.
const PATIENCE: Duration = Duration::from_mins(1);
/// What may stand in a path or a query as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A server, by its address.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    pool: Pool<HttpConnector, Full<Bytes>>,
}

/// What the server said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, whole.
    pub body: Bytes,
}

impl Answer {
    /// Was it a yes?
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// An answer that goes on, line by line.
#[derive(Debug)]
pub struct Flow {
    body: Incoming,
    /// What has come of lines that are not handed out.
    rest: Vec<u8>,
}

impl Flow {
    /// The next line, without its end; none when the server has ended it, or has been silent for too
    /// long.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line = self.rest.drain(..=end).collect::<Vec<u8>>();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.ok()??.ok()?;
            self.rest.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }
}

/// The server gave no answer: nobody knows whether it heard the request.
#[derive(Clone, Debug)]
pub struct NoAnswer {
    base: String,
    why: String,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer from {}: {}", self.base, self.why)
    }
}

impl std::error::Error for NoAnswer {}

impl Client {
    /// A client for the server at `url`, such as `http://127.0.0.1:7830`; the error says what is wrong with it.
    pub fn new(url: &str) -> Result<Client, String> {
        let base = url.trim_end_matches('/');
        let uri: Uri = base.parse().map_err(|_| format!("{url:?} is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("https is not spoken; use http://".to_owned()),
            _ => return Err(format!("{url:?} is not a URL; write http://127.0.0.1:7830")),
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(format!("{url:?} has a path; only host and port are asked for"));
        }
        let port_is_written = uri.authority().is_some_and(|authority| {
            let place = authority.as_str().rsplit('@').next().unwrap_or_default();
            place.len() > authority.host().len()
        });
        // Without this, what is no port would be taken for none, and port 80 be asked.
        if port_is_written && uri.port_u16().is_none_or(|port| port == 0) {
            return Err(format!("{url:?} has no port from 1 to 65535"));
        }
        let pool = Pool::builder(TokioExecutor::new()).build_http();
        Ok(Client { base: base.to_owned(), pool })
    }

    /// Sends one request and waits for the whole answer. `path` begins with `/` and is escaped.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, NoAnswer> {
        let request = Request::builder().method(method).header("content-type", "application/json");
        self.patiently(async {
            let response = self.begin(request, path, body.into()).await?;
            whole(response).await
        })
        .await
    }

    /// Asks for something that goes on. An answer that does not is given as it is.
    pub async fn follow(
        &self,
        path: &str,
        last_event_id: Option<&str>,
    ) -> Result<Result<Flow, Answer>, NoAnswer> {
        let mut request = Request::builder().header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        self.patiently(async {
            let response = self.begin(request, path, Bytes::new()).await?;
            if response.status().is_success() {
                return Ok(Ok(Flow { body: response.into_body(), rest: Vec::new() }));
            }
            whole(response).await.map(Err)
        })
        .await
    }

    async fn begin(
        &self,
        request: request::Builder,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, String> {
        let request = request
            .uri(format!("{}{path}", self.base))
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        self.pool.request(request).await.map_err(|error| root(&error))
    }

    async fn patiently<T>(
        &self,
        exchange: impl Future<Output = Result<T, String>>,
    ) -> Result<T, NoAnswer> {
        let no_answer = |why: String| NoAnswer { base: self.base.clone(), why };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(answer) => answer.map_err(no_answer),
            Err(_) => Err(no_answer(format!("silent for {} seconds", PATIENCE.as_secs()))),
        }
    }
}

async fn whole(response: Response<Incoming>) -> Result<Answer, String> {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(|error| root(&error))?;
    Ok(Answer { status, body: body.to_bytes() })
}

/// A segment of a path or a value of a query, escaped.
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// The innermost reason, which is the one that people understand ("connection refused").
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::{Client, escaped};

    #[test]
    fn only_plain_http_and_no_path() {
        for url in
            ["http://127.0.0.1:7830", "http://localhost:7830/", "http://[::1]:1", "http://[::1]"]
        {
            assert!(Client::new(url).is_ok(), "{url}");
        }
        for url in ["", "127.0.0.1:7830", "https://x", "http://x/v1", "redis://x", "http://x/?a"] {
            assert!(Client::new(url).is_err(), "{url}");
        }
        for url in ["http://x:99999", "http://x:0", "http://x:", "http://[::1]:65536"] {
            assert!(Client::new(url).is_err(), "{url}");
        }
    }

    #[test]
    fn keys_are_escaped_whole() {
        assert_eq!(escaped("a/b c?é"), "a%2Fb%20c%3F%C3%A9");
        assert_eq!(escaped("order-42.x_~"), "order-42.x_~");
    }
}
