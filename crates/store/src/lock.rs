//! One data directory: who may use it, and which one it is.
//!
//! The lock admits one process at a time. The identity file gives the directory an id that is unique
//! for ever (delivery ids begin with it), a seed for every hash over keys, and the format version.
//! The store has no randomness: the caller brings fresh random bytes, used only when the directory is
//! new.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::Error;
use crate::disk::{Disk, Held, Open, read_whole, write_whole};

/// The version of everything this build writes: identity file and journal segments.
pub const FORMAT_VERSION: u32 = 2;

const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
const IDENTITY_DRAFT: &str = "identity.new";
const MAGIC: &[u8; 8] = b"duly-dir";
const IDENTITY_BYTES: usize = 40;

/// Random bytes for a directory that does not have an identity yet.
#[derive(Clone, Copy)]
pub struct FreshIdentity {
    /// Becomes [`Directory::id`].
    pub id: [u8; 8],
    /// Becomes [`Directory::hash_seed`].
    pub hash_seed: [u8; 16],
}

/// A locked data directory.
pub struct Directory {
    disk: Arc<dyn Disk>,
    id: [u8; 8],
    hash_seed: [u8; 16],
    is_new: bool,
    _lock: Box<dyn Held>,
}

impl Directory {
    /// Locks the directory and reads who it is, or makes it somebody.
    ///
    /// A directory that has a journal but no identity is [`Error::Corrupt`]: giving it a new one
    /// would make delivery ids repeat.
    pub fn open(disk: Arc<dyn Disk>, fresh: FreshIdentity) -> Result<Directory, Error> {
        let fault = faults(disk.as_ref());
        let lock = take(disk.as_ref())?;
        let names = disk.list("").map_err(fault("list the data directory", ""))?;
        let is_new = !names.iter().any(|name| name == IDENTITY);
        if is_new {
            refuse_orphans(disk.as_ref())?;
            create(disk.as_ref(), fresh, names.iter().any(|name| name == IDENTITY_DRAFT))
                .map_err(fault("create the identity of the data directory", IDENTITY))?;
        }
        // Its name may be there only because nobody has cut the power yet.
        disk.sync_dir("").map_err(fault("sync the data directory", ""))?;
        drop(fault);
        let (id, hash_seed) = read_identity(disk.as_ref())?;
        Ok(Directory { disk, id, hash_seed, is_new, _lock: lock })
    }

    /// Locks the directory and reads who it is; none if it is nobody yet. Changes nothing.
    pub fn existing(disk: Arc<dyn Disk>) -> Result<Option<Directory>, Error> {
        let lock = take(disk.as_ref())?;
        let names = disk.list("").map_err(faults(disk.as_ref())("list the data directory", ""))?;
        if !names.iter().any(|name| name == IDENTITY) {
            refuse_orphans(disk.as_ref())?;
            return Ok(None);
        }
        let (id, hash_seed) = read_identity(disk.as_ref())?;
        Ok(Some(Directory { disk, id, hash_seed, is_new: false, _lock: lock }))
    }

    /// Eight random bytes that no other directory has.
    pub fn id(&self) -> [u8; 8] {
        self.id
    }

    /// Sixteen random bytes, secret from whoever chooses keys.
    pub fn hash_seed(&self) -> [u8; 16] {
        self.hash_seed
    }

    /// True when this call to [`Directory::open`] created it.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The disk it lives on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("root", &self.disk.shown("")).finish_non_exhaustive()
    }
}

/// Makes an [`Error`] of what the disk says.
pub(crate) fn faults(disk: &dyn Disk) -> impl Fn(&'static str, &str) -> Fault + '_ {
    |what, path| {
        let path = disk.shown(path);
        Box::new(move |source| Error::Io { what, path, source })
    }
}

pub(crate) type Fault = Box<dyn FnOnce(io::Error) -> Error>;

fn take(disk: &dyn Disk) -> Result<Box<dyn Held>, Error> {
    disk.lock(LOCK)
        .map_err(faults(disk)("lock the data directory", LOCK))?
        .ok_or_else(|| Error::Locked { path: disk.shown(LOCK) })
}

/// A journal whose directory has no identity is nobody's.
fn refuse_orphans(disk: &dyn Disk) -> Result<(), Error> {
    let journal = match disk.list(crate::journal::DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        result => result.map_err(faults(disk)("list the journal", crate::journal::DIRECTORY))?,
    };
    if journal.is_empty() {
        return Ok(());
    }
    Err(Error::Corrupt {
        file: disk.shown(IDENTITY),
        offset: 0,
        detail: "there is a journal, but its directory has lost its identity".into(),
    })
}

fn read_identity(disk: &dyn Disk) -> Result<([u8; 8], [u8; 16]), Error> {
    // One more than there should be, so that a longer file is seen.
    let mut bytes = [0; IDENTITY_BYTES + 1];
    let length = disk
        .open(IDENTITY, Open::Existing)
        .and_then(|file| read_whole(file.as_ref(), &mut bytes, 0))
        .map_err(faults(disk)("read the identity of the data directory", IDENTITY))?;
    decode(disk, &bytes[..length])
}

/// Writes the identity under a draft name first, so that it is there whole or not at all.
fn create(disk: &dyn Disk, fresh: FreshIdentity, has_draft: bool) -> io::Result<()> {
    if has_draft {
        disk.unlink(IDENTITY_DRAFT)?;
    }
    let mut bytes = Vec::with_capacity(IDENTITY_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&fresh.id);
    bytes.extend_from_slice(&fresh.hash_seed);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let file = disk.open(IDENTITY_DRAFT, Open::New)?;
    write_whole(file.as_ref(), &bytes, 0)?;
    file.sync()?;
    disk.rename(IDENTITY_DRAFT, IDENTITY)
}

fn decode(disk: &dyn Disk, bytes: &[u8]) -> Result<([u8; 8], [u8; 16]), Error> {
    let corrupt = |detail: &str| Error::Corrupt {
        file: disk.shown(IDENTITY),
        offset: 0,
        detail: detail.to_owned(),
    };
    let Some((sealed, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(corrupt("the identity is cut short"));
    };
    if bytes.len() != IDENTITY_BYTES || crc32c::crc32c(sealed) != u32::from_le_bytes(*crc) {
        return Err(corrupt("the identity does not match its checksum"));
    }
    if !sealed.starts_with(MAGIC) {
        return Err(corrupt("this is not a data directory of Duly"));
    }
    let version = u32::from_le_bytes(sealed[8..12].try_into().expect("four bytes"));
    if version > FORMAT_VERSION {
        return Err(Error::NewerFormat {
            file: disk.shown(IDENTITY),
            found: version,
            known: FORMAT_VERSION,
        });
    }
    let id = sealed[12..20].try_into().expect("eight bytes");
    let hash_seed = sealed[20..36].try_into().expect("sixteen bytes");
    Ok((id, hash_seed))
}
