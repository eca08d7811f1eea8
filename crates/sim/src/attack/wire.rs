//! The least HTTP/1.1 that a client needs: one kept connection, one request at a time, no repeats.
//!
//! The attacker shares the machine with what it attacks, so it must cost little. A broken connection
//! is an error and means that nobody knows whether the request was heard; what an answer says is for
//! others to read.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A server that is silent for so long does not answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// What a read has room for at least.
const READ_BYTES: usize = 64 << 10;

/// One connection to the server.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The lines of a batch's answer.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Value> {
        let lines = self.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap_or_default())
    }
}

impl Connection {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, buffer: Vec::with_capacity(READ_BYTES) })
    }

    /// Sends a request and waits for the whole answer.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.buffer.clear();
        self.buffer.extend_from_slice(head.as_bytes());
        self.buffer.extend_from_slice(body.as_bytes());
        self.stream.write_all(&self.buffer)?;
        self.buffer.clear();
        let Message { head, body } =
            read_message(&mut self.stream, &mut self.buffer)?.ok_or_else(hung_up)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status in {head:?}")))?;
        Ok(Answer { status, body })
    }
}

/// A request or an answer: all before the empty line, and what follows it.
pub(super) struct Message {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// What a header says.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(wanted).then_some(value.trim())
    })
}

/// Reads one message that names its length; `None` if the other side hung up before it began. What
/// follows the message stays in the buffer.
pub(super) fn read_message(
    stream: &mut impl Read,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Message>> {
    let length = loop {
        if let Some(length) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break length;
        }
        if !read_more(stream, buffer)? {
            return if buffer.is_empty() { Ok(None) } else { Err(hung_up()) };
        }
    };
    let head = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let body = header(&head, "content-length").and_then(|value| value.parse::<usize>().ok());
    let body = body.ok_or_else(|| io::Error::other(format!("no length: {head}")))?;
    let (begin, end) = (length + 4, length + 4 + body);
    while buffer.len() < end {
        if !read_more(stream, buffer)? {
            return Err(hung_up());
        }
    }
    let body = buffer[begin..end].to_vec();
    buffer.drain(..end);
    Ok(Some(Message { head, body }))
}

fn read_more(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let filled = buffer.len();
    buffer.resize(filled + READ_BYTES, 0);
    let read = stream.read(&mut buffer[filled..]);
    buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
    Ok(read? > 0)
}

fn hung_up() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

#[cfg(test)]
mod tests {
    use super::read_message;

    #[test]
    fn a_message_ends_where_its_length_says() {
        let mut bytes = &b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nx: y\r\n\r\n{}POST"[..];
        let mut buffer = Vec::new();
        let message = read_message(&mut bytes, &mut buffer).expect("it is HTTP");
        let message = message.expect("it is there");
        assert_eq!((message.header("x"), &*message.body), (Some("y"), &b"{}"[..]));
        assert_eq!(buffer, b"POST");
        assert!(read_message(&mut &b""[..], &mut buffer).is_err(), "it never ends");
        assert!(read_message(&mut &b""[..], &mut Vec::new()).expect("it is well").is_none());
    }
}
