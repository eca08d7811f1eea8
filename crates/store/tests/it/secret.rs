//! The directory's secret: made once, there whole or not at all, and nobody else's to read.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use duly_store::disk::{Fault, MemoryDisk, RealDisk};
use duly_store::{Directory, Error, SECRET_BYTES};

use crate::clerk::IDENTITY;

const FIRST: [u8; SECRET_BYTES] = [0x5a; SECRET_BYTES];
const OTHER: [u8; SECRET_BYTES] = [0xc3; SECRET_BYTES];

fn directory(disk: &MemoryDisk) -> Directory {
    Directory::open(Arc::new(disk.clone()), IDENTITY).expect("the disk is well")
}

#[test]
fn a_directory_keeps_the_secret_it_was_given_first() {
    let disk = MemoryDisk::new();
    assert_eq!(directory(&disk).secret(FIRST).expect("it is made"), FIRST);
    assert_eq!(directory(&disk).secret(OTHER).expect("it is there"), FIRST);
}

#[test]
fn whoever_has_seen_the_secret_finds_it_again_after_any_crash() {
    let whole = MemoryDisk::new();
    drop(directory(&whole));
    let before = whole.calls();
    directory(&whole).secret(FIRST).expect("it is made");
    let (mut seen, mut unseen) = (0, 0);
    for nth in 1..=whole.calls() - before + 1 {
        for seed in 0..16 {
            let disk = MemoryDisk::new();
            drop(directory(&disk));
            let opened = directory(&disk);
            disk.fail(disk.calls() + nth, Fault::Death);
            let told = opened.secret(FIRST).is_ok();
            drop(opened);
            disk.crash(seed);
            let again = directory(&disk).secret(OTHER).expect("it can be used");
            if told {
                assert_eq!(again, FIRST, "call {nth}, seed {seed}");
                seen += 1;
            } else {
                assert!(again == FIRST || again == OTHER);
                unseen += 1;
            }
        }
    }
    assert!(seen > 0 && unseen > 0, "{seen} seen, {unseen} unseen");
}

#[test]
fn every_flipped_bit_of_the_secret_is_found() {
    let disk = MemoryDisk::new();
    directory(&disk).secret(FIRST).expect("it is made");
    let bits = disk.contents("links.key").expect("it was written").len() as u64 * 8;
    for bit in 0..bits {
        disk.flip("links.key", bit);
        let found = directory(&disk).secret(OTHER);
        assert!(matches!(found, Err(Error::Corrupt { .. })), "bit {bit}: {found:?}");
        disk.flip("links.key", bit);
    }
}

#[test]
fn only_the_owner_may_read_the_secret() {
    let root = tempfile::tempdir().expect("a directory for this test");
    let disk = RealDisk::open(root.path()).expect("the root opens");
    let directory = Directory::open(Arc::new(disk), IDENTITY).expect("it is new");
    directory.secret(FIRST).expect("it is made");
    let file = std::fs::metadata(root.path().join("links.key")).expect("it is there");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}
