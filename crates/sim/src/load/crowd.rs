//! Connections to one server, all of them served by one thread.
//!
//! The generator shares the machine with what it measures, so it must cost little: one wake-up serves
//! every connection that has something, what was read is answered in one write, and the clock is read
//! once for each of them. It never waits for one connection while another has something to do.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::dialect::{Dialect, Protocol, Said, Shared};
use super::sockets::Sockets;

/// What a read has room for at least.
const READ_BYTES: usize = 64 << 10;
/// How long a greeting may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// All connections.
pub(super) struct Crowd {
    sockets: Sockets,
    lines: Vec<Line>,
}

/// One connection.
pub(super) struct Line {
    stream: TcpStream,
    pub(super) dialect: Box<dyn Dialect>,
    /// To be sent, from `sent` on.
    pub(super) out: Vec<u8>,
    sent: usize,
    /// Received and not understood yet: from `begin` to `end`.
    heard: Vec<u8>,
    begin: usize,
    end: usize,
    /// It waits until the server takes more.
    full: bool,
}

impl Crowd {
    /// Opens so many and greets.
    pub(super) fn open(
        address: SocketAddr,
        protocol: Protocol,
        shared: &Rc<Shared>,
        count: usize,
    ) -> anyhow::Result<Crowd> {
        let mut crowd = Crowd { sockets: Sockets::new(count)?, lines: Vec::with_capacity(count) };
        let mut answers = 0;
        for place in 0..count {
            let mut line = Line::open(address, protocol.dialect(shared, place))?;
            crowd.sockets.add(&line.stream, place as u64)?;
            answers += line.dialect.greet(&mut line.out);
            if place == 0 {
                answers += line.dialect.prepare(&mut line.out);
            }
            crowd.lines.push(line);
            crowd.flush(place)?;
        }
        let until = Instant::now() + PATIENCE;
        while answers > 0 {
            ensure!(Instant::now() < until, "the server does not answer a greeting");
            crowd.hear(None, |_, said, _, _| {
                if let Said::Done(count) = said {
                    answers -= count;
                }
                Ok(())
            })?;
        }
        Ok(crowd)
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn line(&mut self, place: usize) -> &mut Line {
        &mut self.lines[place]
    }

    /// Sends what a connection has to say, as far as the server takes it.
    pub(super) fn flush(&mut self, place: usize) -> anyhow::Result<()> {
        let line = &mut self.lines[place];
        let full = !line.flush()?;
        if full != line.full {
            line.full = full;
            self.sockets.tell_of_room(&line.stream, place as u64, full)?;
        }
        Ok(())
    }

    /// Waits until something is heard, or until that moment, and tells everything that was heard: by
    /// whom, what, and when. What the listener says to that connection is sent.
    pub(super) fn hear(
        &mut self,
        until: Option<Instant>,
        mut listener: impl FnMut(usize, Said, &mut Line, Instant) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        for index in 0..self.sockets.wait(until.map_or(Duration::MAX, left))? {
            let place = usize::try_from(self.sockets.number(index)).expect("it was a place");
            let line = &mut self.lines[place];
            line.receive()?;
            let now = Instant::now();
            while let Some(said) = line.understand()? {
                listener(place, said, line, now)?;
            }
            self.flush(place)?;
        }
        Ok(())
    }
}

impl Line {
    fn open(address: SocketAddr, dialect: Box<dyn Dialect>) -> anyhow::Result<Line> {
        let stream = TcpStream::connect(address).context("cannot reach the server")?;
        stream.set_nodelay(true).context("cannot reach the server")?;
        stream.set_nonblocking(true).context("cannot reach the server")?;
        let heard = vec![0; READ_BYTES];
        Ok(Line { stream, dialect, out: Vec::new(), sent: 0, heard, begin: 0, end: 0, full: false })
    }

    /// Whether all of it is sent.
    fn flush(&mut self) -> anyhow::Result<bool> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(0) => bail!("the server takes nothing more"),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the server does not take a request"),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Takes what has arrived, as much as there is room for.
    fn receive(&mut self) -> anyhow::Result<()> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        } else if self.heard.len() - self.end < READ_BYTES / 2 {
            self.heard.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
            if self.heard.len() - self.end < READ_BYTES / 2 {
                self.heard.resize(self.heard.len() * 2, 0);
            }
        }
        match self.stream.read(&mut self.heard[self.end..]) {
            Ok(0) => bail!("the server hung up"),
            Ok(count) => self.end += count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("the server does not answer"),
        }
        Ok(())
    }

    /// The next thing that was said.
    fn understand(&mut self) -> anyhow::Result<Option<Said>> {
        loop {
            let bytes = &self.heard[self.begin..self.end];
            if bytes.is_empty() {
                return Ok(None);
            }
            match self.dialect.hear(bytes, &mut self.out)? {
                None => return Ok(None),
                Some((length, said)) => {
                    self.begin += length;
                    if said != Said::Noise {
                        return Ok(Some(said));
                    }
                }
            }
        }
    }
}
