//! The machine's own clock is set, to the very time it shows.
//!
//! That is a change to the kernel and to nobody else, so it can be done on a machine at work. It
//! shows the one thing that a faked clock cannot: that the server hears of it and that its driver
//! wakes up for it, which the kernel counts, without having been asked anything.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::time::{ClockId, clock_gettime, clock_settime};

use super::super::server::{Segments, Server, Setup};
use super::super::{Field, progress};
use super::kernel::Thread;

/// The driver looks at the clock by itself every 500 ms: sooner than this it seldom does by chance.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How long anything may take here before it counts as never.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether it has happened.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// Sets it so many times.
pub(super) fn run(field: &mut Field, sets: u64) -> anyhow::Result<()> {
    let folder = field.directory("machine")?;
    let setup = Setup {
        binary: field.binary.clone(),
        data: folder.join("data"),
        folder,
        segments: Segments::Small,
        through: Vec::new(),
    };
    let server = setup.start()?;
    let driver = Thread::named(server.id(), "duly-driver")?;
    for number in 1..=sets {
        let before = driver.sleeps()?;
        let begun = Instant::now();
        if let Err(error) = clock_settime(ClockId::Realtime, clock_gettime(ClockId::Realtime)) {
            progress(&format!(
                "MISSING: the machine's clock may not be set here ({error}): run this as root, \
                 outside of a sandbox"
            ));
            return Ok(());
        }
        while driver.sleeps()? == before {
            ensure!(begun.elapsed() < PATIENCE, "the driver sleeps on");
            thread::sleep(LOOK_EVERY);
        }
        field.counters.add("woken_at_once", u64::from(begun.elapsed() < AT_ONCE));
        while heard(&server)? < number {
            if begun.elapsed() > PATIENCE {
                field.counters.violation("the clock was set, and the server did not hear of it");
                return Ok(());
            }
        }
        field.counters.add("clock_sets", 1);
    }
    server.kill()
}

/// How often the server has heard that the clock was set.
fn heard(server: &Server) -> anyhow::Result<u64> {
    let answer = server.connect()?.ask("GET", "/metrics", "")?;
    let figures = String::from_utf8(answer.body).context("the figures are no text")?;
    let figure = figures.lines().find_map(|line| line.strip_prefix("duly_clock_sets_total "));
    figure.and_then(|value| value.parse().ok()).context("the server does not count it")
}
