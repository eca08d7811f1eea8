//! One process, one identity, one format.

use std::sync::Arc;

use duly_store::disk::{Disk, MemoryDisk, Open, RealDisk};
use duly_store::{Directory, Error, FORMAT_VERSION, FreshIdentity};

use crate::clerk::{Clerk, IDENTITY};

#[test]
fn a_second_process_is_told_that_the_directory_is_locked() {
    let root = tempfile::tempdir().expect("a directory for this test");
    let disks: [Arc<dyn Disk>; 2] = [
        Arc::new(MemoryDisk::new()),
        Arc::new(RealDisk::open(root.path()).expect("the root opens")),
    ];
    for disk in disks {
        let first = Directory::open(Arc::clone(&disk), IDENTITY).expect("it is free");
        let second = Directory::open(Arc::clone(&disk), IDENTITY);
        assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
        drop(first);
        Directory::open(disk, IDENTITY).expect("it is free again");
    }
}

#[test]
fn a_directory_keeps_the_identity_it_was_born_with() {
    let disk = Arc::new(MemoryDisk::new());
    let born = Directory::open(disk.clone(), IDENTITY).expect("it is new");
    assert!(born.is_new());
    drop(born);
    let other = FreshIdentity { id: *b"clerk-02", hash_seed: [9; 16] };
    let again = Directory::open(disk, other).expect("it is there");
    assert!(!again.is_new());
    assert_eq!(again.id(), IDENTITY.id);
    assert_eq!(again.hash_seed(), IDENTITY.hash_seed);
}

#[test]
fn a_crash_while_a_directory_is_born_leaves_none_or_one() {
    let whole = MemoryDisk::new();
    drop(Directory::open(Arc::new(whole.clone()), IDENTITY).expect("it is new"));
    for nth in 1..=whole.calls() {
        for seed in 0..16 {
            let disk = MemoryDisk::new();
            disk.fail(nth, duly_store::disk::Fault::Death);
            let born = Directory::open(Arc::new(disk.clone()), IDENTITY);
            drop(born);
            disk.crash(seed);
            let again = Directory::open(Arc::new(disk), IDENTITY).expect("it can be used");
            assert_eq!(again.id(), IDENTITY.id);
        }
    }
}

#[test]
fn every_flipped_bit_of_the_identity_is_found() {
    let whole = MemoryDisk::new();
    drop(Directory::open(Arc::new(whole.clone()), IDENTITY).expect("it is new"));
    let bytes = whole.contents("identity").expect("it was written").len() as u64;
    for bit in 0..bytes * 8 {
        let disk = whole.fork();
        assert!(disk.flip("identity", bit));
        let opened = Directory::open(Arc::new(disk), IDENTITY);
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "bit {bit}: {opened:?}");
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let disk = MemoryDisk::new();
    drop(Directory::open(Arc::new(disk.clone()), IDENTITY).expect("it is new"));
    let mut bytes = disk.contents("identity").expect("it was written");
    let newer = FORMAT_VERSION + 1;
    bytes[8..12].copy_from_slice(&newer.to_le_bytes());
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
    assert!(disk.tamper("identity", 0, &bytes));
    let opened = Directory::open(Arc::new(disk), IDENTITY);
    let is_named = matches!(
        opened,
        Err(Error::NewerFormat { found, known: FORMAT_VERSION, .. }) if found == newer
    );
    assert!(is_named, "{opened:?}");
    assert_eq!(opened.err().map(|error| error.exit_status()), Some(65));
}

#[test]
fn an_identity_with_something_behind_it_is_damaged() {
    let disk = MemoryDisk::new();
    drop(Directory::open(Arc::new(disk.clone()), IDENTITY).expect("the disk is good"));
    let whole = disk.contents("identity").expect("it was written");
    let file = disk.open("identity", Open::Existing).expect("it is there");
    file.write_at(b"!", whole.len() as u64).expect("memory takes everything");
    let opened = Directory::open(Arc::new(disk), IDENTITY);
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
}

#[test]
fn a_journal_without_an_identity_is_not_given_a_new_one() {
    let disk = MemoryDisk::new();
    let mut clerk = Clerk::open(&disk).expect("it is new");
    clerk.write(100).expect("the disk is well");
    drop(clerk);
    disk.unlink("identity").expect("it is there");
    let opened = Clerk::open(&disk).err();
    assert!(matches!(opened, Some(Error::Corrupt { .. })), "{opened:?}");
}
