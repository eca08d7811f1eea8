//! What recovery says of a journal that was cut, overwritten or flipped, at every place of it.
//!
//! The promise: what is given back is what was written, in order; whatever was proven to be on the
//! disk is given back or named as corrupt; nothing is lost without a word but a tail that could have
//! been torn.

use std::sync::Arc;

use duly_store::Error;
use duly_store::disk::{Disk, Fault, MemoryDisk};
use duly_store::journal::Options;

use crate::clerk::{Clerk, SMALL, Seen};

/// A journal of a sealed segment and an unsealed one, every record synced on its own.
struct Sample {
    disk: MemoryDisk,
    records: Vec<Seen>,
    sealed: String,
    tail: String,
    /// Where the records of the tail begin, and where the last one ends.
    starts: Vec<u64>,
    end: u64,
    /// Where the sealed segment's seal ends.
    sealed_end: u64,
}

const FIRST_RECORD: u64 = 4096;

impl Sample {
    fn new(lengths: &[usize]) -> Sample {
        let disk = MemoryDisk::new();
        let mut clerk = Clerk::open(&disk).expect("it is new");
        let mut turn = lengths.iter().cycle();
        while clerk.journal.placer.segments().len() < 2 {
            clerk.write(*turn.next().expect("it goes round")).expect("the disk is well");
            clerk.sync().expect("the disk is well");
        }
        for length in lengths {
            clerk.write(*length).expect("the disk is well");
            clerk.sync().expect("the disk is well");
        }
        let info: Vec<_> = clerk.journal.placer.segments().collect();
        let [sealed, tail] = info[..] else { panic!("two segments: {info:?}") };
        let name = |number: u32| format!("journal/{number:020}.seg");
        let starts = clerk.records.iter().filter(|record| record.segment == tail.number);
        Sample {
            disk,
            sealed: name(sealed.number),
            tail: name(tail.number),
            starts: starts.map(|record| u64::from(record.offset_of_facts) - 56).collect(),
            end: tail.used,
            sealed_end: sealed.used + 56,
            records: clerk.records,
        }
    }

    /// The records that end at or before this place of the tail.
    fn whole_before(&self, at: u64) -> usize {
        let before = self.starts.iter().skip(1).chain([&self.end]);
        self.records.len() - self.starts.len() + before.filter(|end| **end <= at).count()
    }
}

#[test]
fn a_tail_cut_at_any_byte_is_a_prefix() {
    let sample = Sample::new(&[40, 200, 0, 600, 9]);
    let before = sample.disk.contents(&sample.tail).expect("it is there");
    let mut torn = 0;
    for fill in [0x00, 0xFF, 0x01] {
        for at in FIRST_RECORD..=sample.end {
            let disk = sample.disk.fork();
            let count = usize::try_from(sample.end - at).expect("small");
            assert!(disk.tamper(&sample.tail, at, &vec![fill; count]));
            let clerk = Clerk::open(&disk).expect("a torn tail is no corruption");
            // Where the bytes are zero already, zeros change nothing.
            let same = before[usize::try_from(at).expect("small")..].iter();
            let same = same.take_while(|byte| **byte == fill).count() as u64;
            let whole = sample.whole_before((at + same).min(sample.end));
            assert_eq!(clerk.records, sample.records[..whole], "cut at {at} with {fill:#x}");
            let start = sample.starts.iter().rev().find(|start| **start <= at);
            let is_cut = at + same < sample.end && start.is_some_and(|start| at >= start + 16);
            let has_claim = is_cut && whole == sample.whole_before(at);
            assert!(!has_claim || clerk.report.torn.is_some(), "cut at {at} with {fill:#x}");
            torn += u32::from(clerk.report.torn.is_some());
        }
    }
    assert!(torn > 1000, "{torn} torn tails were reported");
}

#[test]
fn a_hole_below_what_was_proven_is_corruption() {
    let sample = Sample::new(&[40, 200, 0, 600, 9]);
    let last = *sample.starts.last().expect("the tail has records");
    let mut corrupt = 0;
    for at in FIRST_RECORD..sample.end {
        let disk = sample.disk.fork();
        let byte = sample.disk.contents(&sample.tail).expect("it is there")
            [usize::try_from(at).expect("small")];
        assert!(disk.tamper(&sample.tail, at, &[!byte]));
        match Clerk::open(&disk) {
            Ok(clerk) => {
                assert!(at >= last, "byte {at} was proven to be on the disk");
                assert_eq!(clerk.records, sample.records[..sample.records.len() - 1]);
                assert!(clerk.report.torn.is_some(), "byte {at} is lost without a word");
            }
            Err(Error::Corrupt { offset, .. }) => {
                assert!(offset <= at && at < last, "byte {at} was called corrupt at {offset}");
                corrupt += 1;
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(corrupt > 500, "{corrupt} holes were found");
}

#[test]
fn every_flipped_bit_of_a_sealed_segment_is_found_or_harmless() {
    let sample = Sample::new(&[500, 77, 1800, 2500]);
    let length = sample.disk.contents(&sample.sealed).expect("it is there").len() as u64;
    let (mut found, mut harmless) = (0_u64, 0_u64);
    // Behind the seal and behind the header nothing is ever read: a sample of it is enough.
    let used = (0..64).chain(FIRST_RECORD..sample.sealed_end);
    let unused = (64..FIRST_RECORD).chain(sample.sealed_end..length).step_by(61);
    for bit in used.chain(unused).flat_map(|byte| byte * 8..byte * 8 + 8) {
        let disk = sample.disk.fork();
        assert!(disk.flip(&sample.sealed, bit));
        match Clerk::open(&disk) {
            Err(Error::Corrupt { .. }) => found += 1,
            Err(other) => panic!("bit {bit}: {other}"),
            Ok(clerk) => {
                assert_eq!(clerk.records, sample.records, "bit {bit}");
                harmless += 1;
            }
        }
    }
    let checked = (64 + sample.sealed_end - FIRST_RECORD) * 8;
    assert_eq!(found, checked, "every bit that counts is checked");
    assert!(harmless > 0);
}

#[test]
fn a_seal_proves_every_record_before_it_even_when_nothing_follows() {
    let mut proven = 0;
    for nth in 1..12 {
        let disk = MemoryDisk::new();
        let mut clerk = Clerk::open(&disk).expect("it is new");
        for _ in 0..3 {
            clerk.write(3000).expect("the disk is well");
            clerk.sync().expect("the disk is well");
        }
        assert!(clerk.journal.placer.needs_roll(3000), "the next write begins a segment");
        let last = clerk.records.last().expect("records were written").clone();
        let used = clerk.journal.placer.segments().next().expect("there is one").used;
        disk.fail(disk.calls() + nth, Fault::Death);
        if clerk.write(3000).is_ok() {
            break;
        }
        drop(clerk);
        disk.kill();
        let name = "journal/00000000000000000001.seg";
        let seal = usize::try_from(used).expect("small");
        let is_sealed = disk.contents(name).expect("it is there")[seal + 48] == 3;
        assert!(disk.flip(name, u64::from(last.offset_of_facts) * 8));
        let opened = Clerk::open(&disk);
        assert_eq!(matches!(opened, Err(Error::Corrupt { .. })), is_sealed, "call {nth}");
        proven += u32::from(is_sealed);
    }
    assert!(proven > 2, "{proven} times the segment was sealed and no other was there");
}

#[test]
fn a_record_of_another_history_is_not_taken_for_the_one_that_was_written() {
    let disk = MemoryDisk::new();
    let mut clerk = Clerk::open(&disk).expect("it is new");
    clerk.write(100).expect("the disk is well");
    clerk.sync().expect("the disk is well");
    let (here, there) = (disk.fork(), disk.fork());
    let mut place = None;
    for (disk, byte) in [(&here, 1), (&there, 2)] {
        disk.kill();
        let mut clerk = Clerk::open(disk).expect("nothing is wrong");
        clerk.write_facts(vec![byte; 200]).expect("the disk is well");
        clerk.sync().expect("the disk is well");
        place = clerk.records.last().map(|record| (record.segment, record.offset_of_facts));
        for _ in 0..2 {
            clerk.write(50).expect("the disk is well");
            clerk.sync().expect("the disk is well");
        }
    }
    let (segment, offset) = place.expect("just written");
    let name = format!("journal/{segment:020}.seg");
    let start = usize::try_from(offset).expect("small") - 56;
    let foreign = there.contents(&name).expect("it is there")[start..start + 256].to_vec();
    here.kill();
    assert!(here.tamper(&name, start as u64, &foreign));
    let opened = Clerk::open(&here).err();
    assert!(matches!(opened, Some(Error::Corrupt { .. })), "{opened:?}");
}

#[test]
fn every_flipped_bit_of_a_header_of_the_tail_is_found() {
    let sample = Sample::new(&[500]);
    for bit in 0..64 * 8 {
        let disk = sample.disk.fork();
        assert!(disk.flip(&sample.tail, bit));
        let opened = Clerk::open(&disk).err();
        assert!(matches!(opened, Some(Error::Corrupt { .. })), "bit {bit}: {opened:?}");
    }
}

#[test]
fn a_segment_file_that_was_cut_is_corrupt() {
    let sample = Sample::new(&[500]);
    for name in [&sample.sealed, &sample.tail] {
        for length in [0, 1, 63, 64, 4096, 5000, 16_383] {
            let disk = sample.disk.fork();
            assert!(disk.truncate(name, length));
            let opened = Clerk::open(&disk).err();
            assert!(matches!(opened, Some(Error::Corrupt { .. })), "{length}: {opened:?}");
        }
    }
}

#[test]
fn a_segment_that_is_missing_misnamed_or_foreign_is_corrupt() {
    let sample = Sample::new(&[500]);
    let mut clerk = Clerk::open(&sample.disk).expect("nothing is wrong yet");
    while clerk.journal.placer.segments().len() < 4 {
        clerk.write(3000).expect("the disk is well");
    }
    clerk.sync().expect("the disk is well");
    drop(clerk);
    let name = |number: u32| format!("journal/{number:020}.seg");
    let missing = sample.disk.fork();
    missing.unlink(&name(2)).expect("it is there");
    let swapped = sample.disk.fork();
    swapped.rename(&name(2), "journal/aside").expect("it is there");
    swapped.rename(&name(3), &name(2)).expect("it is there");
    swapped.rename("journal/aside", &name(3)).expect("it is there");
    let foreign = sample.disk.fork();
    let other = MemoryDisk::new();
    let directory = duly_store::FreshIdentity { id: *b"clerk-02", hash_seed: [7; 16] };
    drop(duly_store::Directory::open(Arc::new(other.clone()), directory).expect("new"));
    let identity = other.contents("identity").expect("it was written");
    assert!(foreign.tamper("identity", 0, &identity));
    for (what, disk) in [("missing", missing), ("swapped", swapped), ("foreign", foreign)] {
        let opened = Clerk::open(&disk).err();
        assert!(matches!(opened, Some(Error::Corrupt { .. })), "{what}: {opened:?}");
    }
}

#[test]
fn a_segment_of_a_newer_format_is_refused_by_name() {
    let sample = Sample::new(&[500]);
    let mut bytes = sample.disk.contents(&sample.tail).expect("it is there");
    bytes[8] += 1;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    assert!(sample.disk.tamper(&sample.tail, 0, &bytes[..64]));
    let opened = Clerk::open(&sample.disk).err();
    assert!(matches!(opened, Some(Error::NewerFormat { .. })), "{opened:?}");
}

#[test]
fn bytes_chosen_by_a_caller_never_pass_for_a_record() {
    // A whole, valid record of another directory with the same numbers, as a payload.
    let other = Sample::new(&[40, 200, 0, 600, 9]);
    let stolen = other.disk.contents(&other.tail).expect("it is there");
    let stolen = stolen[4096..usize::try_from(other.end).expect("small")].to_vec();
    let disk = MemoryDisk::new();
    let identity = duly_store::FreshIdentity { id: *b"clerk-03", hash_seed: [8; 16] };
    drop(duly_store::Directory::open(Arc::new(disk.clone()), identity).expect("new"));
    let mut clerk = Clerk::open(&disk).expect("it is there");
    clerk.write(10).expect("the disk is well");
    clerk.write_facts(stolen).expect("the disk is well");
    clerk.sync().expect("the disk is well");
    let last = clerk.records.last().expect("just written").clone();
    let written = clerk.records.len();
    drop(clerk);
    let name = format!("journal/{:020}.seg", last.segment);
    assert!(disk.flip(&name, (u64::from(last.offset_of_facts) - 56) * 8));
    let clerk = Clerk::open(&disk).expect("the payload proves nothing");
    assert_eq!(clerk.records.len(), written - 1);
    assert!(clerk.report.torn.is_some());
}

#[test]
fn a_corrupt_journal_is_left_with_every_file_it_had() {
    let sample = Sample::new(&[500, 77, 1800, 2500]);
    assert!(sample.disk.flip(&sample.sealed, (FIRST_RECORD + 60) * 8));
    let files = || {
        let mut names = sample.disk.list("journal").expect("it can be listed");
        names.sort();
        names
    };
    let before = files();
    // Spares of another length would go if it could be opened.
    let larger = Options { segment_bytes: 32 << 10, ..SMALL };
    let opened = Clerk::open_on(Arc::new(sample.disk.clone()), larger);
    assert!(matches!(opened, Err(Error::Corrupt { .. })));
    assert_eq!(files(), before);
}
