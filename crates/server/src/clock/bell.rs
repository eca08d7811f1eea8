//! Rings when the machine's clock is set, or when the machine wakes up.
//!
//! Whoever waits for a deadline measures the wait when it begins; a clock that is set meanwhile, and
//! a sleep in which the clock of waits stands still, make that measure wrong. The kernel tells of
//! both at once: it cancels a timer on the wall clock that asked for it (`TFD_TIMER_CANCEL_ON_SET`),
//! and the timer here, armed for the end of time, exists for nothing else.
//!
//! This makes a reaction prompt; it is not what makes it certain. A sandbox may refuse the timer, a
//! hypervisor that stops and continues its guest sets nothing, and a wake-up that only ever came from
//! a notification would be lost with it. So the driver looks at the clock now and then all the same,
//! and derives when to act from what it holds. Nothing is read or decided here.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, read, write};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Rings until it is dropped; afterwards nothing of it runs any more.
#[derive(Debug)]
pub(crate) struct Bell {
    stop: Arc<OwnedFd>,
    /// Taken when it is joined.
    thread: Option<JoinHandle<()>>,
}

impl Bell {
    /// From now on `ring` is called, on a thread of its own, after each change.
    pub(crate) fn hang(ring: impl Fn() + Send + 'static) -> io::Result<Bell> {
        let timer = timer_without_end()?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let stopped = Arc::clone(&stop);
        let listening = move || {
            if let Err(error) = listen(timer.as_fd(), stopped.as_fd(), &ring) {
                tracing::warn!(%error, "the machine does not tell any more when its clock is set");
            }
        };
        let thread = thread::Builder::new().name("duly-clock".into()).spawn(listening)?;
        Ok(Bell { stop, thread: Some(thread) })
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let told = write(&self.stop, &1_u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            // It has ended, or it has panicked and said so.
            drop(thread.join());
        }
    }
}

fn timer_without_end() -> io::Result<OwnedFd> {
    let timer =
        timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let never = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec { tv_sec: i64::MAX, tv_nsec: 0 },
    };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &never)?;
    Ok(timer)
}

/// Calls `ring` for every change until it is told to stop. The timer stays armed after a change.
fn listen(timer: BorrowedFd<'_>, stop: BorrowedFd<'_>, ring: &impl Fn()) -> io::Result<()> {
    loop {
        let mut ready = [
            PollFd::from_borrowed_fd(timer, PollFlags::IN),
            PollFd::from_borrowed_fd(stop, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !ready[1].revents().is_empty() {
            return Ok(());
        }
        match read(timer, &mut [0; 8]) {
            // Were the end of time to come, that would be a change as well.
            Ok(_) | Err(Errno::CANCELED) => ring(),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bell;

    #[test]
    fn a_bell_that_is_dropped_has_stopped() {
        let hung = std::sync::Arc::new(());
        let held = std::sync::Arc::clone(&hung);
        let bell = Bell::hang(move || drop(std::sync::Arc::clone(&held)));
        drop(bell.expect("this machine has timers"));
        assert_eq!(std::sync::Arc::strong_count(&hung), 1, "its thread still runs");
    }
}
