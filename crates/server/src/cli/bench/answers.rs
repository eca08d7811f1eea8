//! What a load generator reads of this server's answers, and no more: where a body lies, and whom a
//! lease hands out. It shares the machine with what it measures, so it must cost little.

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

/// Where the body of an answer lies.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The HTTP status.
    pub status: u16,
    /// Where the body begins.
    pub begin: usize,
    /// Where it ends.
    pub end: usize,
}

impl Head {
    /// The head at the beginning of these bytes, if all of it is there. This server always says how
    /// long its answers are (`content-length`, never chunks); what does not is an error.
    pub fn read(bytes: &[u8]) -> anyhow::Result<Option<Head>> {
        let Some(length) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes[..length]).context("an answer that is not HTTP")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let body = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let it = name.eq_ignore_ascii_case("content-length");
            it.then(|| value.trim().parse::<usize>().ok())?
        });
        let (Some(status), Some(body)) = (status, body) else {
            bail!("an answer without a status or a length: {text}");
        };
        let begin = length + 4;
        Ok(Some(Head { status, begin, end: begin + body }))
    }
}

/// What a lease says.
#[derive(Debug, Deserialize)]
pub struct Leased<'a> {
    /// Whom it hands out.
    #[serde(borrow)]
    pub deliveries: Vec<Delivery<'a>>,
}

/// What a verdict needs of a delivery, and whose it is.
#[derive(Debug, Deserialize)]
pub struct Delivery<'a> {
    /// The delivery's id.
    pub id: &'a str,
    /// The lease's token.
    pub token: &'a str,
    /// The deadline's key.
    pub key: &'a str,
}

/// Has a batch of so many lines been answered with as many, each of them a yes? Every line begins with
/// its status, or it is a problem.
pub fn all_good(answer: &[u8], lines: usize) -> anyhow::Result<()> {
    let mut count = 0;
    for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let fine = line.starts_with(br#"{"status":20"#);
        ensure!(fine, "a line was refused: {}", String::from_utf8_lossy(line));
        count += 1;
    }
    ensure!(count == lines, "{count} of {lines} lines were answered");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Head, all_good};

    #[test]
    fn a_refused_or_missing_line_of_a_batch_is_an_error() {
        assert!(all_good(b"{\"status\":201}\n{\"status\":200}\n", 2).is_ok());
        assert!(all_good(b"{\"status\":201}\n", 2).is_err());
        assert!(all_good(b"{\"status\":201}\n{\"status\":404}\n", 2).is_err());
        assert!(all_good(b"{\"status\":201}\n{\"type\":\"/docs/errors#x\"}\n", 2).is_err());
    }

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let bytes = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nx: y\r\n\r\n{}HTTP";
        let head = Head::read(bytes).expect("it is HTTP").expect("it is whole");
        assert_eq!((head.status, &bytes[head.begin..head.end]), (201, &b"{}"[..]));
        assert!(Head::read(&bytes[..30]).expect("so far it is HTTP").is_none());
        assert!(Head::read(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
