//! RESP2 as a client needs it: words out, a value in.
//!
//! A value borrows from what was received, so that an answer that only says yes costs nothing.

use anyhow::{Context as _, bail, ensure};

use super::{digits, line};

/// Deeper than any answer of these servers.
const DEEPEST: usize = 8;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Text(&'a [u8]),
    Number(i64),
    List(Vec<Value<'a>>),
    Nothing,
}

impl<'a> Value<'a> {
    pub(super) fn text(&self) -> anyhow::Result<&'a [u8]> {
        match self {
            Value::Text(text) => Ok(text),
            other => bail!("text was expected, not {other:?}"),
        }
    }

    pub(super) fn list(self) -> anyhow::Result<Vec<Value<'a>>> {
        match self {
            Value::List(list) => Ok(list),
            Value::Nothing => Ok(Vec::new()),
            other => bail!("a list was expected, not {other:?}"),
        }
    }

    /// The value of a name in a list of names and values.
    pub(super) fn field(&self, name: &str) -> anyhow::Result<&Value<'a>> {
        let Value::List(list) = self else { bail!("fields were expected, not {self:?}") };
        let pair = list.chunks_exact(2).find(|pair| pair[0] == Value::Text(name.as_bytes()));
        pair.map(|pair| &pair[1]).with_context(|| format!("no `{name}` in an answer"))
    }
}

/// Begins a request of so many words.
pub(super) fn words(out: &mut Vec<u8>, count: u64) {
    out.push(b'*');
    digits(out, count);
    out.extend_from_slice(b"\r\n");
}

/// Writes a word.
pub(super) fn word(out: &mut Vec<u8>, word: &[u8]) {
    head(out, word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

/// Writes a word that is not there yet, but whose length is known.
pub(super) fn written(out: &mut Vec<u8>, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) {
    head(out, bytes);
    let from = out.len();
    write(out);
    assert_eq!(out.len() - from, bytes, "a word is as long as was announced");
    out.extend_from_slice(b"\r\n");
}

/// Writes a number as a word.
pub(super) fn number_word(out: &mut Vec<u8>, number: u64) {
    head(out, number.checked_ilog10().unwrap_or(0) as usize + 1);
    digits(out, number);
    out.extend_from_slice(b"\r\n");
}

fn head(out: &mut Vec<u8>, bytes: usize) {
    out.push(b'$');
    digits(out, bytes as u64);
    out.extend_from_slice(b"\r\n");
}

/// The first value in these bytes and its length, if all of it is there. An error is an error.
pub(super) fn value(bytes: &[u8]) -> anyhow::Result<Option<(Value<'_>, usize)>> {
    value_at(bytes, 0, DEEPEST)
}

fn value_at(bytes: &[u8], at: usize, deeper: usize) -> anyhow::Result<Option<(Value<'_>, usize)>> {
    let Some((said, length)) = line(&bytes[at..]) else { return Ok(None) };
    let after = at + length;
    let (kind, rest) = said.split_first().context("an empty line")?;
    let number = || -> anyhow::Result<i64> {
        std::str::from_utf8(rest)?.parse().context("a number was expected")
    };
    Ok(match kind {
        b'+' => Some((Value::Text(rest), after)),
        b'-' => bail!("refused: {}", String::from_utf8_lossy(rest)),
        b':' => Some((Value::Number(number()?), after)),
        b'$' => match usize::try_from(number()?) {
            Ok(length) if bytes.len() < after + length + 2 => None,
            Ok(length) => Some((Value::Text(&bytes[after..after + length]), after + length + 2)),
            Err(_) => Some((Value::Nothing, after)),
        },
        b'*' => match usize::try_from(number()?) {
            Ok(count) => {
                ensure!(deeper > 0, "an answer with too many levels");
                let (mut list, mut at) = (Vec::with_capacity(count.min(1_024)), after);
                for _ in 0..count {
                    let Some((one, next)) = value_at(bytes, at, deeper - 1)? else {
                        return Ok(None);
                    };
                    list.push(one);
                    at = next;
                }
                Some((Value::List(list), at))
            }
            Err(_) => Some((Value::Nothing, after)),
        },
        other => bail!("no RESP2: {}", char::from(*other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_when_all_of_it_is_there() {
        let bytes = b"*4\r\n$1\r\nn\r\n:5\r\n$1\r\nl\r\n*1\r\n$-1\r\n+OK\r\n";
        let whole = bytes.len() - b"+OK\r\n".len();
        for cut in 0..whole {
            assert!(value(&bytes[..cut]).expect("so far it is RESP").is_none(), "at {cut}");
        }
        let (list, length) = value(bytes).expect("it is RESP").expect("it is all there");
        assert_eq!(length, whole);
        assert_eq!(list.field("n").expect("it is there"), &Value::Number(5));
        assert_eq!(list.field("l").expect("it is there"), &Value::List(vec![Value::Nothing]));
        assert!(list.field("x").is_err());
        assert!(value(b"-STORAGE_LOW no\r\n").is_err());
    }

    #[test]
    fn words_announce_their_lengths() {
        let mut out = Vec::new();
        words(&mut out, 2);
        word(&mut out, b"GET");
        number_word(&mut out, 1_000);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$4\r\n1000\r\n");
    }
}
