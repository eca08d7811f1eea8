//! A closed loop: so many connections, each with so many requests under way; a new one follows each
//! answer. It measures how much a server does when it is never without work.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::crowd::{Crowd, Line};
use super::dialect::Said;
use super::histogram::Histogram;

/// What is asked for again and again.
#[derive(Clone, Copy)]
pub(super) enum Verb<'a> {
    /// Due when this says, in milliseconds since 1970.
    Schedule(&'a dyn Fn(u64) -> u64),
    Settle,
}

/// How much at once.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Requests under way on a connection.
    pub(super) depth: usize,
    /// Deadlines in a request.
    pub(super) batch: u64,
}

/// What came of it.
pub(super) struct Done {
    pub(super) count: u64,
    pub(super) time: Duration,
    pub(super) latency: Histogram,
}

struct Loop<'a> {
    verb: Verb<'a>,
    batch: u64,
    next: u64,
    end: u64,
    stop: Instant,
    /// When each request under way was sent, and its deadlines that are not answered yet.
    sent: Vec<VecDeque<(Instant, u64)>>,
    done: Done,
}

/// Goes through the numbers from `first` until `end` or for `longest`, whichever comes first.
pub(super) fn run(
    crowd: &mut Crowd,
    verb: Verb<'_>,
    shape: Shape,
    (first, end): (u64, u64),
    longest: Duration,
    patience: Duration,
) -> anyhow::Result<Done> {
    let begun = Instant::now();
    let mut work = Loop {
        verb,
        batch: shape.batch,
        next: first,
        end,
        stop: begun + longest,
        sent: vec![VecDeque::new(); crowd.len()],
        done: Done { count: 0, time: Duration::ZERO, latency: Histogram::default() },
    };
    for place in 0..crowd.len() {
        for _ in 0..shape.depth {
            work.ask(place, crowd.line(place), begun);
        }
        crowd.flush(place)?;
    }
    while work.done.count < work.next - first {
        ensure!(
            begun.elapsed() < longest + patience,
            "{} of {} were never answered",
            work.next - first - work.done.count,
            work.next - first
        );
        crowd.hear(None, |place, said, line, now| work.heard(place, &said, line, now))?;
    }
    work.done.time = begun.elapsed();
    Ok(work.done)
}

impl Loop<'_> {
    fn ask(&mut self, place: usize, line: &mut Line, now: Instant) {
        let count = self.batch.min(self.end - self.next);
        if count == 0 || now >= self.stop {
            return;
        }
        match self.verb {
            Verb::Schedule(due) => line.dialect.schedule(&mut line.out, self.next, count, due),
            Verb::Settle => {
                for number in self.next..self.next + count {
                    line.dialect.settle(&mut line.out, number);
                }
            }
        }
        self.next += count;
        self.sent[place].push_back((now, count));
    }

    fn heard(
        &mut self,
        place: usize,
        said: &Said,
        line: &mut Line,
        now: Instant,
    ) -> anyhow::Result<()> {
        let Said::Done(mut count) = *said else { anyhow::bail!("nobody asked for {said:?}") };
        self.done.count += count;
        while count > 0 {
            let Some((sent, open)) = self.sent[place].front_mut() else {
                anyhow::bail!("more answers than requests");
            };
            let answered = count.min(*open);
            *open -= answered;
            count -= answered;
            if *open == 0 {
                self.done.latency.add(now - *sent);
                self.sent[place].pop_front();
                self.ask(place, line, now);
            }
        }
        Ok(())
    }
}
