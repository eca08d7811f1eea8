//! The least of the Redis protocol, version 3, that a client needs: one connection, commands that are
//! sent together, one reply to each in their order, no repeats.
//!
//! What a reply means is for others to read; nothing of the product is used here, so that both sides
//! cannot be wrong in the same way.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that is silent for so long does not answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// Nothing that is answered here is nested deeper.
const DEPTH: u32 = 16;

/// One connection to the server.
pub(super) struct Conversation {
    stream: BufReader<TcpStream>,
    /// What takes turns in how it is asked counts here.
    pub(super) turn: usize,
}

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// A status, like `OK`.
    Status(String),
    Error(String),
    Integer(i64),
    Boolean(bool),
    Bytes(Vec<u8>),
    Nothing,
    List(Vec<Said>),
    Map(Vec<(Said, Said)>),
}

/// A command: its words.
pub(super) type Words = Vec<String>;

impl Conversation {
    /// Connects, and agrees on the version.
    pub(super) fn open(address: SocketAddr) -> io::Result<Conversation> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut conversation = Conversation { stream: BufReader::new(stream), turn: 0 };
        match conversation.say(&["HELLO".to_owned(), "3".to_owned()])? {
            Said::Map(_) => Ok(conversation),
            other => Err(io::Error::other(format!("HELLO is answered {other:?}"))),
        }
    }

    /// Sends a command and waits for its reply.
    pub(super) fn say(&mut self, words: &[String]) -> io::Result<Said> {
        self.stream.get_mut().write_all(&written(words))?;
        read(&mut self.stream, DEPTH)
    }

    /// Sends commands together and waits for all replies.
    pub(super) fn say_all(&mut self, commands: &[Words]) -> io::Result<Vec<Said>> {
        let bytes: Vec<u8> = commands.iter().flat_map(|words| written(words)).collect();
        self.stream.get_mut().write_all(&bytes)?;
        commands.iter().map(|_| read(&mut self.stream, DEPTH)).collect()
    }
}

fn written(words: &[String]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        for part in ["$", &word.len().to_string(), "\r\n", word, "\r\n"] {
            text.push_str(part);
        }
    }
    text.into_bytes()
}

/// Reads one reply.
fn read(stream: &mut impl BufRead, depth: u32) -> io::Result<Said> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    let Some(line) = line.strip_suffix(b"\r\n") else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let line = String::from_utf8_lossy(line).into_owned();
    let strange = || io::Error::other(format!("a reply that begins with {line:?}"));
    let (kind, rest) = line.split_at_checked(1).ok_or_else(strange)?;
    let number = || rest.parse::<i64>().map_err(|_| strange());
    let length = || rest.parse::<usize>().map_err(|_| strange());
    let depth = depth.checked_sub(1).ok_or_else(strange)?;
    Ok(match kind {
        "+" => Said::Status(rest.to_owned()),
        "-" => Said::Error(rest.to_owned()),
        ":" => Said::Integer(number()?),
        "#" => Said::Boolean(rest == "t"),
        "_" => Said::Nothing,
        "$" => {
            let mut bytes = vec![0; length()? + 2];
            stream.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            Said::Bytes(bytes)
        }
        "*" => Said::List((0..length()?).map(|_| read(stream, depth)).collect::<io::Result<_>>()?),
        "%" => {
            let mut pair = |_| Ok((read(stream, depth)?, read(stream, depth)?));
            Said::Map((0..length()?).map(&mut pair).collect::<io::Result<_>>()?)
        }
        _ => return Err(strange()),
    })
}

#[cfg(test)]
mod tests {
    use super::{DEPTH, Said, read};

    #[test]
    fn a_reply_ends_where_it_says() {
        let mut bytes = &b"%2\r\n+a\r\n*2\r\n:-2\r\n_\r\n$1\r\nb\r\n#t\r\n-ERR no\r\n$9\r\nx"[..];
        let map = vec![
            (Said::Status("a".into()), Said::List(vec![Said::Integer(-2), Said::Nothing])),
            (Said::Bytes(b"b".to_vec()), Said::Boolean(true)),
        ];
        assert_eq!(read(&mut bytes, DEPTH).expect("it is a reply"), Said::Map(map));
        assert_eq!(read(&mut bytes, DEPTH).expect("so is this"), Said::Error("ERR no".into()));
        assert!(read(&mut bytes, DEPTH).is_err(), "it never ends");
        assert!(read(&mut &b""[..], DEPTH).is_err(), "there is none");
        assert!(read(&mut &b"*1\r\n".repeat(50)[..], DEPTH).is_err(), "it is too deep");
    }
}
