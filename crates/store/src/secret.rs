//! The directory's own secret, by which the server knows its own signatures again.
//!
//! Made once, when it is first asked for, and synced before it is used: what was signed with it is
//! known again after a power cut. Only its owner may read the file. The store has no randomness, so
//! the caller brings fresh bytes; nothing here signs anything.

use std::io;

use crate::Error;
use crate::disk::{Disk, Open, read_whole, write_whole};
use crate::lock::{Directory, faults};

/// How long the secret is.
pub const SECRET_BYTES: usize = 32;

const NAME: &str = "links.key";
const DRAFT: &str = "links.key.new";
const MAGIC: &[u8; 8] = b"duly-key";
const LENGTH: usize = MAGIC.len() + SECRET_BYTES + 4;

impl Directory {
    /// The secret of this directory; the fresh bytes become it if there is none yet. Whoever deletes
    /// its file makes all that was signed with it worthless.
    pub fn secret(&self, fresh: [u8; SECRET_BYTES]) -> Result<[u8; SECRET_BYTES], Error> {
        let disk = self.disk().as_ref();
        let fault = faults(disk);
        let names = disk.list("").map_err(fault("list the data directory", ""))?;
        if !names.iter().any(|name| name == NAME) {
            let has_draft = names.iter().any(|name| name == DRAFT);
            create(disk, &fresh, has_draft).map_err(fault("create the key of links", NAME))?;
        }
        // Its name may be there only because nobody has cut the power yet.
        disk.sync_dir("").map_err(fault("sync the data directory", ""))?;
        let mut bytes = [0; LENGTH + 1];
        let length = disk
            .open(NAME, Open::Existing)
            .and_then(|file| read_whole(file.as_ref(), &mut bytes, 0))
            .map_err(fault("read the key of links", NAME))?;
        decode(&bytes[..length]).ok_or_else(|| Error::Corrupt {
            file: disk.shown(NAME),
            offset: 0,
            detail:
                "this is not a key; delete the file to have a new one made, and all links made \
                     with the old one are void"
                    .to_owned(),
        })
    }
}

/// Writes the secret under a draft name first, so that it is there whole or not at all.
fn create(disk: &dyn Disk, secret: &[u8; SECRET_BYTES], has_draft: bool) -> io::Result<()> {
    if has_draft {
        disk.unlink(DRAFT)?;
    }
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(secret);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let file = disk.open(DRAFT, Open::NewSecret)?;
    write_whole(file.as_ref(), &bytes, 0)?;
    file.sync()?;
    disk.rename(DRAFT, NAME)
}

fn decode(bytes: &[u8]) -> Option<[u8; SECRET_BYTES]> {
    let (sealed, crc) = bytes.split_last_chunk::<4>()?;
    if bytes.len() != LENGTH || crc32c::crc32c(sealed) != u32::from_le_bytes(*crc) {
        return None;
    }
    sealed.strip_prefix(MAGIC)?.try_into().ok()
}
