//! A reader of server-sent events that knows nothing but bytes.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use super::server::Reply;

/// A stream that is open.
pub(super) struct Stream {
    reading: BufReader<OwnedReadHalf>,
    // Closing it would say that nobody listens.
    _asking: tokio::net::tcp::OwnedWriteHalf,
    pub(super) head: String,
    /// The last id that was said.
    pub(super) id: String,
}

/// One event.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: Value,
}

impl Stream {
    /// Opens a stream, or says why not.
    pub(super) async fn open(
        address: SocketAddr,
        path: &str,
        headers: &str,
    ) -> Result<Stream, Reply> {
        let (reading, mut asking) =
            TcpStream::connect(address).await.expect("it listens").into_split();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
        asking.write_all(head.as_bytes()).await.expect("the head is read");
        let mut reading = BufReader::new(reading);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = reading.read_line(&mut head).await.expect("an answer has a head");
            assert!(read > 0, "it broke off: {head}");
        }
        if head.starts_with("HTTP/1.1 200") {
            return Ok(Stream { reading, _asking: asking, head, id: String::new() });
        }
        let (_, length) = head.split_once("content-length: ").expect("it has a length");
        let (length, _) = length.split_once("\r\n").expect("a header is a line");
        let mut body = vec![0; length.parse().expect("of digits")];
        reading.read_exact(&mut body).await.expect("all of it comes");
        Err(Reply::read(&[head.as_bytes(), &body].concat()))
    }

    /// The next event; none at the end.
    pub(super) async fn next(&mut self) -> Option<Event> {
        let (mut name, mut data) = ("message".to_owned(), String::new());
        loop {
            let mut line = String::new();
            if self.reading.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            match line.split_once(": ") {
                Some(("event", said)) => said.clone_into(&mut name),
                Some(("data", said)) => data += said,
                Some(("id", said)) => said.clone_into(&mut self.id),
                // Lengths of chunks and comments look like no field.
                _ => {
                    if line.is_empty() && !data.is_empty() {
                        let data = serde_json::from_str(&data).expect("the data is JSON");
                        return Some(Event { name, data });
                    }
                }
            }
        }
    }
}
