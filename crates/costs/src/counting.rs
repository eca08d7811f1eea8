//! Counting instructions: this very program, run once more under valgrind.
//!
//! Only what happens inside of [`measured`] is counted, so that nothing has to be subtracted. Since
//! no work depends on a clock or on chance, a count is the same whenever it is made. It says nothing
//! about caches, waiting and the kernel: a work with fewer instructions is not always sooner done.

use std::fs;
use std::hint::black_box;
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// As valgrind knows [`measured`]. It takes no pattern where a count is to be written.
const MEASURED: &str = "duly_costs::counting::measured";

/// Does what is to be counted. Valgrind sees when it begins and ends.
#[inline(never)]
pub(crate) fn measured(work: &mut dyn FnMut()) {
    work();
    // Else it would be left before the work begins: a call at the very end is a jump.
    black_box(());
}

/// Runs this program with these arguments, and gives the instructions of each [`measured`] in it.
pub(crate) fn instructions(arguments: &[&str]) -> anyhow::Result<Vec<u64>> {
    let folder = std::env::temp_dir().join(format!("duly-costs-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let counted = run(arguments, &folder.join("counts"));
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    counted
}

fn run(arguments: &[&str], counts: &std::path::Path) -> anyhow::Result<Vec<u64>> {
    let valgrind = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg("--collect-atstart=no")
        .arg(format!("--toggle-collect={MEASURED}"))
        .arg(format!("--dump-after={MEASURED}"))
        .arg(std::env::current_exe()?)
        .args(arguments)
        // The allocator gives memory back after a while, and the while goes by the clock.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        .output()
        .context("cannot run valgrind: install it")?;
    if !valgrind.status.success() {
        bail!("{arguments:?} failed under valgrind\n{}", String::from_utf8_lossy(&valgrind.stderr));
    }
    let mut found = Vec::new();
    // What is written at the end has no number and nothing in it.
    while let Ok(text) = fs::read_to_string(format!("{}.{}", counts.display(), found.len() + 1)) {
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
        found.push(totals.context("valgrind wrote no totals")?.trim().parse()?);
    }
    ensure!(!found.is_empty() && !found.contains(&0), "valgrind has not seen `{MEASURED}`");
    Ok(found)
}
