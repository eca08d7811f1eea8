//! The identity file of a data directory.

use std::sync::Arc;

use duly_store::disk::{Disk, MemoryDisk, Open};
use duly_store::{Directory, Error, FreshIdentity};

use super::Fate;

const FRESH: FreshIdentity = FreshIdentity { id: [1; 8], hash_seed: [2; 16] };
/// What a checksum is over.
const SEALED: usize = 36;

/// The input is the file, as it is and with its checksum made right.
pub(super) fn feed(input: &[u8]) -> Fate {
    let as_it_is = open(input);
    let Some(sealed) = input.get(..SEALED) else { return as_it_is };
    let mut right = sealed.to_vec();
    right.extend_from_slice(&crc32c::crc32c(sealed).to_le_bytes());
    let made_right = open(&right);
    assert!(!as_it_is.taken || input == right, "an identity with a wrong checksum was taken");
    made_right
}

fn open(bytes: &[u8]) -> Fate {
    let disk = MemoryDisk::new();
    let file = disk.open("identity", Open::New).expect("memory takes everything");
    let written = file.write_at(bytes, 0).expect("memory takes everything");
    assert_eq!(written, bytes.len(), "memory takes everything at once");
    match Directory::open(Arc::new(disk.clone()), FRESH) {
        Ok(directory) => {
            assert_eq!(directory.id(), bytes[12..20], "the directory is another");
            assert_eq!(directory.hash_seed(), bytes[20..36], "the seed is another");
            assert!(!directory.is_new(), "an identity was lost");
            assert_eq!(disk.contents("identity").as_deref(), Some(bytes), "it was changed");
            Fate::taken(0)
        }
        Err(Error::NewerFormat { found, known, .. }) => {
            assert!(found > known, "version {found} is not newer than {known}");
            Fate::refused("newer")
        }
        Err(Error::Corrupt { detail, .. }) => Fate::refused(detail),
        Err(other) => panic!("an identity is right, damaged or newer: {other}"),
    }
}
