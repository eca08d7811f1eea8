//! The zoo of seeded defects.

#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use duly_engine::zoo::Bug;

use crate::counters::Counters;

/// Names them all.
#[expect(clippy::unnecessary_wraps, reason = "every way of proving may break")]
pub(crate) fn list() -> anyhow::Result<Counters> {
    let mut counters = Counters::new("bugs");
    for bug in Bug::ALL {
        println!("{:<24} {}", bug.name(), bug.about());
        counters.add("bugs", 1);
    }
    Ok(counters)
}
