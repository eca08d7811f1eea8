//! Writing, replaying, freeing and reading on a disk that behaves.

use std::sync::{Arc, mpsc};
use std::thread;

use duly_store::disk::{MemoryDisk, RealDisk};
use duly_store::journal::{Allocator, Journal, Placer, Progress, Writer};

use crate::clerk::{Clerk, SMALL, Seen};

#[test]
fn everything_synced_is_replayed_in_order_at_its_place() {
    let root = tempfile::tempdir().expect("a directory for this test");
    let memory: Arc<dyn duly_store::disk::Disk> = Arc::new(MemoryDisk::new());
    let real: Arc<dyn duly_store::disk::Disk> =
        Arc::new(RealDisk::open(root.path()).expect("the root opens"));
    for disk in [memory, real] {
        let mut written = Vec::new();
        for round in 0..4 {
            let mut clerk = Clerk::open_on(Arc::clone(&disk), SMALL).expect("the disk is well");
            assert_eq!(clerk.records, written, "round {round}");
            assert_eq!(clerk.report.torn, None);
            for length in [0, 1, 7, 8, 300, 5000, 2000, 64, 4000, 3999] {
                clerk.write(length).expect("the disk is well");
                let durable = clerk.sync().expect("the disk is well");
                assert_eq!(Some(durable), clerk.records.last().map(Seen::last_seq));
            }
            written = clerk.records;
        }
        let last = written.last().expect("records were written");
        assert!(last.segment > 5, "the test crosses several segments");
    }
}

#[test]
fn a_payload_is_read_back_from_where_it_was_placed() {
    let mut clerk = Clerk::open(&MemoryDisk::new()).expect("it is new");
    for length in [10, 3000, 3000, 3000, 3000, 3000, 17] {
        clerk.write(length).expect("the disk is well");
    }
    for record in &clerk.records {
        let segment = clerk.journal.placer.reader(record.segment).expect("nothing was freed");
        let mut facts = vec![0; record.facts.len()];
        segment
            .read(record.offset_of_facts, &mut facts, record.facts.len())
            .expect("the disk is well");
        assert_eq!(facts, record.facts);
    }
}

#[test]
fn a_sealed_segment_can_be_scanned_and_freed_and_its_file_is_used_again() {
    let disk = MemoryDisk::new();
    let mut clerk = Clerk::open(&disk).expect("it is new");
    let mut largest_number = 0;
    for _ in 0..300 {
        clerk.write(1000).expect("the disk is well");
        clerk.sync().expect("the disk is well");
        while let Some(oldest) = clerk.journal.placer.oldest().filter(|oldest| oldest.sealed) {
            let segment = clerk.journal.placer.reader(oldest.number).expect("it is there");
            let mut scan = segment.scan().expect("the disk is well");
            let mut scanned = Vec::new();
            while let Some(record) = scan.next_record().expect("nothing is corrupt") {
                scanned.push(Seen::of(&record));
            }
            let (old, new): (Vec<Seen>, Vec<Seen>) =
                clerk.records.into_iter().partition(|record| record.segment == oldest.number);
            assert_eq!(scanned, old);
            clerk.records = new;
            clerk.journal.placer.free_oldest();
            largest_number = largest_number.max(oldest.number);
            drop(segment);
        }
        while clerk.journal.allocator.tick().expect("the disk is well") != Progress::Idle {}
    }
    assert!(largest_number > 20, "the test reuses files many times");
    let files = duly_store::disk::Disk::list(&disk, "journal").expect("the disk is well");
    assert!(files.len() <= 8, "files are used again: {files:?}");
    let written = std::mem::take(&mut clerk.records);
    drop(clerk);
    let clerk = Clerk::open(&disk).expect("stale bytes are not records");
    assert_eq!(clerk.records, written);
    assert_eq!(clerk.report.torn, None);
}

#[test]
fn a_freed_segment_stays_readable_until_its_last_reader_is_gone() {
    let mut clerk = Clerk::open(&MemoryDisk::new()).expect("it is new");
    for _ in 0..20 {
        clerk.write(2000).expect("the disk is well");
    }
    clerk.sync().expect("the disk is well");
    let first = clerk.records[1].clone();
    let reader = clerk.journal.placer.reader(first.segment).expect("it is there");
    clerk.journal.placer.free_oldest();
    assert!(clerk.journal.placer.reader(first.segment).is_none());
    for _ in 0..20 {
        while clerk.journal.allocator.tick().expect("the disk is well") != Progress::Idle {}
        clerk.write(2000).expect("the disk is well");
    }
    let mut facts = vec![0; first.facts.len()];
    reader.read(first.offset_of_facts, &mut facts, first.facts.len()).expect("the disk is well");
    assert_eq!(facts, first.facts);
}

#[test]
fn a_full_disk_means_no_spares_and_gets_better_without_a_restart() {
    let disk = MemoryDisk::new();
    let mut clerk = Clerk::open(&disk).expect("it is new");
    disk.set_full(true);
    while clerk.journal.placer.spares() > 0 {
        clerk.write(3000).expect("reserved space can be written");
        clerk.sync().expect("the disk is well");
    }
    while clerk.journal.allocator.tick().expect("a full disk is no fault") != Progress::Full {}
    assert_eq!(clerk.journal.allocator.tick().expect("a full disk is no fault"), Progress::Full);
    while !clerk.journal.placer.needs_roll(3000) {
        clerk.write(3000).expect("reserved space can be written");
    }
    clerk.sync().expect("the disk is well");
    assert!(clerk.journal.placer.roll().is_err(), "there is no spare");
    let written = std::mem::take(&mut clerk.records);
    drop(clerk);
    let mut clerk = Clerk::open(&disk).expect("recovery has a spare of its own");
    assert_eq!(clerk.records, written);
    disk.set_full(false);
    clerk.write(3000).expect("there is room again");
}

#[test]
fn who_wants_more_spares_waits_for_a_slow_disk_and_not_for_a_full_one() {
    let disk = MemoryDisk::new();
    let mut clerk = Clerk::open(&disk).expect("it is new");
    for is_full in [false, true] {
        while clerk.journal.placer.spares() > 0 {
            clerk.write(3000).expect("reserved space can be written");
        }
        clerk.sync().expect("the disk is well");
        disk.set_full(is_full);
        let Journal { placer, allocator, .. } = &mut clerk.journal;
        let (waits, is_waiting) = mpsc::channel();
        let spares = thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                waits.send(()).expect("somebody listens");
                placer.wait_for_spares(SMALL.reserve);
                placer.spares()
            });
            is_waiting.recv().expect("it is about to wait");
            let most = if is_full { Progress::Full } else { Progress::Idle };
            while allocator.tick().expect("a full disk is no fault") != most {}
            waiting.join().expect("no panic")
        });
        assert_eq!(spares, if is_full { 0 } else { SMALL.reserve });
    }
}

#[test]
fn the_length_of_segments_can_change_between_two_runs() {
    let disk = Arc::new(MemoryDisk::new());
    let mut written = Vec::new();
    for kib in [16, 64, 32, 16] {
        let options = duly_store::journal::Options { segment_bytes: kib << 10, ..SMALL };
        let mut clerk = Clerk::open_on(disk.clone(), options).expect("old segments stay readable");
        assert_eq!(clerk.records, written);
        for _ in 0..40 {
            clerk.write(1500).expect("the disk is well");
        }
        clerk.sync().expect("the disk is well");
        written = clerk.records;
    }
}

#[test]
fn each_part_can_go_to_its_own_thread() {
    fn sendable<T: Send>() {}
    sendable::<Placer>();
    sendable::<Writer>();
    sendable::<Allocator>();
    sendable::<duly_store::journal::Placed>();
}
