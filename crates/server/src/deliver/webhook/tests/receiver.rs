//! A webhook receiver on a loopback socket: hears requests, answers as it is told.
//!
//! It writes HTTP by hand, so that it can also say what no honest server says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use duly_engine::queue::Webhook;
use duly_engine::time::Span;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// The first line.
    pub(super) line: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Heard {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What to do with a request.
pub(super) enum Reply {
    /// Send this and listen on.
    Say(Vec<u8>),
    /// Send this and close the connection.
    SayAndClose(Vec<u8>),
    /// Send this, then neither speak nor close.
    SayAndHang(Vec<u8>),
}

/// An answer with a body; the header lines end in `\r\n`.
pub(super) fn answer(status: u16, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Say(
        format!("HTTP/1.1 {status} Said\r\n{headers}content-length: {length}\r\n\r\n{body}").into(),
    )
}

/// A receiver that listens until the test ends.
pub(super) struct Receiver {
    port: u16,
    heard: mpsc::UnboundedReceiver<Heard>,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    /// Answers every request as `reply` says.
    pub(super) async fn new(reply: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Receiver {
        Receiver::over(None, reply).await
    }

    /// The same over TLS.
    pub(super) async fn over(
        tls: Option<TlsAcceptor>,
        reply: impl Fn(&Heard) -> Reply + Send + Sync + 'static,
    ) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (tell, heard) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let reply = Arc::new(reply);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (tls, tell, reply) = (tls.clone(), tell.clone(), Arc::clone(&reply));
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, tell, &*reply).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, tell, &*reply).await;
                            }
                        }
                    }
                });
            }
        });
        Receiver { port, heard, connections }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// A target that leads here.
    pub(super) fn webhook(&self, batch: u32) -> Webhook {
        webhook(&format!("http://127.0.0.1:{}/lapsed?token=hidden", self.port), batch)
    }

    /// The next request.
    pub(super) async fn hear(&mut self) -> Heard {
        self.heard.recv().await.expect("the receiver listens until the test ends")
    }

    /// Connections so far.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A target without secrets, with time enough for any machine.
pub(super) fn webhook(url: &str, batch: u32) -> Webhook {
    Webhook { url: url.to_owned(), secrets: Vec::new(), batch, timeout: Span::from_mins(1) }
}

/// The same that has had enough after a moment.
pub(super) fn impatient(webhook: Webhook) -> Webhook {
    Webhook { timeout: Span::from_millis(100), ..webhook }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    tell: mpsc::UnboundedSender<Heard>,
    reply: &(dyn Fn(&Heard) -> Reply + Send + Sync),
) {
    while let Some(heard) = request(&mut stream).await {
        let reply = reply(&heard);
        tell.send(heard).unwrap_or_default();
        let (bytes, then) = match reply {
            Reply::Say(bytes) => (bytes, None),
            Reply::SayAndClose(bytes) => (bytes, Some(false)),
            Reply::SayAndHang(bytes) => (bytes, Some(true)),
        };
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        match then {
            None => {}
            Some(true) => std::future::pending().await,
            Some(false) => {
                stream.shutdown().await.unwrap_or_default();
                return;
            }
        }
    }
}

/// One request with its body; none when the peer has gone.
pub(super) async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Heard> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("a header is text");
    let mut lines = head.lines();
    let line = lines.next().expect("a first line").to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("digits"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Heard { line, headers, body })
}
