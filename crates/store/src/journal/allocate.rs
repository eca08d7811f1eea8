//! Keeping reserved files ready, so that an append never has to ask for space.
//!
//! A **spare** is a file of a segment's length that holds nothing yet. New ones are reserved from the
//! file system and then filled with zeros in slices, because a sync into bytes that were written
//! before costs half of one that has to allocate. The files of freed segments become spares as they
//! are: what is left in them can never pass for a record.
//!
//! A full disk ends here: it means fewer spares, which the placer sees, and another try later. A slow
//! one is something else: whoever writes faster than files can be reserved waits for them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::segment::Segment;
use super::{DIRECTORY, Home};
use crate::Error;
use crate::disk::{File, Open, is_full, read_whole, write_whole};

/// One spare is never given to the placer: recovery must find it, even on a full disk.
const KEPT_FOR_RECOVERY: usize = 1;

/// How much is filled with zeros in one tick. A record that comes meanwhile waits for it.
const SLICE_BYTES: usize = 256 << 10;

/// What a file begins with that is filled with zeros and not used yet.
const ZEROED: &[u8; 64] = b"duly: this file is reserved for the journal and holds nothing.\0\0";

/// A reserved file that waits to become a segment.
#[derive(Clone)]
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
    /// Up to where it is filled with zeros; `None` when that is done or no longer allowed.
    zeroed: Arc<Mutex<Option<u64>>>,
}

impl Spare {
    /// A file whose bytes are already allocated on the disk.
    pub(super) fn used_before(name: String, file: Arc<dyn File>) -> Spare {
        Spare { name, file, zeroed: Arc::new(Mutex::new(None)) }
    }

    /// A file that was reserved for the journal and no more; `None` when it is anything else.
    pub(super) fn never_used(name: String, file: Arc<dyn File>) -> io::Result<Option<Spare>> {
        let mut front = [0; 64];
        let read = read_whole(file.as_ref(), &mut front, 0)?;
        Ok(if &front[..read] == ZEROED.as_slice() {
            Some(Spare::used_before(name, file))
        } else if front[..read].iter().all(|byte| *byte == 0) {
            Some(Spare::fresh(name, file))
        } else {
            None
        })
    }

    fn fresh(name: String, file: Arc<dyn File>) -> Spare {
        Spare { name, file, zeroed: Arc::new(Mutex::new(Some(0))) }
    }

    /// Waits for a slice that is just being written and lets no other follow.
    pub(super) fn stop_zeroing(&self) {
        *lock(&self.zeroed) = None;
    }
}

/// The spares and the freed segments, between the placer and the allocator.
pub(super) struct Pool {
    pub(super) segment_bytes: u64,
    ready: Mutex<Ready>,
    /// There is another spare, or none to be had.
    answered: Condvar,
    freed: Mutex<VecDeque<Arc<Segment>>>,
}

/// What the placer may take from, the one for recovery included.
struct Ready {
    spares: VecDeque<Spare>,
    /// Had the disk no room for another one when the allocator last asked?
    is_disk_full: bool,
}

impl Ready {
    fn available(&self) -> usize {
        self.spares.len().saturating_sub(KEPT_FOR_RECOVERY)
    }
}

impl Pool {
    pub(super) fn new(segment_bytes: u64, spares: VecDeque<Spare>) -> Pool {
        Pool {
            segment_bytes,
            ready: Mutex::new(Ready { spares, is_disk_full: false }),
            answered: Condvar::new(),
            freed: Mutex::new(VecDeque::new()),
        }
    }

    pub(super) fn take(&self) -> Option<Spare> {
        let mut ready = lock(&self.ready);
        if ready.available() > 0 { ready.spares.pop_front() } else { None }
    }

    pub(super) fn available(&self) -> usize {
        lock(&self.ready).available()
    }

    /// Waits for the allocator until there are so many spares, or it says that the disk is full.
    pub(super) fn wait_for(&self, spares: usize) {
        let lacks = |ready: &mut Ready| ready.available() < spares && !ready.is_disk_full;
        let waited = self.answered.wait_while(lock(&self.ready), lacks);
        drop(waited.expect("nothing panics while it holds this lock"));
    }

    fn put(&self, spare: Spare) {
        lock(&self.ready).spares.push_back(spare);
        self.answered.notify_all();
    }

    fn tell_whether_full(&self, is_disk_full: bool) {
        lock(&self.ready).is_disk_full = is_disk_full;
        self.answered.notify_all();
    }

    /// All there are, the one for recovery included.
    fn count(&self) -> usize {
        lock(&self.ready).spares.len()
    }

    pub(super) fn free(&self, segment: Arc<Segment>) {
        lock(&self.freed).push_back(segment);
    }
}

/// What a [`Allocator::tick`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is to do until a segment is begun or freed.
    Idle,
    /// A spare was added or a freed segment removed, and there may be more of that.
    Worked,
    /// A slice was filled with zeros, and there may be more of them. No hurry: a spare is as good
    /// without, but slower.
    Filled,
    /// A spare is missing and the disk has no room for it. Worth another try in a while.
    Full,
}

/// Keeps spares ready. Any thread may own it; each tick may wait for the disk.
pub struct Allocator {
    home: Home,
    pool: Arc<Pool>,
    reserve: usize,
    next_spare: u64,
}

impl Allocator {
    pub(super) fn new(home: Home, pool: Arc<Pool>, reserve: usize, next_spare: u64) -> Allocator {
        Allocator { home, pool, reserve, next_spare }
    }

    /// Does one bounded piece of work: takes back a freed segment, reserves a missing spare, or fills
    /// a slice with zeros. An error is a failing disk and not a full one.
    pub fn tick(&mut self) -> Result<Progress, Error> {
        if self.recycle()? {
            return Ok(Progress::Worked);
        }
        let reserved = self.reserve_one()?;
        Ok(if reserved != Progress::Worked && self.fill_slice()? {
            Progress::Filled
        } else {
            reserved
        })
    }

    /// Reserves one spare if one is missing.
    pub(super) fn reserve_one(&mut self) -> Result<Progress, Error> {
        if self.pool.count() >= self.reserve + KEPT_FOR_RECOVERY {
            // Freed segments can fill the reserve of a disk that was full: nobody has asked it since.
            self.pool.tell_whether_full(false);
            return Ok(Progress::Idle);
        }
        let name = spare_name(self.next_spare);
        self.next_spare += 1;
        let file = reserve_file(&self.home, &name, self.pool.segment_bytes)?;
        self.pool.tell_whether_full(file.is_none());
        let Some(file) = file else { return Ok(Progress::Full) };
        self.pool.put(Spare::fresh(name, file));
        Ok(Progress::Worked)
    }

    /// Makes the file of a freed segment a spare, or removes it if there are plenty. Strictly in the
    /// order they were freed, each durably, so that a crash leaves no gap in the numbers.
    fn recycle(&mut self) -> Result<bool, Error> {
        let segment = {
            let mut freed = lock(&self.pool.freed);
            // Nobody can ask the placer for it any more, so a count of one stays one.
            match freed.front() {
                Some(segment) if Arc::strong_count(segment) == 1 => freed.pop_front(),
                _ => None,
            }
        };
        let Some(segment) = segment else { return Ok(false) };
        let old = segment.name();
        let fault = |source| self.home.fault("recycle a journal segment", &old, source);
        let plenty = self.pool.count() >= 2 * self.reserve + KEPT_FOR_RECOVERY;
        if plenty || segment.length() != self.pool.segment_bytes {
            self.home.disk.unlink(&old).map_err(fault)?;
            self.home.sync_names()?;
            return Ok(true);
        }
        let name = spare_name(self.next_spare);
        self.next_spare += 1;
        self.home.disk.rename(&old, &name).map_err(fault)?;
        self.home.sync_names()?;
        self.pool.put(Spare::used_before(name, Arc::clone(segment.file())));
        Ok(true)
    }

    fn fill_slice(&mut self) -> Result<bool, Error> {
        let unfinished = lock(&self.pool.ready)
            .spares
            .iter()
            .find(|spare| spare.zeroed.try_lock().is_ok_and(|zeroed| zeroed.is_some()))
            .cloned();
        let Some(spare) = unfinished else { return Ok(false) };
        // The writer waits for this lock before it begins the segment.
        let mut zeroed = lock(&spare.zeroed);
        let Some(offset) = *zeroed else { return Ok(true) };
        let left = self.pool.segment_bytes - offset;
        let step = SLICE_BYTES.min(usize::try_from(left).unwrap_or(SLICE_BYTES));
        let filled = offset + step as u64;
        let is_last = filled == self.pool.segment_bytes;
        let file = spare.file.as_ref();
        write_whole(file, &vec![0; step], offset)
            .and_then(|()| file.sync())
            .and_then(|()| if is_last { write_whole(file, ZEROED, 0) } else { Ok(()) })
            .map_err(|source| self.home.fault("prepare a journal segment", &spare.name, source))?;
        *zeroed = (!is_last).then_some(filled);
        Ok(true)
    }
}

/// Creates a file of a segment's length whose space is reserved; `None` when the disk is full.
pub(super) fn reserve_file(
    home: &Home,
    name: &str,
    length: u64,
) -> Result<Option<Arc<dyn File>>, Error> {
    let fault = |source| home.fault("reserve a journal segment", name, source);
    let file = match home.disk.open(name, Open::New) {
        Err(source) if is_full(&source) => return Ok(None),
        result => result.map_err(fault)?,
    };
    match file.allocate(length) {
        Err(source) if is_full(&source) => {
            home.disk.unlink(name).map_err(fault)?;
            return Ok(None);
        }
        result => result.map_err(fault)?,
    }
    file.sync().map_err(fault)?;
    home.sync_names()?;
    Ok(Some(file))
}

/// The file of a spare, from the disk's root.
pub(super) fn spare_name(number: u64) -> String {
    format!("{DIRECTORY}/{number:020}.spare")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;
    use crate::journal::{self, Journal, Kind, Options, Placer};
    use crate::{Directory, FreshIdentity};

    #[test]
    fn freed_segments_that_fill_the_reserve_take_back_that_the_disk_is_full() {
        let disk = MemoryDisk::new();
        let identity = FreshIdentity { id: *b"allocate", hash_seed: [7; 16] };
        let directory = Directory::open(Arc::new(disk.clone()), identity).expect("it is new");
        let options = Options { segment_bytes: 16 << 10, reserve: 2 };
        let opened = journal::open(&directory, options, &mut |_| Ok(()));
        let Journal { mut placer, mut writer, mut allocator, .. } = opened.expect("it is new");
        let until = |allocator: &mut Allocator, last: Progress| {
            while allocator.tick().expect("a full disk is no fault") != last {}
            lock(&allocator.pool.ready).is_disk_full
        };
        let mut begin_segment = |placer: &mut Placer| {
            placer.roll().is_ok_and(|()| {
                let base = placer.place(Kind::Base, placer.next_seq(), 1, 1_000, vec![0; 64]);
                writer.write(base).expect("reserved space can be written");
                writer.sync().expect("reserved space can be written");
                true
            })
        };
        for _ in 0..options.reserve {
            assert!(!until(&mut allocator, Progress::Idle));
            assert!(begin_segment(&mut placer));
        }
        disk.set_full(true);
        while begin_segment(&mut placer) {}
        assert!(until(&mut allocator, Progress::Full));
        while placer.oldest().is_some_and(|oldest| oldest.sealed) {
            placer.free_oldest();
        }
        assert!(!until(&mut allocator, Progress::Idle), "nobody has asked the disk since");
    }
}
