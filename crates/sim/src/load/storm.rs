//! So many deadlines due in the same millisecond that deciding them takes time, and payments that come in
//! meanwhile. It tells how long it took until every lapse was durable, and how long those who settled
//! other deadlines had to wait, from the moment at which each meant to.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::closed::Done;
use super::crowd::Crowd;
use super::dialect::Said;
use super::due::Due;
use super::histogram::Histogram;

/// Settles a second.
const PACE: u32 = 500;
/// How often is asked how many have lapsed.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Settles go on so long after the last lapse.
const AFTERMATH: Duration = Duration::from_millis(300);

/// The first connection looks; the others settle.
pub(super) fn run(crowd: &mut Crowd, due: &Due, patience: Duration) -> anyhow::Result<Done> {
    ensure!(crowd.len() > 1, "one connection looks and the others settle");
    let mut latency = Histogram::default();
    let mut meant: Vec<VecDeque<Instant>> = vec![VecDeque::new(); crowd.len()];
    let (mut next, mut open) = (due.others.start, 0_u64);
    let (mut arrival, mut look) = (Instant::now(), Some(Instant::now()));
    let mut decided = None;
    while decided.is_none_or(|at: Instant| at.elapsed() < AFTERMATH) || open > 0 {
        ensure!(Instant::now() < due.first + patience, "they were not decided in time");
        let now = Instant::now();
        let over = decided.is_some_and(|at| at.elapsed() >= AFTERMATH);
        while arrival <= now && next < due.others.end && !over {
            let place = 1 + usize::try_from(next).context("too many")? % (crowd.len() - 1);
            let line = crowd.line(place);
            line.dialect.settle(&mut line.out, next);
            meant[place].push_back(arrival);
            crowd.flush(place)?;
            (next, open, arrival) = (next + 1, open + 1, arrival + Duration::from_secs(1) / PACE);
        }
        if decided.is_none() && look.is_some_and(|at| at <= now) {
            let line = crowd.line(0);
            ensure!(line.dialect.count_lapsed(&mut line.out), "this server is not asked that");
            crowd.flush(0)?;
            look = None;
        }
        let until = look.map_or(arrival, |look| look.min(arrival));
        crowd.hear(Some(until), |place, said, _, now| {
            match said {
                Said::Lapsed(count) => {
                    look = Some(now + LOOK_EVERY);
                    decided = (count >= due.count).then_some(now);
                }
                Said::Done(count) => {
                    for _ in 0..count {
                        let meant = meant[place].pop_front().context("an answer too many")?;
                        latency.add(now.saturating_duration_since(meant));
                        open -= 1;
                    }
                }
                said => bail!("nobody asked for {said:?}"),
            }
            Ok(())
        })?;
    }
    let at = decided.context("the loop ends when they are decided")?;
    Ok(Done { count: due.count, time: at.saturating_duration_since(due.first), latency })
}
