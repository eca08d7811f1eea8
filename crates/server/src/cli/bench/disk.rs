//! How long a sync of the disk takes by itself: the floor under every durable answer.
//!
//! A small file is written full and synced, then small pieces of it are overwritten and synced one
//! by one, as the journal does in its preallocated segments. It says what the disk can do while
//! nothing else of ours runs, nothing about what it does under load.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::report::Times;
use crate::clock;

/// Syncs that are timed.
const SYNCS: u64 = 200;
/// Bytes written before each: about one deadline's.
const PIECE: [u8; 256] = [b'd'; 256];
/// Never longer than this, on a disk that is very slow.
const LONGEST: Duration = Duration::from_secs(2);

/// The median and 99 % of the time a sync takes, in milliseconds.
pub(super) fn sync_ms(folder: &Path) -> anyhow::Result<[f64; 2]> {
    let path = folder.join("sync");
    let times = timed(&path).with_context(|| format!("cannot write {}", path.display()));
    // It is not there if it could not be created.
    fs::remove_file(&path).unwrap_or_default();
    let times = Times::of(times?).context("not one sync was timed")?;
    Ok([times.p50_ms, times.p99_ms])
}

fn timed(path: &Path) -> std::io::Result<Vec<Duration>> {
    let file = OpenOptions::new().create_new(true).write(true).open(path)?;
    let length = SYNCS * PIECE.len() as u64;
    file.write_all_at(&vec![0; usize::try_from(length).unwrap_or_default()], 0)?;
    file.sync_all()?;
    let (begun, mut times) = (clock::stopwatch(), Vec::new());
    for piece in 0..SYNCS {
        let written = clock::stopwatch();
        file.write_all_at(&PIECE, piece * PIECE.len() as u64)?;
        file.sync_data()?;
        times.push(written.elapsed());
        if begun.elapsed() > LONGEST {
            break;
        }
    }
    Ok(times)
}
