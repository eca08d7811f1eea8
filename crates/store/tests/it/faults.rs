//! Every call that can fail, failing; every moment the power can go, gone.
//!
//! One script of writes, syncs, new segments and freed ones is run again and again. Whatever happens
//! to it, what a sync was told for must be there when the journal is opened again, and what is there
//! must be a part of what was written, in order.

use duly_store::Error;
use duly_store::disk::{Fault, MemoryDisk};
use duly_store::journal::Progress;

use crate::clerk::{Clerk, Seen};

/// What an ended process left behind in the memory of its clients.
#[derive(Default)]
struct Told {
    /// Everything it tried to write.
    written: Vec<Seen>,
    /// The highest sequence it was told is durable.
    durable: u64,
    /// Segments up to this number were freed: their records may be gone.
    freed: u32,
    /// How many torn tails were reported.
    torn: u32,
}

impl Told {
    /// Checks what a replay gave back against what was promised.
    fn check(&self, replayed: &[Seen], context: &str) {
        let Some(first) = replayed.first() else {
            assert_eq!(self.durable, 0, "{context}: everything is gone");
            return;
        };
        let start = self.written.iter().position(|record| record == first);
        let start = start.unwrap_or_else(|| panic!("{context}: {first:?} was never written"));
        let before = start.checked_sub(1).map(|index| &self.written[index]);
        assert!(
            before.is_none_or(|record| record.segment <= self.freed),
            "{context}: the front is gone"
        );
        let end = start + replayed.len();
        assert!(end <= self.written.len(), "{context}: more came back than was written");
        assert!(replayed == &self.written[start..end], "{context}: not what was written");
        let last = replayed.last().map_or(0, Seen::last_seq);
        assert!(last >= self.durable, "{context}: {last} of {} came back", self.durable);
    }
}

/// Runs the script until it ends or something fails.
fn run(disk: &MemoryDisk, told: &mut Told, steps: usize) -> Result<(), Error> {
    let mut clerk = Clerk::open(disk)?;
    told.check(&clerk.records, "at the start of a run");
    // What was replayed is served: from here on it counts as told.
    told.written.clone_from(&clerk.records);
    told.durable = clerk.records.last().map_or(0, Seen::last_seq);
    told.torn += u32::from(clerk.report.torn.is_some());
    let known = clerk.records.len();
    let result = work(&mut clerk, told, steps);
    told.written.extend(clerk.records.drain(known..));
    result
}

fn work(clerk: &mut Clerk, told: &mut Told, steps: usize) -> Result<(), Error> {
    for step in 0..steps {
        clerk.write([700, 30, 2100, 0, 1300, 64, 3000][step % 7])?;
        if step % 3 != 1 {
            told.durable = clerk.sync()?;
        }
        while clerk.journal.placer.segments().len() > 1 + step % 2
            && let Some(oldest) = clerk.journal.placer.oldest().filter(|oldest| oldest.sealed)
        {
            clerk.journal.placer.free_oldest();
            told.freed = oldest.number;
        }
        if step % 2 == 0 {
            while matches!(clerk.journal.allocator.tick()?, Progress::Worked | Progress::Filled) {}
        }
    }
    Ok(())
}

const STEPS: usize = 63;

/// How many calls an undisturbed run makes.
fn calls_of_a_run() -> u64 {
    let disk = MemoryDisk::new();
    let mut told = Told::default();
    run(&disk, &mut told, STEPS).expect("nothing goes wrong");
    assert!(told.freed >= 2, "the script frees segments");
    disk.calls()
}

#[test]
fn what_was_told_survives_any_one_failing_call() {
    let calls = calls_of_a_run();
    assert!(calls > 200, "the script makes {calls} calls");
    let mut failed = 0;
    for fault in [Fault::Io, Fault::Full, Fault::Short, Fault::Torn, Fault::Death] {
        for nth in 1..=calls {
            let disk = MemoryDisk::new();
            disk.fail(nth, fault);
            let mut told = Told::default();
            failed += u32::from(run(&disk, &mut told, STEPS).is_err());
            let context = format!("{fault:?} at call {nth}");
            for seed in 0..3 {
                let cut = disk.fork();
                cut.crash(nth * 31 + seed);
                reopen_and_check(&cut, &told, &context);
            }
            disk.kill();
            reopen_and_check(&disk, &told, &context);
        }
    }
    assert!(u64::from(failed) > calls * 3, "{failed} runs ended by a failure");
}

#[test]
fn after_one_failure_the_writer_never_writes_again() {
    for fault in [Fault::Io, Fault::Full, Fault::Torn] {
        for is_sync in [false, true] {
            let disk = MemoryDisk::new();
            let mut clerk = Clerk::open(&disk).expect("it is new");
            clerk.write(100).expect("the disk is well");
            disk.fail(disk.calls() + 1, fault);
            let failed = if is_sync { clerk.sync().map(|_| ()) } else { clerk.write(100) };
            assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
            assert_eq!(failed.err().map(|error| error.exit_status()), Some(74));
            let calls = disk.calls();
            assert!(clerk.sync().is_err(), "a second sync would prove nothing");
            assert!(clerk.write(100).is_err());
            assert_eq!(disk.calls(), calls, "the disk is not touched again");
        }
    }
}

#[test]
fn what_a_failed_sync_left_in_the_cache_is_not_served_until_it_is_on_the_disk() {
    let calls = calls_of_a_run();
    let mut differed = 0;
    for nth in 1..=calls {
        let disk = MemoryDisk::new();
        disk.fail(nth, Fault::Io);
        let mut told = Told::default();
        let _failed = run(&disk, &mut told, STEPS);
        disk.kill();
        let served = Clerk::open(&disk).expect("the fault is over").records;
        told.check(&served, &format!("a failure at call {nth}"));
        differed += u32::from(served.last().map_or(0, Seen::last_seq) > told.durable);
        for seed in 0..8 {
            let cut = disk.fork();
            cut.crash(seed);
            let again = Clerk::open(&cut).expect("a power cut is no corruption").records;
            assert_eq!(again, served, "a failure at call {nth}, then a power cut, seed {seed}");
        }
    }
    assert!(differed > 10, "{differed} times the cache showed more than was told");
}

#[test]
fn a_recovery_that_is_interrupted_anywhere_can_be_done_again() {
    let disk = MemoryDisk::new();
    let mut told = Told::default();
    run(&disk, &mut told, STEPS).expect("nothing goes wrong");
    disk.crash(2);
    let before = disk.calls();
    drop(Clerk::open(&disk.fork()).expect("a power cut is no corruption"));
    let whole = disk.fork();
    drop(Clerk::open(&whole).expect("a power cut is no corruption"));
    let calls = whole.calls() - before;
    for fault in [Fault::Death, Fault::Io, Fault::Torn, Fault::Full] {
        for nth in 1..=calls {
            for seed in 0..6 {
                let disk = disk.fork();
                disk.fail(before + nth, fault);
                let _failed = Clerk::open(&disk);
                disk.crash(seed);
                let context = format!("recovery interrupted by {fault:?} at call {nth}");
                reopen_and_check(&disk, &told, &context);
            }
        }
    }
    assert!(calls > 20, "recovery makes {calls} calls");
}

#[test]
fn power_cuts_one_after_another_lose_nothing_that_was_told() {
    let (mut cuts, mut torn) = (0, 0);
    for seed in 0..400 {
        let disk = MemoryDisk::new();
        let mut told = Told::default();
        for round in 0..5_u64 {
            let moment = disk.calls() + 1 + (seed * 37 + round * 101) % 260;
            disk.fail(moment, Fault::Death);
            let ended = run(&disk, &mut told, STEPS);
            disk.crash(seed * 5 + round);
            cuts += u32::from(ended.is_err());
        }
        reopen_and_check(&disk, &told, &format!("seed {seed}"));
        torn += told.torn;
    }
    assert!(cuts > 1000, "{cuts} power cuts");
    assert!(torn > 100, "{torn} torn tails");
}

fn reopen_and_check(disk: &MemoryDisk, told: &Told, context: &str) {
    let clerk = match Clerk::open(disk) {
        Ok(clerk) => clerk,
        Err(error) => panic!("{context}: {error}"),
    };
    told.check(&clerk.records, context);
}
