//! The least HTTP there can be: prebuilt requests out, whole answers in; and the least Redis protocol.
//!
//! The generator shares the machine with what it measures, so it must cost little: a request is bytes
//! made once in which only the keys change, and of an answer only its status and its length are
//! read. It understands what this server sends (`content-length`, never chunks) and nothing else.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::answers::Head;

/// What a read has room for at least.
const READ_BYTES: usize = 64 << 10;

/// One kept-alive connection; one request at a time.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, whole.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).await.context("cannot reach the server")?;
        stream.set_nodelay(true).context("cannot reach the server")?;
        Ok(Connection { stream, buffer: Vec::with_capacity(READ_BYTES) })
    }

    /// Sends a request and waits for the whole answer.
    pub(super) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(request).await.context("the server does not take a request")?;
        self.buffer.clear();
        let mut head = None;
        loop {
            if head.is_none() {
                head = Head::read(&self.buffer)?;
            }
            if let Some(Head { status, begin, end }) = head
                && self.buffer.len() >= end
            {
                return Ok(Answer { status, body: &self.buffer[begin..end] });
            }
            self.buffer.reserve(READ_BYTES);
            let read = self.stream.read_buf(&mut self.buffer).await;
            if read.context("the server does not answer")? == 0 {
                bail!("the server hung up in the middle of an answer");
            }
        }
    }

    /// Sends a request to which the answer must be this reply, so many times, and waits for it. This is the
    /// Redis protocol, as far as somebody needs it who hears a yes or gives up.
    pub(super) async fn ask_plainly(
        &mut self,
        request: &[u8],
        reply: &[u8],
        times: usize,
    ) -> anyhow::Result<()> {
        self.stream.write_all(request).await.context("the server does not take a request")?;
        self.buffer.clear();
        let mut good = 0;
        while good < reply.len() * times {
            self.buffer.reserve(READ_BYTES);
            let read = self.stream.read_buf(&mut self.buffer).await;
            if read.context("the server does not answer")? == 0 {
                bail!("the server hung up in the middle of an answer");
            }
            let wanted = reply.iter().cycle().skip(good % reply.len());
            let fresh = &self.buffer[good..];
            if fresh.iter().zip(wanted).any(|(heard, wanted)| heard != wanted) {
                bail!("answered {}", String::from_utf8_lossy(fresh));
            }
            good = self.buffer.len();
        }
        if good > reply.len() * times {
            bail!("answered more than was asked");
        }
        Ok(())
    }

    /// Like `ask`; anything but a yes is an error.
    pub(super) async fn ask_well(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        let answer = self.ask(request).await?;
        if !(200..300).contains(&answer.status) {
            bail!("answered {}: {}", answer.status, String::from_utf8_lossy(answer.body));
        }
        Ok(answer.body)
    }
}

/// A request, as bytes.
pub(super) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::{Connection, request};

    /// Whether two replies that are wanted are heard in this.
    async fn two_are_good(said: &'static [u8]) -> bool {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("there is a port");
        let address = listener.local_addr().expect("it has one");
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("somebody comes");
            stream.write_all(said).await.expect("somebody listens");
        });
        let mut connection = Connection::open(address).await.expect("it listens");
        let heard = connection.ask_plainly(b"", b"+OK\r\n", 2).await;
        server.await.expect("it did not fail");
        heard.is_ok()
    }

    #[tokio::test]
    async fn only_the_wanted_reply_is_a_yes() {
        assert!(two_are_good(b"+OK\r\n+OK\r\n").await);
        assert!(!two_are_good(b"+OK\r\n-STORAGE_LOW no\r\n").await);
        assert!(!two_are_good(b"+OK\r\n-NO\r\n").await, "as long as what is wanted");
        assert!(!two_are_good(b"+OK\r\n").await, "it hung up");
        assert!(!two_are_good(b"+OK\r\n+OK\r\n+OK\r\n").await, "nobody asked a third time");
    }

    #[test]
    fn a_request_names_the_length_of_its_body() {
        let text = String::from_utf8(request("PUT", "/x", "{\"a\":1}")).expect("it is text");
        assert!(text.starts_with("PUT /x HTTP/1.1\r\n") && text.ends_with("\r\n\r\n{\"a\":1}"));
        assert!(text.contains("content-length: 7\r\n"));
    }
}
