//! A server for one test, and a client that knows nothing but bytes.

use std::net::SocketAddr;
use std::ops::Index;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use duly::config::{ClockSource, Redis, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One server, its directory, its address and its `OpenAPI` document.
pub(super) struct Server {
    running: duly::run::Server,
    address: SocketAddr,
    directory: PathBuf,
    document: Value,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) text: String,
    json: Value,
}

impl Server {
    /// Starts a server with a manual clock.
    pub(super) async fn start() -> Server {
        Server::start_with(|_| ()).await
    }

    /// The same, with other settings.
    pub(super) async fn start_with(change: impl FnOnce(&mut Settings)) -> Server {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("duly-http-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        Server::start_in(directory, change).await
    }

    /// The same, over a directory that may be there already.
    pub(super) async fn start_in(directory: PathBuf, change: impl FnOnce(&mut Settings)) -> Server {
        let mut settings = Settings {
            data: directory.clone(),
            http: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            redis: Redis { listen: None, ..Redis::default() },
            clock: ClockSource::Manual,
            ..Settings::default()
        };
        settings.journal.segment_size = 1 << 20;
        change(&mut settings);
        let running = duly::run::Server::start(settings, None).await.expect("the server starts");
        let address = running.http().expect("it listens");
        let mut server = Server { running, address, directory, document: Value::Null };
        server.document = server.get("/openapi.json").await.json;
        server
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where watch links alone are served.
    pub(super) fn public(&self) -> SocketAddr {
        self.running.public().expect("it listens there")
    }

    /// Stops it in order and leaves its directory, for the next one.
    pub(super) async fn end(self) -> PathBuf {
        self.running.stop().await;
        self.directory
    }

    /// Stops it in order and removes its directory.
    pub(super) async fn stop(self) {
        self.running.stop().await;
        std::fs::remove_dir_all(&self.directory).expect("the directory was the test's own");
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "").await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, &body.to_string()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &body.to_string()).await
    }

    pub(super) async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, "").await
    }

    /// Schedules a deadline in `orders`.
    pub(super) async fn schedule(&self, key: &str, body: &Value) -> Reply {
        self.put(&format!("/v1/queues/orders/deadlines/{key}"), body).await
    }

    /// Settles, extends, freezes or revives a deadline in `orders`.
    pub(super) async fn act(&self, key: &str, verb: &str, body: &Value) -> Reply {
        self.post(&format!("/v1/queues/orders/deadlines/{key}/{verb}"), body).await
    }

    /// Moves the clock.
    pub(super) async fn advance(&self, by: &str) {
        let reply = self.post("/v1/clock/advance", &json!({"by": by})).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// A request with a body as it is.
    pub(super) async fn send(&self, method: &str, path: &str, body: &str) -> Reply {
        let host = format!("Host: {}\r\n", self.address);
        self.send_with(method, path, &host, body.as_bytes()).await
    }

    /// A request with exactly these headers besides the body's length.
    pub(super) async fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Reply {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(head.as_bytes()).await.expect("the head is read");
        stream.write_all(body).await.expect("the body is read");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("it answers and closes");
        let reply = Reply::read(&answer);
        self.is_described(method, path, &reply);
        reply
    }

    /// The document has a word for this answer.
    fn is_described(&self, method: &str, path: &str, reply: &Reply) {
        if reply.status >= 400 {
            assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply:?}");
        }
        let path = path.split('?').next().unwrap_or_default();
        let Some(item) = self.route(path) else { return };
        let operation = &item[method.to_lowercase()];
        if reply.status == 405 && operation.is_null() {
            return;
        }
        let response = &operation["responses"][reply.status.to_string()];
        let media_types = response["content"].as_object().unwrap_or_else(|| {
            panic!("{method} {path} answers what /openapi.json does not know: {reply:?}")
        });
        let media_type = reply.header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default();
        assert!(media_types.contains_key(media_type), "{method} {path}: {media_type}");
    }

    fn route(&self, path: &str) -> Option<&Value> {
        let fits = |template: &str| {
            let mut segments = path.split('/');
            let all = template.split('/').all(|wanted| {
                segments.next().is_some_and(|found| {
                    found == wanted || (wanted.starts_with('{') && !found.is_empty())
                })
            });
            all && segments.next().is_none()
        };
        let paths = self.document["paths"].as_object()?;
        let exact = paths.get(path);
        exact.or_else(|| paths.iter().find(|(path, _)| fits(path)).map(|(_, item)| item))
    }
}

impl Reply {
    pub(super) fn read(answer: &[u8]) -> Reply {
        let text = String::from_utf8_lossy(answer);
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let head = head.to_owned();
        let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        assert!(!chunked, "answers are whole: {head}");
        Reply {
            status: status.expect("an answer has a status"),
            head,
            text: body.to_owned(),
            json: serde_json::from_str(body).unwrap_or_default(),
        }
    }

    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The lines of NDJSON.
    pub(super) fn lines(&self) -> Vec<Value> {
        let line = |line: &str| serde_json::from_str(line).expect("every line is JSON");
        self.text.lines().map(line).collect()
    }

    /// Is it this problem? All that problems promise is checked.
    #[track_caller]
    pub(super) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self["status"], status, "{self:?}");
        assert_eq!(self["type"], format!("/docs/errors#{code}"), "{self:?}");
        assert!(self["title"].is_string() && self["hint"].is_string(), "{self:?}");
    }
}

impl Index<&str> for Reply {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        &self.json[name]
    }
}
