//! Duly over HTTP/1.1: one deadline a request, or many in `POST /v1/batch`.

use std::collections::VecDeque;
use std::io::Write as _;
use std::rc::Rc;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::super::deadline::{self, PAYLOAD_BYTES};
use super::{Dialect, Handed, Said, Shared, digits};

const QUEUE: &str = "bench";

/// A client.
pub(super) struct DulyHttp {
    shared: Rc<Shared>,
    asked: VecDeque<Asked>,
    /// A body in the making.
    body: Vec<u8>,
}

/// What an answer is about.
#[derive(Clone, Copy)]
enum Asked {
    Prepare,
    Schedule,
    Settle,
    Lease,
    /// So many lines.
    Batch(u64),
}

/// What a lease says.
#[derive(Deserialize)]
struct Leased<'a> {
    #[serde(borrow)]
    deliveries: Vec<Delivery<'a>>,
}

#[derive(Deserialize)]
struct Delivery<'a> {
    id: &'a str,
    token: &'a str,
    key: &'a str,
}

impl DulyHttp {
    pub(super) fn new(shared: Rc<Shared>) -> DulyHttp {
        DulyHttp { shared, asked: VecDeque::new(), body: Vec::new() }
    }

    /// Ends the request whose body is ready.
    fn end(&mut self, out: &mut Vec<u8>, asked: Asked) {
        out.extend_from_slice(
            b" HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: ",
        );
        digits(out, self.body.len() as u64);
        out.extend_from_slice(b"\r\n\r\n");
        out.append(&mut self.body);
        self.asked.push_back(asked);
    }

    fn write(&mut self, text: &str) {
        self.body.extend_from_slice(text.as_bytes());
    }

    /// `"due":…,"payload":…}`
    fn when_and_what(&mut self, number: u64, due: u64) {
        self.write(r#""due":"#);
        digits(&mut self.body, due);
        self.write(r#","payload":"#);
        self.shared.payloads.write(&mut self.body, number);
        self.write("}");
    }
}

impl Dialect for DulyHttp {
    fn prepare(&mut self, out: &mut Vec<u8>) -> u64 {
        self.write(r#"{"target":"pull"}"#);
        out.extend_from_slice(b"PUT /v1/queues/");
        out.extend_from_slice(QUEUE.as_bytes());
        self.end(out, Asked::Prepare);
        1
    }

    fn schedule(&mut self, out: &mut Vec<u8>, first: u64, count: u64, due: &dyn Fn(u64) -> u64) {
        if count == 1 {
            self.write("{");
            self.when_and_what(first, due(first));
            path(out, b"PUT", first, "");
            self.end(out, Asked::Schedule);
            return;
        }
        self.body.reserve(usize::try_from(count).unwrap_or(0) * (PAYLOAD_BYTES + 128));
        for number in first..first + count {
            self.write(r#"{"op":"schedule","queue":"bench","key":""#);
            deadline::key(&mut self.body, number);
            self.write(r#"","#);
            self.when_and_what(number, due(number));
            self.write("\n");
        }
        out.extend_from_slice(b"POST /v1/batch");
        self.end(out, Asked::Batch(count));
    }

    fn settle(&mut self, out: &mut Vec<u8>, number: u64) {
        self.write(r#"{"outcome":"paid"}"#);
        path(out, b"POST", number, "/settle");
        self.end(out, Asked::Settle);
    }

    fn lease(&mut self, out: &mut Vec<u8>, most: usize) -> usize {
        write!(self.body, r#"{{"max":{most},"wait":"10s","lease":"60s"}}"#)
            .expect("memory takes all text");
        out.extend_from_slice(b"POST /v1/queues/bench/lease");
        self.end(out, Asked::Lease);
        1
    }

    fn verdicts(&mut self, out: &mut Vec<u8>, handed: &[Handed]) {
        for one in handed {
            let space = one.name.iter().position(|byte| *byte == b' ');
            let (id, token) = one.name.split_at(space.expect("`handed` wrote one"));
            for part in [
                br#"{"op":"verdict","id":""#.as_slice(),
                id,
                br#"","token":""#,
                &token[1..],
                b"\",\"verdict\":\"done\"}\n",
            ] {
                self.body.extend_from_slice(part);
            }
        }
        out.extend_from_slice(b"POST /v1/batch");
        self.end(out, Asked::Batch(handed.len() as u64));
    }

    fn hear(&mut self, bytes: &[u8], _out: &mut Vec<u8>) -> anyhow::Result<Option<(usize, Said)>> {
        let Some(head) = Head::read(bytes)? else { return Ok(None) };
        let Some(body) = bytes.get(head.begin..head.end) else { return Ok(None) };
        let text = || String::from_utf8_lossy(body);
        ensure!((200..300).contains(&head.status), "refused with {}: {}", head.status, text());
        let said = match self.asked.pop_front().context("an answer that nobody asked for")? {
            Asked::Prepare => Said::Done(1),
            Asked::Schedule if head.status == 201 => Said::Done(1),
            Asked::Settle if body.starts_with(br#"{"result":"settled""#) => Said::Done(1),
            Asked::Schedule | Asked::Settle => bail!("not done: {}", text()),
            Asked::Batch(lines) => {
                good(body, lines)?;
                Said::Done(lines)
            }
            Asked::Lease => handed(body)?,
        };
        Ok(Some((head.end, said)))
    }
}

fn path(out: &mut Vec<u8>, method: &[u8], number: u64, verb: &str) {
    out.extend_from_slice(method);
    out.extend_from_slice(b" /v1/queues/");
    out.extend_from_slice(QUEUE.as_bytes());
    out.extend_from_slice(b"/deadlines/");
    deadline::key(out, number);
    out.extend_from_slice(verb.as_bytes());
}

/// Every line of a batch's answer begins with its status; a problem's begins with its type.
fn good(answer: &[u8], lines: u64) -> anyhow::Result<()> {
    let mut count = 0;
    for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let fine = line.starts_with(br#"{"status":20"#);
        ensure!(fine, "a line was refused: {}", String::from_utf8_lossy(line));
        count += 1;
    }
    ensure!(count == lines, "{count} of {lines} lines were answered");
    Ok(())
}

fn handed(body: &[u8]) -> anyhow::Result<Said> {
    let leased: Leased<'_> = serde_json::from_slice(body).context("what a lease says")?;
    let one = |delivery: &Delivery<'_>| {
        let number = deadline::number(delivery.key.as_bytes())?;
        let name = [delivery.id, " ", delivery.token].concat().into_bytes();
        anyhow::Ok(Handed { number, name })
    };
    if leased.deliveries.is_empty() {
        return Ok(Said::Nothing(1));
    }
    Ok(Said::Handed(leased.deliveries.iter().map(one).collect::<anyhow::Result<_>>()?))
}

/// Where the body of an answer lies.
struct Head {
    status: u16,
    begin: usize,
    end: usize,
}

impl Head {
    /// The head at the beginning of these bytes, if all of it is there. This server always says how
    /// long its answers are.
    fn read(bytes: &[u8]) -> anyhow::Result<Option<Head>> {
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
        Ok(Some(Head { status, begin: length + 4, end: length + 4 + body }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Head, good};

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let bytes = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nx: y\r\n\r\n{}HTTP";
        let head = Head::read(bytes).expect("it is HTTP").expect("it is whole");
        assert_eq!((head.status, &bytes[head.begin..head.end]), (201, &b"{}"[..]));
        assert!(Head::read(&bytes[..30]).expect("so far it is HTTP").is_none());
        assert!(Head::read(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_refused_or_missing_line_of_a_batch_is_an_error() {
        assert!(good(b"{\"status\":201}\n{\"status\":200}\n", 2).is_ok());
        assert!(good(b"{\"status\":201}\n", 2).is_err());
        assert!(good(b"{\"status\":201}\n{\"type\":\"/docs/errors#x\"}\n", 2).is_err());
    }
}
