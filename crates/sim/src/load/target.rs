//! Targets of webhooks, all of them served by the thread that asks: they take requests as fast as they
//! come and answer at once, after a while, or never.
//!
//! A target hears every body whole and gives it to whoever measures, so that a delivery counts when it
//! has arrived and not when somebody says so. It speaks as much HTTP as the server's webhooks do.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::sockets::Sockets;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const READ_BYTES: usize = 16 << 10;
/// Told of at once.
const AT_ONCE: usize = 256;

/// When a target answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manners {
    AtOnce,
    After(Duration),
    Never,
}

/// Targets and everybody who is connected to them.
pub(super) struct Targets {
    sockets: Sockets,
    listeners: Vec<(TcpListener, Manners)>,
    callers: HashMap<u64, Caller>,
    next_caller: u64,
    /// Answers that are held back, by when they are due, and to whom.
    held: VecDeque<(Instant, u64)>,
}

/// A connection to a target.
struct Caller {
    stream: TcpStream,
    manners: Manners,
    heard: Vec<u8>,
}

impl Targets {
    pub(super) fn new() -> anyhow::Result<Targets> {
        Ok(Targets {
            sockets: Sockets::new(AT_ONCE)?,
            listeners: Vec::new(),
            callers: HashMap::new(),
            next_caller: 1 << 32,
            held: VecDeque::new(),
        })
    }

    /// One more; all that answer after a while have the same while. Says its port.
    pub(super) fn listen(&mut self, manners: Manners) -> anyhow::Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        listener.set_nonblocking(true).context("no free port")?;
        let port = listener.local_addr().context("no free port")?.port();
        self.sockets.add(&listener, self.listeners.len() as u64)?;
        self.listeners.push((listener, manners));
        Ok(port)
    }

    /// Waits until something is heard, and gives the bodies that came to targets that answer at once.
    pub(super) fn hear(
        &mut self,
        mut listener: impl FnMut(&[u8], Instant) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let now = Instant::now();
        let left = |(at, _): &(Instant, u64)| at.saturating_duration_since(now);
        for index in 0..self.sockets.wait(self.held.front().map_or(Duration::MAX, left))? {
            let who = self.sockets.number(index);
            if let Some(place) = usize::try_from(who).ok().filter(|at| *at < self.listeners.len()) {
                self.accept(place)?;
            } else if let Some(caller) = self.callers.get_mut(&who) {
                let is_there = caller.hear(&mut listener, &mut self.held, who)?;
                if !is_there {
                    self.callers.remove(&who);
                }
            }
        }
        let now = Instant::now();
        while self.held.front().is_some_and(|(at, _)| *at <= now) {
            let held = self.held.pop_front();
            // Who has gone away hears no answer.
            if let Some(caller) = held.and_then(|(_, who)| self.callers.get_mut(&who)) {
                caller.answer()?;
            }
        }
        Ok(())
    }

    fn accept(&mut self, place: usize) -> anyhow::Result<()> {
        let (listener, manners) = &self.listeners[place];
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("a target cannot be reached"),
            };
            stream.set_nodelay(true).context("a target cannot be reached")?;
            stream.set_nonblocking(true).context("a target cannot be reached")?;
            let who = self.next_caller;
            self.next_caller += 1;
            self.sockets.add(&stream, who)?;
            let heard = Vec::with_capacity(READ_BYTES);
            self.callers.insert(who, Caller { stream, manners: *manners, heard });
        }
    }
}

impl Caller {
    /// Takes what has come and answers what is whole; false when the caller has hung up.
    fn hear(
        &mut self,
        listener: &mut impl FnMut(&[u8], Instant) -> anyhow::Result<()>,
        held: &mut VecDeque<(Instant, u64)>,
        who: u64,
    ) -> anyhow::Result<bool> {
        let filled = self.heard.len();
        self.heard.resize(filled + READ_BYTES, 0);
        let read = self.stream.read(&mut self.heard[filled..]);
        let count = match read {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            // A server that stops waiting may cut the connection.
            Err(_) => return Ok(false),
        };
        self.heard.truncate(filled + count);
        if count == 0 {
            return Ok(false);
        }
        while let Some((begin, end)) = request(&self.heard)? {
            let now = Instant::now();
            match self.manners {
                Manners::AtOnce => {
                    listener(&self.heard[begin..end], now)?;
                    self.answer()?;
                }
                Manners::After(while_) => held.push_back((now + while_, who)),
                Manners::Never => {}
            }
            self.heard.drain(..end);
        }
        Ok(true)
    }

    fn answer(&mut self) -> anyhow::Result<()> {
        match self.stream.write(ANSWER) {
            Ok(written) => {
                ensure!(written == ANSWER.len(), "a caller takes no answer");
                Ok(())
            }
            // It has gone away; its delivery comes again.
            Err(_) => Ok(()),
        }
    }
}

/// Where the body of the first request begins and ends, if all of it is there.
fn request(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(length) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..length]).context("a request that is not HTTP")?;
    ensure!(head.starts_with("POST "), "no webhook: {head}");
    let body = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let begin = length + 4;
    let end = begin + body.context("a webhook that does not say how long it is")?;
    Ok((bytes.len() >= end).then_some((begin, end)))
}
