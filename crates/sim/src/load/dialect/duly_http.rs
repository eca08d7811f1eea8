//! Duly over HTTP/1.1: one deadline a request, or many in `POST /v1/batch`.

use std::collections::VecDeque;
use std::io::Write as _;
use std::rc::Rc;

use anyhow::{Context as _, bail, ensure};
use duly::cli::bench::{Delivery, Head, Leased, all_good};

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
                all_good(body, usize::try_from(lines)?)?;
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
