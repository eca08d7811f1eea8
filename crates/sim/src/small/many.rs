//! Many independent cases on two threads, with a word now and then about how far it is.

#![expect(clippy::print_stderr, reason = "it tells how far it is")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::counters::Counters;

const THREADS: usize = 2;

/// Looks at each case once; each thread counts for itself, and all of it is added up.
pub(crate) fn each<T: Sync>(
    name: &'static str,
    cases: &[T],
    look: impl Fn(&T, &mut Counters) + Sync,
) -> Counters {
    let next = AtomicUsize::new(0);
    let tenth = cases.len().div_ceil(10).max(1);
    let work = || {
        let mut counters = Counters::new(name);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(index) else { return counters };
            look(case, &mut counters);
            if (index + 1).is_multiple_of(tenth) {
                eprintln!("{name}: {} of {}", index + 1, cases.len());
            }
        }
    };
    let mut all = Counters::new(name);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            all.take_in(&thread.join().expect("a case that panics ends the run"));
        }
    });
    all
}
