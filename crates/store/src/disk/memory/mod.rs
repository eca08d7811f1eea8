//! A disk in memory that can lie.
//!
//! It keeps two states of everything: what a running process sees (the cache) and what would survive
//! a power cut (the platter). Between them lie the writes and the names that nobody synced; a crash
//! keeps any part of those. Calls are counted, and the Nth can be made to fail in the ways real disks
//! do, including a failed sync whose pages stay in the cache marked clean.
//!
//! It is deterministic: the same calls and the same seed give the same bytes. It models no speed.

mod inode;
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use self::inode::{Inode, Splitmix, Survival};
use self::pages::Pages;
use super::{Disk, File, Held, Open};

/// How a call can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails (`EIO`) and does nothing. A sync that fails so loses its pages for good: the
    /// cache keeps showing them, the platter never gets them, and the next sync succeeds.
    Io,
    /// The call fails for want of space (`ENOSPC`) and does nothing.
    Full,
    /// A write does half of its work and says so. Other calls are not disturbed.
    Short,
    /// A write does half of its work and then fails (`EIO`). Other calls fail as with [`Fault::Io`].
    Torn,
    /// The process dies in this call: a write does half of its work, and every call after it fails
    /// until [`MemoryDisk::crash`] or [`MemoryDisk::kill`].
    Death,
    /// A sync claims success and does nothing. Other calls are not disturbed.
    Lie,
}

/// A whole disk in memory. Clones are handles on the same disk; [`MemoryDisk::fork`] copies it.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    files: Vec<Inode>,
    /// The names as a running process sees them.
    names: BTreeMap<String, usize>,
    /// The names that would survive a power cut.
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync of their directories, each all or nothing.
    unsynced_names: Vec<NameChange>,
    directories: BTreeSet<String>,
    locks: BTreeSet<String>,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    /// Handles of an earlier era belong to a process that is gone.
    era: u64,
    dead: bool,
    full: bool,
}

#[derive(Clone)]
struct NameChange {
    directories: Vec<String>,
    sets: Vec<(String, Option<usize>)>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// A copy that goes its own way from here.
    #[must_use]
    pub fn fork(&self) -> MemoryDisk {
        MemoryDisk(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Cuts the power: what was synced stays, and of the rest whatever this seed decides, by sector,
    /// by byte, all or nothing. Every open handle and lock is gone.
    pub fn crash(&self, seed: u64) {
        let mut state = self.state();
        let mut random = Splitmix(seed);
        let survival = match random.next() % 4 {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            2 => Survival::Sectors,
            _ => Survival::Bytes,
        };
        for file in &mut state.files {
            file.lose_unsynced(survival, &mut random);
        }
        let changes = std::mem::take(&mut state.unsynced_names);
        let mut names = std::mem::take(&mut state.durable_names);
        for change in changes {
            let kept = match survival {
                Survival::Nothing => false,
                Survival::Everything => true,
                Survival::Sectors | Survival::Bytes => random.next().is_multiple_of(2),
            };
            if kept {
                set_names(&mut names, change.sets);
            }
        }
        state.durable_names = names.clone();
        state.names = names;
        state.end_era();
    }

    /// Kills the process and leaves the machine running: handles and locks are gone, the cache still
    /// shows everything, also what a failed sync kept from the platter.
    pub fn kill(&self) {
        self.state().end_era();
    }

    /// Makes call number `nth` (counted as [`MemoryDisk::calls`] counts) go wrong.
    pub fn fail(&self, nth: u64, fault: Fault) {
        self.state().faults.insert(nth, fault);
    }

    /// How many calls were made so far, of any kind but [`Disk::shown`]. The next is one more.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// While full, nothing can be reserved or grown; what is reserved can still be written.
    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// The bytes a process sees in a file.
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let pages = &state.files[*state.names.get(path)?].cache;
        let mut bytes = vec![0; usize::try_from(pages.length).expect("files fit in memory")];
        pages.read(&mut bytes, 0);
        Some(bytes)
    }

    /// Changes bytes behind everybody's back, in the cache and on the platter. False without such a
    /// file.
    pub fn tamper(&self, path: &str, offset: u64, bytes: &[u8]) -> bool {
        self.behind_backs(path, |pages| pages.write(bytes, offset))
    }

    /// Flips one bit, in the cache and on the platter. False without such a file.
    pub fn flip(&self, path: &str, bit: u64) -> bool {
        self.behind_backs(path, |pages| {
            let mut byte = [0];
            pages.read(&mut byte, bit / 8);
            byte[0] ^= 1 << (bit % 8);
            pages.write(&byte, bit / 8);
        })
    }

    /// Cuts a file, in the cache and on the platter. False without such a file.
    pub fn truncate(&self, path: &str, length: u64) -> bool {
        self.behind_backs(path, |pages| pages.set_length(length))
    }

    fn behind_backs(&self, path: &str, change: impl Fn(&mut Pages)) -> bool {
        let mut state = self.state();
        let Some(&file) = state.names.get(path) else { return false };
        change(&mut state.files[file].cache);
        change(&mut state.files[file].platter);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no call panics while it holds the disk")
    }
}

impl State {
    /// Counts a call and says what is to go wrong with it.
    fn enter(&mut self) -> io::Result<Option<Fault>> {
        if self.dead {
            return Err(broken());
        }
        self.calls += 1;
        let fault = self.faults.remove(&self.calls);
        if fault == Some(Fault::Death) {
            self.dead = true;
        }
        Ok(fault)
    }

    /// [`State::enter`] for calls that either happen or do not.
    fn enter_whole(&mut self) -> io::Result<()> {
        match self.enter()? {
            None | Some(Fault::Short | Fault::Lie) => Ok(()),
            Some(Fault::Full) => Err(no_space()),
            Some(Fault::Io | Fault::Torn | Fault::Death) => Err(broken()),
        }
    }

    fn end_era(&mut self) {
        self.era += 1;
        self.dead = false;
        self.locks.clear();
        self.faults.clear();
    }

    fn change_names(&mut self, sets: Vec<(String, Option<usize>)>) {
        set_names(&mut self.names, sets.clone());
        let directories = sets.iter().map(|(path, _)| parent(path).to_owned()).collect();
        self.unsynced_names.push(NameChange { directories, sets });
    }

    fn find(&self, path: &str) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, handle: &Handle) -> io::Result<&mut Inode> {
        if handle.era == self.era { Ok(&mut self.files[handle.file]) } else { Err(broken()) }
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.enter_whole()?;
        let file = match how {
            Open::Existing => state.find(path)?,
            Open::New | Open::NewSecret => {
                if state.names.contains_key(path) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                if !state.directories.contains(parent(path)) && !parent(path).is_empty() {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let file = state.files.len();
                state.files.push(Inode::default());
                state.change_names(vec![(path.to_owned(), Some(file))]);
                file
            }
        };
        Ok(Arc::new(Handle { disk: self.clone(), file, era: state.era }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.enter_whole()?;
        let file = state.find(from)?;
        state.change_names(vec![(from.to_owned(), None), (to.to_owned(), Some(file))]);
        Ok(())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.enter_whole()?;
        state.find(path)?;
        state.change_names(vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.enter_whole()?;
        if !directory.is_empty() && !state.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = state.names.keys().filter(|path| parent(path) == directory);
        Ok(names.map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()).collect())
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        let mut state = self.state();
        state.enter_whole()?;
        state.directories.insert(directory.to_owned());
        Ok(())
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        let mut state = self.state();
        let lie = match state.enter()? {
            None | Some(Fault::Short) => false,
            Some(Fault::Lie) => true,
            Some(Fault::Full) => return Err(no_space()),
            Some(Fault::Io | Fault::Torn | Fault::Death) => return Err(broken()),
        };
        if !lie {
            let changes = std::mem::take(&mut state.unsynced_names);
            for change in changes {
                if change.directories.iter().any(|touched| touched == directory) {
                    set_names(&mut state.durable_names, change.sets);
                } else {
                    state.unsynced_names.push(change);
                }
            }
        }
        Ok(())
    }

    fn lock(&self, path: &str) -> io::Result<Option<Box<dyn Held>>> {
        let mut state = self.state();
        state.enter_whole()?;
        if !state.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(HeldName { disk: self.clone(), path: path.to_owned(), era: state.era })))
    }

    fn shown(&self, path: &str) -> PathBuf {
        PathBuf::from("memory").join(path)
    }
}

struct HeldName {
    disk: MemoryDisk,
    path: String,
    era: u64,
}

impl Held for HeldName {}

impl Drop for HeldName {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.era == self.era {
            state.locks.remove(&self.path);
        }
    }
}

struct Handle {
    disk: MemoryDisk,
    file: usize,
    era: u64,
}

impl File for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.enter_whole()?;
        Ok(state.file(self)?.cache.read(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let fault = state.enter()?;
        let full = state.full;
        let file = state.file(self)?;
        let half = &bytes[..bytes.len() / 2];
        match fault {
            Some(Fault::Io) => return Err(broken()),
            Some(Fault::Full) => return Err(no_space()),
            Some(Fault::Torn | Fault::Death) => {
                file.write(half, offset);
                return Err(broken());
            }
            _ if full && offset + bytes.len() as u64 > file.cache.length => return Err(no_space()),
            Some(Fault::Short) if !half.is_empty() => {
                file.write(half, offset);
                return Ok(half.len());
            }
            Some(Fault::Short | Fault::Lie) | None => file.write(bytes, offset),
        }
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.enter()?;
        let file = state.file(self)?;
        match fault {
            None | Some(Fault::Short) => file.sync(),
            Some(Fault::Lie) => {}
            // A dead process learns nothing, and its pages may still reach the platter.
            Some(Fault::Death) => return Err(broken()),
            Some(Fault::Full) => {
                file.unsynced.clear();
                return Err(no_space());
            }
            Some(Fault::Io | Fault::Torn) => {
                file.unsynced.clear();
                return Err(broken());
            }
        }
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.enter_whole()?;
        let full = state.full;
        let file = state.file(self)?;
        if length > file.cache.length {
            if full {
                return Err(no_space());
            }
            file.set_length(length);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.enter_whole()?;
        Ok(state.file(self)?.cache.length)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.enter_whole()?;
        state.file(self)?.set_length(length);
        Ok(())
    }
}

fn set_names(names: &mut BTreeMap<String, usize>, sets: Vec<(String, Option<usize>)>) {
    for (path, file) in sets {
        match file {
            Some(file) => names.insert(path, file),
            None => names.remove(&path),
        };
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(28)
}
