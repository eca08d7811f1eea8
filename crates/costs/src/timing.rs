//! Timing works with criterion.
//!
//! What a work needs is prepared outside of what is timed, as many operations at once as one slice
//! has. Criterion says what it found on the terminal; nothing is asserted about time.

use std::time::{Duration, Instant};

use criterion::Criterion;

use crate::works::{Work, all};

/// Runs criterion over the works, as the process's arguments ask.
pub(crate) fn time() {
    let mut criterion = Criterion::default().configure_from_args();
    for named in all() {
        let mut work: Option<Box<dyn Work>> = None;
        criterion.bench_function(named.name, |bencher| {
            let work = work.get_or_insert_with(named.begin);
            bencher.iter_custom(|times| {
                let mut left = usize::try_from(times).expect("a processor counts no further");
                let mut spent = Duration::ZERO;
                while left > 0 {
                    let slice = left.min(named.slice);
                    work.prepare(slice);
                    let begun = Instant::now();
                    work.run();
                    spent += begun.elapsed();
                    work.check();
                    left -= slice;
                }
                spent
            });
        });
    }
    criterion.final_summary();
}
