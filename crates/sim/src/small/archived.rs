//! A real archive for a world that has none: everything final that its journal tells.

use std::path::Path;
use std::sync::Arc;

use duly::driver::open::{Replay, replay};
use duly::driver::{Feed, Pins};
use duly_engine::limits::Limits;
use duly_store::archive::Writer;
use duly_store::disk::MemoryDisk;
use duly_store::{Directory, Error, FreshIdentity};

use super::server::SMALL;

/// Nobody gets a new identity here.
const NOBODY: FreshIdentity = FreshIdentity { id: [0; 8], hash_seed: [0; 16] };

/// Takes an archive as far as the journal of a disk goes. Says how far that is. The disk stays as it
/// is; its process may be running.
pub(crate) fn catch_up(disk: &MemoryDisk, path: &Path) -> Result<u64, Error> {
    let disk = disk.fork();
    disk.kill();
    let directory = Directory::open(Arc::new(disk), NOBODY)?;
    let mut archive = Writer::open(path, &directory)?;
    let Replay { journal, unarchived, .. } =
        replay(&directory, &SMALL, Limits::default(), archive.applied_seq())?;
    let last_seq = journal.report.next_seq - 1;
    let mut items = Vec::new();
    Feed::replayed(unarchived, last_seq, Pins::of(&journal.placer)).items(&mut items)?;
    archive.apply(&items, last_seq)?;
    archive.tidy()?;
    Ok(last_seq)
}
