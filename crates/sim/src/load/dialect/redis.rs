//! Redis as a delay queue that loses nothing: a sorted set of due times, a hash of payloads, and a
//! second set of what is leased, changed together by scripts on the server.
//!
//! Whoever only pops loses what a dying worker holds; so a lease moves, and a verdict deletes. Bringing
//! back what was leased and never finished is left out: it would cost a little more.

use std::collections::VecDeque;
use std::rc::Rc;

use anyhow::{Context as _, bail};

use super::super::deadline::{self, KEY_BYTES, PAYLOAD_BYTES};
use super::resp::{self, Value};
use super::{Dialect, Handed, Said, Shared, now_ms};

/// Due times, payloads, what is leased.
const KEYS: [&[u8]; 3] = [b"{bench}:due", b"{bench}:payload", b"{bench}:leased"];
const LEASE_MS: u64 = 60_000;

/// What is done to a deadline, each in one step of the server.
const SCHEDULE: Script = Script {
    text: "redis.call('ZADD',KEYS[1],ARGV[2],ARGV[1]) redis.call('HSET',KEYS[2],ARGV[1],ARGV[3]) return 1",
    asked: Asked::Change,
};
const SETTLE: Script = Script {
    text: "redis.call('HDEL',KEYS[2],ARGV[1]) return redis.call('ZREM',KEYS[1],ARGV[1])",
    asked: Asked::Change,
};
const DONE: Script = Script {
    text: "redis.call('HDEL',KEYS[2],ARGV[1]) return redis.call('ZREM',KEYS[3],ARGV[1])",
    asked: Asked::Change,
};
const LEASE: Script = Script {
    text: "local due = redis.call('ZRANGEBYSCORE',KEYS[1],'-inf',ARGV[1],'LIMIT',0,ARGV[3])
if #due == 0 then return {{},{}} end
redis.call('ZREM',KEYS[1],unpack(due))
local leased = {}
for place, member in ipairs(due) do leased[2*place-1] = ARGV[2] leased[2*place] = member end
redis.call('ZADD',KEYS[3],unpack(leased))
return {due, redis.call('HMGET',KEYS[2],unpack(due))}",
    asked: Asked::Lease,
};
const SCRIPTS: [&Script; 4] = [&SCHEDULE, &SETTLE, &DONE, &LEASE];

struct Script {
    text: &'static str,
    asked: Asked,
}

/// What an answer is about.
#[derive(Clone, Copy)]
enum Asked {
    Load,
    Change,
    Lease,
}

/// A client.
pub(super) struct Redis {
    shared: Rc<Shared>,
    asked: VecDeque<Asked>,
    /// How the server calls each script.
    digests: Vec<Vec<u8>>,
}

impl Redis {
    pub(super) fn new(shared: Rc<Shared>) -> Redis {
        Redis { shared, asked: VecDeque::new(), digests: Vec::new() }
    }

    /// Begins a call of a script with so many arguments.
    fn call(&mut self, out: &mut Vec<u8>, script: &Script, arguments: u64) {
        let place = SCRIPTS.iter().position(|one| one.text == script.text);
        let digest = &self.digests[place.expect("it is one of them")];
        resp::words(out, 3 + KEYS.len() as u64 + arguments);
        resp::word(out, b"EVALSHA");
        resp::word(out, digest);
        resp::number_word(out, KEYS.len() as u64);
        for key in KEYS {
            resp::word(out, key);
        }
        self.asked.push_back(script.asked);
    }

    fn key(out: &mut Vec<u8>, number: u64) {
        resp::written(out, KEY_BYTES, |out| deadline::key(out, number));
    }
}

impl Dialect for Redis {
    fn prepare(&mut self, _out: &mut Vec<u8>) -> u64 {
        0
    }

    /// Loads the scripts: the server keeps them once, and says how it calls them.
    fn greet(&mut self, out: &mut Vec<u8>) -> u64 {
        for script in SCRIPTS {
            resp::words(out, 3);
            for word in ["SCRIPT", "LOAD", script.text] {
                resp::word(out, word.as_bytes());
            }
            self.asked.push_back(Asked::Load);
        }
        SCRIPTS.len() as u64
    }

    fn schedule(&mut self, out: &mut Vec<u8>, first: u64, count: u64, due: &dyn Fn(u64) -> u64) {
        for number in first..first + count {
            self.call(out, &SCHEDULE, 3);
            Self::key(out, number);
            resp::number_word(out, due(number));
            resp::written(out, PAYLOAD_BYTES, |out| self.shared.payloads.write(out, number));
        }
    }

    fn settle(&mut self, out: &mut Vec<u8>, number: u64) {
        self.call(out, &SETTLE, 1);
        Self::key(out, number);
    }

    fn lease(&mut self, out: &mut Vec<u8>, most: usize) -> usize {
        self.call(out, &LEASE, 3);
        let now = now_ms();
        for number in [now, now + LEASE_MS, most as u64] {
            resp::number_word(out, number);
        }
        1
    }

    fn verdicts(&mut self, out: &mut Vec<u8>, handed: &[Handed]) {
        for one in handed {
            self.call(out, &DONE, 1);
            Self::key(out, one.number);
        }
    }

    fn hear(&mut self, bytes: &[u8], _out: &mut Vec<u8>) -> anyhow::Result<Option<(usize, Said)>> {
        let Some((value, length)) = resp::value(bytes)? else { return Ok(None) };
        let said = match self.asked.pop_front().context("an answer that nobody asked for")? {
            Asked::Load => {
                self.digests.push(value.text()?.to_owned());
                Said::Done(1)
            }
            Asked::Change if value == Value::Number(1) => Said::Done(1),
            Asked::Change => bail!("not done: {value:?}"),
            Asked::Lease => handed(value)?,
        };
        Ok(Some((length, said)))
    }
}

fn handed(value: Value<'_>) -> anyhow::Result<Said> {
    let [due, payloads] = <[Value<'_>; 2]>::try_from(value.list()?)
        .map_err(|other| anyhow::anyhow!("keys and payloads were expected, not {other:?}"))?;
    let mut all = Vec::new();
    for (key, payload) in due.list()?.iter().zip(payloads.list()?) {
        payload.text().context("a payload is missing")?;
        all.push(Handed { number: deadline::number(key.text()?)?, name: Vec::new() });
    }
    Ok(if all.is_empty() { Said::Nothing(1) } else { Said::Handed(all) })
}
