//! Duly over the Redis protocol: `SET … PXAT` and `DEL`, `DULY.LEASE` and `DULY.VERDICT`.

use std::collections::VecDeque;
use std::rc::Rc;

use anyhow::{Context as _, bail};

use super::super::deadline::{self, KEY_BYTES, PAYLOAD_BYTES};
use super::resp::{self, Value};
use super::{Dialect, Handed, Said, Shared};

/// The queue, as the first part of a key.
const PREFIX: &[u8] = b"bench:";
const QUEUE: &[u8] = b"bench";

/// A client.
pub(super) struct DulyRedis {
    shared: Rc<Shared>,
    asked: VecDeque<Asked>,
}

/// What an answer is about.
#[derive(Clone, Copy)]
enum Asked {
    Prepare,
    Schedule,
    Settle,
    Lease,
    Verdict,
    Lapsed,
}

impl DulyRedis {
    pub(super) fn new(shared: Rc<Shared>) -> DulyRedis {
        DulyRedis { shared, asked: VecDeque::new() }
    }

    fn key(out: &mut Vec<u8>, number: u64) {
        resp::written(out, PREFIX.len() + KEY_BYTES, |out| {
            out.extend_from_slice(PREFIX);
            deadline::key(out, number);
        });
    }
}

impl Dialect for DulyRedis {
    /// The first schedule makes the queue, and this one makes it a queue that workers lease from.
    fn prepare(&mut self, out: &mut Vec<u8>) -> u64 {
        resp::words(out, 5);
        for word in [b"DULY.SCHEDULE".as_slice(), QUEUE, b"before-the-first", b"AFTER", b"7d"] {
            resp::word(out, word);
        }
        self.asked.push_back(Asked::Prepare);
        1
    }

    fn schedule(&mut self, out: &mut Vec<u8>, first: u64, count: u64, due: &dyn Fn(u64) -> u64) {
        for number in first..first + count {
            resp::words(out, 5);
            resp::word(out, b"SET");
            Self::key(out, number);
            resp::written(out, PAYLOAD_BYTES, |out| self.shared.payloads.write(out, number));
            resp::word(out, b"PXAT");
            resp::number_word(out, due(number));
            self.asked.push_back(Asked::Schedule);
        }
    }

    fn settle(&mut self, out: &mut Vec<u8>, number: u64) {
        resp::words(out, 2);
        resp::word(out, b"DEL");
        Self::key(out, number);
        self.asked.push_back(Asked::Settle);
    }

    fn lease(&mut self, out: &mut Vec<u8>, most: usize) -> usize {
        resp::words(out, 8);
        resp::word(out, b"DULY.LEASE");
        resp::word(out, QUEUE);
        resp::word(out, b"MAX");
        resp::number_word(out, most as u64);
        for word in [b"LEASE", b"60s".as_slice(), b"WAIT", b"10s"] {
            resp::word(out, word);
        }
        self.asked.push_back(Asked::Lease);
        1
    }

    fn verdicts(&mut self, out: &mut Vec<u8>, handed: &[Handed]) {
        for one in handed {
            let space = one.name.iter().position(|byte| *byte == b' ');
            let (id, token) = one.name.split_at(space.expect("`handed` wrote one"));
            resp::words(out, 4);
            for word in [b"DULY.VERDICT".as_slice(), id, &token[1..], b"done"] {
                resp::word(out, word);
            }
            self.asked.push_back(Asked::Verdict);
        }
    }

    fn count_lapsed(&mut self, out: &mut Vec<u8>) -> bool {
        resp::words(out, 2);
        resp::word(out, b"DULY.STATS");
        resp::word(out, QUEUE);
        self.asked.push_back(Asked::Lapsed);
        true
    }

    fn hear(&mut self, bytes: &[u8], _out: &mut Vec<u8>) -> anyhow::Result<Option<(usize, Said)>> {
        let Some((value, length)) = resp::value(bytes)? else { return Ok(None) };
        let said = match self.asked.pop_front().context("an answer that nobody asked for")? {
            Asked::Prepare | Asked::Verdict => Said::Done(1),
            Asked::Schedule if value == Value::Text(b"OK") => Said::Done(1),
            Asked::Settle if value == Value::Number(1) => Said::Done(1),
            Asked::Lease => handed(&value)?,
            Asked::Lapsed => lapsed(&value)?,
            Asked::Schedule | Asked::Settle => bail!("not done: {value:?}"),
        };
        Ok(Some((length, said)))
    }
}

fn lapsed(value: &Value<'_>) -> anyhow::Result<Said> {
    match value.field("queue")?.field("total")?.field("lapsed")? {
        Value::Number(count) => Ok(Said::Lapsed(u64::try_from(*count).context("it is a count")?)),
        other => bail!("a number was expected, not {other:?}"),
    }
}

fn handed(value: &Value<'_>) -> anyhow::Result<Said> {
    let deliveries = match value.field("deliveries")? {
        Value::List(list) if !list.is_empty() => list,
        _ => return Ok(Said::Nothing(1)),
    };
    let one = |delivery: &Value<'_>| {
        let (id, token) = (delivery.field("id")?.text()?, delivery.field("token")?.text()?);
        let number = deadline::number(delivery.field("key")?.text()?)?;
        anyhow::Ok(Handed { number, name: [id, b" ", token].concat() })
    };
    Ok(Said::Handed(deliveries.iter().map(one).collect::<anyhow::Result<_>>()?))
}
