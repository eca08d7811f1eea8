//! The languages of the servers, one a file: what a client says on one connection, and what it
//! understands of what it hears.
//!
//! A dialect writes bytes and reads bytes and knows no socket. It asks for the least work that does
//! the same thing everywhere: a schedule is durable when it is answered, a settle is by the caller's
//! own key, a lease keeps what was handed out until a verdict takes it away for good.

mod beanstalkd;
mod duly_http;
mod duly_redis;
mod nats;
mod redis;
mod resp;

use std::cell::RefCell;
use std::rc::Rc;

use clap::ValueEnum;

use super::deadline::Payloads;

/// Servers that can be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocol {
    /// Duly over HTTP.
    DulyHttp,
    /// Duly over the Redis protocol.
    DulyRedis,
    /// Redis: a sorted set of due times and a hash of payloads, changed together by Lua.
    Redis,
    /// beanstalkd: delays in whole seconds, names of its own.
    Beanstalkd,
    /// NATS: message schedules in a stream.
    Nats,
}

/// What all connections of a run share.
pub(super) struct Shared {
    pub(super) payloads: Payloads,
    /// The names that a server gave to our numbers, where it gives names.
    pub(super) names: RefCell<Vec<u64>>,
}

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// So many of our operations are done.
    Done(u64),
    /// These are leased to us.
    Handed(Vec<Handed>),
    /// So many answers to a lease are not coming: there is nothing just now.
    Nothing(usize),
    /// So many have lapsed.
    Lapsed(u64),
    /// Of no interest.
    Noise,
}

/// A deadline in our hands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handed {
    pub(super) number: u64,
    /// How the server wants it to be called in a verdict.
    pub(super) name: Vec<u8>,
}

/// A client on one connection.
pub(super) trait Dialect {
    /// What is asked before everything else, on the first connection only: queues, streams, scripts.
    /// Says how many answers (`Said::Done`) that gives.
    fn prepare(&mut self, out: &mut Vec<u8>) -> u64;

    /// What is said when a connection is opened, and how many answers that gives.
    fn greet(&mut self, _out: &mut Vec<u8>) -> u64 {
        0
    }

    /// Schedules the `count` deadlines from `first` on, in one request if there is such a request.
    /// `due` tells when, in milliseconds since 1970.
    fn schedule(&mut self, out: &mut Vec<u8>, first: u64, count: u64, due: &dyn Fn(u64) -> u64);

    /// Settles one that is pending. Anything but a win is an error when it is heard.
    fn settle(&mut self, out: &mut Vec<u8>, number: u64);

    /// Asks for up to `most`, and lets the server wait until something is due, if it can; says how many
    /// answers (`Handed` or `Nothing`) will come of it.
    fn lease(&mut self, out: &mut Vec<u8>, most: usize) -> usize;

    /// Says of each of these that it is done.
    fn verdicts(&mut self, out: &mut Vec<u8>, handed: &[Handed]);

    /// Asks how many have lapsed for good, and says whether it can.
    fn count_lapsed(&mut self, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Reads the first answer in these bytes, if it is all there, and says how long it is. What must be
    /// said in return at once goes to `out`. A refusal is an error.
    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> anyhow::Result<Option<(usize, Said)>>;
}

impl Protocol {
    /// A client on its `place`th connection.
    pub(super) fn dialect(self, shared: &Rc<Shared>, place: usize) -> Box<dyn Dialect> {
        let shared = Rc::clone(shared);
        match self {
            Protocol::DulyHttp => Box::new(duly_http::DulyHttp::new(shared)),
            Protocol::DulyRedis => Box::new(duly_redis::DulyRedis::new(shared)),
            Protocol::Redis => Box::new(redis::Redis::new(shared)),
            Protocol::Beanstalkd => Box::new(beanstalkd::Beanstalkd::new(shared)),
            Protocol::Nats => Box::new(nats::Nats::new(shared, place)),
        }
    }
}

/// The wall clock, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    u64::try_from(since.expect("it is after 1970").as_millis())
        .expect("it is before the year 500,000,000")
}

/// Writes a number in digits.
fn digits(out: &mut Vec<u8>, number: u64) {
    let mut buffer = [0; 20];
    let mut at = buffer.len();
    let mut rest = number;
    loop {
        at -= 1;
        buffer[at] = b'0' + u8::try_from(rest % 10).expect("a digit is below ten");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&buffer[at..]);
}

/// The first line of these bytes without its end, if all of it is there, and its length with it.
fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]), end + 1))
}
