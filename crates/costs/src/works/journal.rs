//! The journal over a disk in memory: records placed, written with their checksums and synced, and
//! read again. What the disk in memory does for itself is counted too; it copies bytes.

use std::sync::Arc;

use duly_engine::command::Show;
use duly_store::disk::MemoryDisk;
use duly_store::journal::{self, Journal, Kind, Options};
use duly_store::{Directory, FreshIdentity};

use super::{Named, Work};
use crate::shop::{Shop, far};

const IDENTITY: FreshIdentity = FreshIdentity { id: *b"costs-01", hash_seed: [7; 16] };
/// What a record takes besides its facts, and more.
const OVERHEAD: usize = 128;

pub(super) const WORKS: [Named; 3] = [
    Named { name: "journal/append 1 fact", slice: 1_000, begin: || Records::begin(1, false) },
    Named { name: "journal/append 500 facts", slice: 20, begin: || Records::begin(500, false) },
    Named { name: "journal/read 500 facts", slice: 20, begin: || Records::begin(500, true) },
];

struct Records {
    reads: bool,
    count: u32,
    facts: Vec<u8>,
    ready: Vec<Vec<u8>>,
    many: usize,
    seen: usize,
    journal: Journal,
    // Dropped last: its lock outlives the journal's parts.
    directory: Directory,
}

impl Records {
    /// Records of so many schedules.
    fn begin(count: usize, is_read: bool) -> Box<dyn Work> {
        let shop = Shop::new();
        let schedule = |number| shop.schedule(number, far(number), Show::Nothing);
        let (_, facts) = shop.open(0).facts((0..count).map(schedule).collect());
        let (journal, directory) = opened(journal::MIN_SEGMENT_BYTES);
        let count = u32::try_from(count).expect("it is small");
        Box::new(Records {
            reads: is_read,
            count,
            facts,
            ready: Vec::new(),
            many: 0,
            seen: 0,
            journal,
            directory,
        })
    }

    fn append(&mut self, kind: Kind, facts: Vec<u8>) {
        let Journal { placer, writer, .. } = &mut self.journal;
        let placed = placer.place(kind, placer.next_seq(), self.count, 1_000_000, facts);
        writer.write(placed).expect("memory takes it");
        writer.sync().expect("memory has it");
    }
}

/// A new journal on a new disk.
fn opened(segment_bytes: u64) -> (Journal, Directory) {
    let disk = Arc::new(MemoryDisk::new());
    let directory = Directory::open(disk, IDENTITY).expect("a new disk can be taken");
    let options = Options { segment_bytes, reserve: 1 };
    let journal = journal::open(&directory, options, &mut |_| Ok(()));
    (journal.expect("an empty journal can be opened"), directory)
}

impl Work for Records {
    fn prepare(&mut self, many: usize) {
        // One segment that is nearly full: empty room would be looked through for what was torn.
        let bytes = (many + 2) * (self.facts.len() + OVERHEAD);
        (self.journal, self.directory) = opened(journal::MIN_SEGMENT_BYTES.max(bytes as u64));
        while self.journal.placer.roll().is_err() {
            self.journal.allocator.tick().expect("memory has room");
        }
        self.append(Kind::Base, vec![7; 24]);
        self.many = many;
        self.seen = 0;
        self.ready = vec![self.facts.clone(); many];
        if self.reads {
            for facts in std::mem::take(&mut self.ready) {
                self.append(Kind::Facts, facts);
            }
        }
    }

    fn run(&mut self) {
        for facts in std::mem::take(&mut self.ready) {
            self.append(Kind::Facts, facts);
        }
        if self.reads {
            let mut seen = 0;
            let mut see = |record: journal::RecordView<'_>| {
                seen += usize::from(record.kind == Kind::Facts);
                Ok(())
            };
            let examined = journal::examine(&self.directory, &mut see, &mut |_, _| ());
            assert!(examined.is_ok_and(|it| it.faults.is_empty()), "what was written can be read");
            self.seen = seen;
        }
    }

    fn check(&self) {
        let last = u64::from(self.count) * (self.many as u64 + 1);
        assert_eq!(self.journal.writer.durable_seq(), last, "not all is on the disk");
        assert!(!self.reads || self.seen == self.many, "not all was read");
    }
}
