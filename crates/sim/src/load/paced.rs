//! An open loop: requests arrive at a pace of their own, whether or not the server has answered those
//! before. Each latency counts from the moment at which its request was meant to be sent, so a
//! pause of the server is felt by all who came meanwhile, as it would be in a shop.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::closed::Done;
use super::crowd::Crowd;
use super::dialect::Said;
use super::histogram::Histogram;

/// More than this under way means that the server does not keep up, and that no latency means anything.
const HOPELESS: u64 = 200_000;

/// Schedules `a_second` deadlines a second, in turn over all connections.
pub(super) fn run(
    crowd: &mut Crowd,
    due: &dyn Fn(u64) -> u64,
    a_second: u32,
    time: Duration,
    patience: Duration,
) -> anyhow::Result<Done> {
    let begun = Instant::now();
    let gap = Duration::from_secs(1) / a_second;
    let count = u64::try_from(time.as_nanos() / gap.as_nanos()).context("that is too many")?;
    let mut meant = vec![VecDeque::new(); crowd.len()];
    let mut latency = Histogram::default();
    let (mut sent, mut done) = (0, 0);
    let mut arrival = begun;
    while done < count {
        ensure!(begun.elapsed() < time + patience, "{} were never answered", sent - done);
        ensure!(sent - done < HOPELESS, "it does not keep up with {a_second} a second");
        let mut spoken = Vec::new();
        while sent < count && arrival <= Instant::now() {
            let place = usize::try_from(sent).expect("they were counted") % crowd.len();
            let line = crowd.line(place);
            line.dialect.schedule(&mut line.out, sent, 1, due);
            meant[place].push_back(arrival);
            spoken.push(place);
            sent += 1;
            arrival += gap;
        }
        for place in spoken {
            crowd.flush(place)?;
        }
        let until = (sent < count).then_some(arrival);
        crowd.hear(until, |place, said, _, now| {
            let Said::Done(answered) = said else { bail!("nobody asked for {said:?}") };
            for _ in 0..answered {
                let meant = meant[place].pop_front().context("more answers than requests")?;
                latency.add(now.saturating_duration_since(meant));
            }
            done += answered;
            Ok(())
        })?;
    }
    Ok(Done { count, time: begun.elapsed(), latency })
}
