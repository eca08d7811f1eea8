//! A connection to a Redis server, as far as publishing needs one.
//!
//! The few commands are written in Redis's protocol by hand: a general client would bring fifteen crates
//! and retries of its own. Commands go out together and their answers come back in order. An answer that
//! cannot be understood ends the connection.

use std::io;
use std::time::Duration;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Said;
use super::connect::{Stream, Way, in_time, words};
use crate::config::{RedisDestination, RedisEntry};
use crate::deliver::{Delivery, body};

/// The longest line of an answer that is read, in bytes.
const LINE: u64 = 64 * 1024;

/// A place in a Redis server, and the way there.
pub(super) struct Redis {
    way: Way,
    place: RedisDestination,
    /// The connection while nobody uses it.
    idle: Mutex<Option<Connection>>,
}

impl Redis {
    /// Connects nowhere yet.
    pub(super) fn new(way: Way, place: RedisDestination) -> Redis {
        Redis { way, place, idle: Mutex::new(None) }
    }

    /// What the server says to each, or why it said nothing. Whoever publishes has the connection; one
    /// that is given up in the middle is not used again.
    pub(super) async fn publish(&self, deliveries: &[Delivery]) -> Result<Vec<Said>, String> {
        let mut idle = self.idle.lock().await;
        let kept = match idle.take() {
            Some(kept) => kept.if_open().await,
            None => None,
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => in_time(Connection::open(&self.way, self.place.database)).await?,
        };
        let messages = deliveries
            .iter()
            .map(|delivery| (delivery.leased.id.to_string(), body::single(delivery)));
        let messages: Vec<(String, Vec<u8>)> = messages.collect();
        let said = connection.publish(&self.place.entry, &messages).await?;
        *idle = Some(connection);
        Ok(said)
    }
}

/// A connection that is logged in.
struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

impl Connection {
    /// Connects and logs in.
    async fn open(way: &Way, database: u32) -> Result<Connection, String> {
        let stream = way.connect().await?;
        let action = &way.action;
        let mut connection = Connection { stream: BufReader::new(stream) };
        let mut hello = Vec::new();
        if let Some(password) = &action.password {
            let mut login = vec!["AUTH".as_bytes()];
            login.extend(action.user.as_deref().map(str::as_bytes));
            login.push(password.reveal().as_bytes());
            hello.push(command(&login));
        }
        if database > 0 {
            hello.push(command(&[b"SELECT", database.to_string().as_bytes()]));
        }
        for said in connection.ask(&hello).await? {
            said?;
        }
        Ok(connection)
    }

    /// Itself, if it is still there. A server says nothing of its own, so whatever can be read is its end.
    async fn if_open(mut self) -> Option<Connection> {
        let is_quiet = timeout(Duration::ZERO, self.stream.fill_buf()).await.is_err();
        is_quiet.then_some(self)
    }

    /// Publishes messages with their ids; says what the server says to each.
    async fn publish(
        &mut self,
        entry: &RedisEntry,
        messages: &[(String, Vec<u8>)],
    ) -> Result<Vec<Said>, String> {
        let commands: Vec<Vec<u8>> = messages
            .iter()
            .map(|(id, body)| match entry {
                RedisEntry::List { key } => command(&[b"RPUSH", key.as_bytes(), body]),
                RedisEntry::Stream { key, maxlen } => {
                    let most = maxlen.map(|most| most.to_string());
                    let mut words: Vec<&[u8]> = vec![b"XADD", key.as_bytes()];
                    if let Some(most) = &most {
                        words.extend([&b"MAXLEN"[..], b"~", most.as_bytes()]);
                    }
                    words.extend([&b"*"[..], b"id", id.as_bytes(), b"event", body]);
                    command(&words)
                }
            })
            .collect();
        self.ask(&commands).await
    }

    async fn ask(&mut self, commands: &[Vec<u8>]) -> Result<Vec<Said>, String> {
        self.stream.write_all(&commands.concat()).await.map_err(|error| words(&error))?;
        self.stream.flush().await.map_err(|error| words(&error))?;
        let mut said = Vec::with_capacity(commands.len());
        for _ in commands {
            said.push(answer(&mut self.stream).await.map_err(|error| words(&error))?);
        }
        Ok(said)
    }
}

/// A command as Redis reads it: a list of texts with their lengths.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// One answer: a word, a number, a text, or an error.
async fn answer<Bytes: AsyncBufRead + Unpin>(from: &mut Bytes) -> io::Result<Said> {
    let line = line(from).await?;
    match line.split_at_checked(1) {
        Some(("+" | ":", _)) => Ok(Ok(())),
        Some(("-", why)) => Ok(Err(why.to_owned())),
        Some(("$", length)) => {
            let length: u64 = length.parse().map_err(|_| strange())?;
            if length > LINE {
                return Err(strange());
            }
            let mut text = Vec::new();
            let read = from.take(length + 2).read_to_end(&mut text).await?;
            if read as u64 == length + 2 {
                Ok(Ok(()))
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        _ => Err(strange()),
    }
}

async fn line<Bytes: AsyncBufRead + Unpin>(from: &mut Bytes) -> io::Result<String> {
    let mut line = Vec::new();
    from.take(LINE).read_until(b'\n', &mut line).await?;
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None if line.len() as u64 == LINE || line.ends_with(b"\n") => Err(strange()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its answer is none of a Redis server")
}

#[cfg(test)]
mod tests {
    use super::{answer, command};

    #[test]
    fn a_command_is_a_list_of_texts_with_their_lengths() {
        assert_eq!(
            command(&[b"RPUSH", b"a\r\n", b""]),
            b"*3\r\n$5\r\nRPUSH\r\n$3\r\na\r\n\r\n$0\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn answers_are_read_one_after_the_other() {
        let mut said: &[u8] = b"+OK\r\n:5\r\n$3\r\n1-0\r\n-ERR no\r\n$0\r\n\r\n+rest\r\n";
        for expected in [Ok(()), Ok(()), Ok(()), Err("ERR no".to_owned()), Ok(()), Ok(())] {
            assert_eq!(answer(&mut said).await.expect("a good answer"), expected);
        }
        assert!(said.is_empty());
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_or_none_is_no_yes() {
        let long = format!("+{}\r\n", "x".repeat(70_000));
        for said in [
            "",
            "+",
            "+OK",
            "+OK\r",
            "+OK\n",
            "\r\n",
            "OK\r\n",
            "$3\r\n1-0",
            "$3\r\n1-0\r",
            "$-1\r\n",
            "$99999999\r\n",
            "$x\r\n",
            "*1\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            &long,
        ] {
            let mut said = said.as_bytes();
            assert!(answer(&mut said).await.is_err());
        }
    }
}
