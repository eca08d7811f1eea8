//! Waiting for many sockets on one thread: whoever has something is told by the number it was given.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest wait with nothing to do.
const NAP: Duration = Duration::from_millis(100);

/// Sockets, and those of them that have something.
pub(super) struct Sockets {
    epoll: OwnedFd,
    ready: Vec<Event>,
}

impl Sockets {
    /// None yet; of so many it is told at once.
    pub(super) fn new(at_once: usize) -> anyhow::Result<Sockets> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("no epoll")?;
        Ok(Sockets { epoll, ready: Vec::with_capacity(at_once) })
    }

    /// One more, until it is closed. It is told when something has come.
    pub(super) fn add(&self, socket: &impl AsFd, number: u64) -> anyhow::Result<()> {
        let data = EventData::new_u64(number);
        epoll::add(&self.epoll, socket, data, EventFlags::IN).context("no epoll")
    }

    /// Is it told of that socket when it takes more, too?
    pub(super) fn tell_of_room(
        &self,
        socket: &impl AsFd,
        number: u64,
        too: bool,
    ) -> anyhow::Result<()> {
        let wanted = if too { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        epoll::modify(&self.epoll, socket, EventData::new_u64(number), wanted).context("no epoll")
    }

    /// Waits until some have something, or for so long: how many have.
    pub(super) fn wait(&mut self, nap: Duration) -> anyhow::Result<usize> {
        let nap = Timespec::try_from(nap.min(NAP)).context("a nap is short")?;
        // The time limit of epoll itself is in milliseconds, too coarse for arrivals.
        poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&nap)).context("no poll")?;
        self.ready.clear();
        let room = rustix::buffer::spare_capacity(&mut self.ready);
        epoll::wait(&self.epoll, room, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
            .context("no epoll")?;
        Ok(self.ready.len())
    }

    /// The number of one of them.
    pub(super) fn number(&self, index: usize) -> u64 {
        self.ready[index].data.u64()
    }
}
