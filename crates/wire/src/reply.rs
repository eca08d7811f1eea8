//! What a client is told, and how that is written in both versions of the protocol.
//!
//! A reply says what it means (a map, a number, nothing); the version decides how it looks. Version
//! 2 has no maps, no doubles and no single nothing, so the same reply is written there as Redis
//! writes it to old clients.

use std::sync::Arc;

/// The version of the protocol that a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Version {
    /// RESP2, which every client begins with.
    #[default]
    Two,
    /// RESP3, asked for with `HELLO 3`.
    Three,
}

impl Version {
    /// How a map begins, and how many things it counts for each field.
    pub(crate) fn map(self) -> (u8, usize) {
        match self {
            Version::Two => (b'*', 2),
            Version::Three => (b'%', 1),
        }
    }
}

/// One thing said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// A line of the protocol's own, as `OK`.
    Status(&'static str),
    /// No, and why: a code in capitals and a sentence.
    Error(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Double(f64),
    /// Yes or no.
    Boolean(bool),
    /// A text of the protocol's own, as the name of a field.
    Word(&'static str),
    /// Text or bytes.
    Bulk(Vec<u8>),
    /// The same, shared with whoever keeps it.
    Shared(Arc<[u8]>),
    /// Text for people, of many lines.
    Verbatim(String),
    /// Nothing, where text was asked for.
    Nothing,
    /// Nothing, where a list was asked for.
    NoList,
    /// Things in order.
    List(Vec<Reply>),
    /// Things without an order.
    Set(Vec<Reply>),
    /// Things under names.
    Map(Vec<(Reply, Reply)>),
    /// A thing nobody has asked for just now.
    Push(Vec<Reply>),
    /// Several replies to one request.
    Several(Vec<Reply>),
    /// What is written already, in the version of whoever is told.
    Written(Vec<u8>),
}

impl Reply {
    /// The usual yes.
    pub(crate) const OK: Reply = Reply::Status("OK");

    /// A text.
    pub(crate) fn text(text: &str) -> Reply {
        Reply::Bulk(text.as_bytes().to_vec())
    }

    /// A count.
    pub(crate) fn count(count: usize) -> Reply {
        Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// Writes it.
    pub(crate) fn write(&self, version: Version, out: &mut Vec<u8>) {
        let is_new = version == Version::Three;
        match self {
            Reply::Status(word) => line(out, b'+', word.as_bytes()),
            Reply::Error(words) => line(out, b'-', &one_line(words)),
            Reply::Integer(number) => head(out, b':', *number),
            Reply::Double(number) => {
                let written = crate::number::written(*number);
                if is_new {
                    line(out, b',', written.as_bytes());
                } else {
                    bulk(out, written.as_bytes());
                }
            }
            Reply::Boolean(is) if is_new => line(out, b'#', if *is { b"t" } else { b"f" }),
            Reply::Boolean(is) => head(out, b':', i64::from(*is)),
            Reply::Word(word) => bulk(out, word.as_bytes()),
            Reply::Bulk(bytes) => bulk(out, bytes),
            Reply::Shared(bytes) => bulk(out, bytes),
            Reply::Verbatim(text) if is_new => {
                head(out, b'=', length(text.len() + 4));
                out.extend_from_slice(b"txt:");
                out.extend_from_slice(text.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            Reply::Verbatim(text) => bulk(out, text.as_bytes()),
            Reply::Nothing | Reply::NoList if is_new => out.extend_from_slice(b"_\r\n"),
            Reply::Nothing => out.extend_from_slice(b"$-1\r\n"),
            Reply::NoList => out.extend_from_slice(b"*-1\r\n"),
            Reply::List(things) => list(out, b'*', things, version),
            Reply::Set(things) => list(out, if is_new { b'~' } else { b'*' }, things, version),
            Reply::Push(things) => list(out, if is_new { b'>' } else { b'*' }, things, version),
            Reply::Map(pairs) => {
                let (kind, each) = version.map();
                head(out, kind, length(pairs.len() * each));
                for (name, thing) in pairs {
                    name.write(version, out);
                    thing.write(version, out);
                }
            }
            Reply::Several(replies) => replies.iter().for_each(|reply| reply.write(version, out)),
            Reply::Written(bytes) => out.extend_from_slice(bytes),
        }
    }
}

fn list(out: &mut Vec<u8>, kind: u8, things: &[Reply], version: Version) {
    head(out, kind, length(things.len()));
    for thing in things {
        thing.write(version, out);
    }
}

pub(crate) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, b'$', length(bytes.len()));
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// A kind and a number: written without a detour over a text, because every reply has one.
pub(crate) fn head(out: &mut Vec<u8>, kind: u8, number: i64) {
    let mut digits = [0; 20];
    let mut rest = number.unsigned_abs();
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit is small");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.push(kind);
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn length(length: usize) -> i64 {
    i64::try_from(length).expect("what is in memory can be counted")
}

/// An error is one line, whatever a client's own words in it contain.
fn one_line(words: &str) -> Vec<u8> {
    words.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Reply, Version};

    fn written(reply: &Reply, version: Version) -> String {
        let mut out = Vec::new();
        reply.write(version, &mut out);
        String::from_utf8(out).expect("the examples are text")
    }

    #[test]
    fn both_versions_are_written_as_they_are_specified() {
        let text = || Reply::text("a\r\n");
        for (reply, two, three) in [
            (Reply::OK, "+OK\r\n", "+OK\r\n"),
            (Reply::Error("ERR a\r\nb".into()), "-ERR a  b\r\n", "-ERR a  b\r\n"),
            (Reply::Integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
            (Reply::Integer(0), ":0\r\n", ":0\r\n"),
            (Reply::Double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (Reply::Boolean(true), ":1\r\n", "#t\r\n"),
            (Reply::Boolean(false), ":0\r\n", "#f\r\n"),
            (text(), "$3\r\na\r\n\r\n", "$3\r\na\r\n\r\n"),
            (Reply::Nothing, "$-1\r\n", "_\r\n"),
            (Reply::NoList, "*-1\r\n", "_\r\n"),
            (Reply::List(vec![text()]), "*1\r\n$3\r\na\r\n\r\n", "*1\r\n$3\r\na\r\n\r\n"),
            (Reply::Verbatim("a\n".into()), "$2\r\na\n\r\n", "=6\r\ntxt:a\n\r\n"),
            (Reply::Set(vec![]), "*0\r\n", "~0\r\n"),
            (Reply::Push(vec![]), "*0\r\n", ">0\r\n"),
            (
                Reply::Map(vec![(Reply::Integer(1), Reply::Nothing)]),
                "*2\r\n:1\r\n$-1\r\n",
                "%1\r\n:1\r\n_\r\n",
            ),
        ] {
            assert_eq!(written(&reply, Version::Two), two);
            assert_eq!(written(&reply, Version::Three), three);
        }
    }
}
