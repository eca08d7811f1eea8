//! Where payloads are read from, and what keeps them there.
//!
//! A payload stays in the journal; answers and effects only say where. Whoever is handed such an
//! answer also holds [`Pins`]: a picture of the segments there were, which keeps each of them from
//! being used again until the last reader has let go.
//!
//! What was scheduled together lies together, and is often wanted together: whoever fetches several
//! payloads reads them with one [`Payloads`], which asks the disk once for many.

use std::collections::BTreeMap;
use std::sync::Arc;

use duly_engine::deadline::{Payload, PayloadAt, Stored};
use duly_store::Error;
use duly_store::journal::{Placer, Segment};

use super::threads::fail;

/// The segments there were when an answer was made.
#[derive(Clone, Default)]
pub struct Pins(Arc<BTreeMap<u32, Arc<Segment>>>);

impl Pins {
    /// The segments there are now.
    pub fn of(placer: &Placer) -> Pins {
        let segments = placer
            .segments()
            .filter_map(|info| placer.reader(info.number).map(|segment| (info.number, segment)));
        Pins(Arc::new(segments.collect()))
    }

    /// One of them.
    pub fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        self.0.get(&number).map(Arc::clone)
    }

    /// Are they the very same?
    pub(super) fn are(&self, others: &Pins) -> bool {
        Arc::ptr_eq(&self.0, &others.0)
    }

    /// These and those.
    pub(super) fn with(&self, others: &Pins) -> Pins {
        let mut all = BTreeMap::clone(&others.0);
        all.extend(self.0.iter().map(|(number, segment)| (*number, Arc::clone(segment))));
        Pins(Arc::new(all))
    }

    /// For fetching what is durable by now, one payload after the other.
    pub fn payloads(&self) -> Payloads {
        Payloads { pins: self.clone(), segment: 0, begin: 0, bytes: Vec::new(), filled: 0 }
    }
}

/// How much is read at once where one payload follows another, in bytes.
const TOGETHER: usize = 16 << 10;
/// So far behind the last one the next one is near.
const NEAR: usize = 2 << 10;

/// Fetches payloads that were durable when it was made; of what is written later it knows nothing.
pub struct Payloads {
    pins: Pins,
    /// What was read last: of this segment, from this byte on, so many bytes.
    segment: u32,
    begin: usize,
    bytes: Vec<u8>,
    filled: usize,
}

impl Payloads {
    /// Fetches a payload that is still in the journal. The disk failing to give back what it took is
    /// a fault of the node, not of the request: the process ends.
    pub fn fetch(&mut self, at: &mut PayloadAt) {
        self.read(at).unwrap_or_else(|error| fail("read a payload from the journal", &error));
    }

    /// Fetches a payload that is still in the journal, or says why that cannot be.
    pub fn read(&mut self, at: &mut PayloadAt) -> Result<(), Error> {
        if let PayloadAt::Stored(stored) = at {
            *at = PayloadAt::Here(self.stored(*stored)?);
        }
        Ok(())
    }

    fn stored(&mut self, stored: Stored) -> Result<Payload, Error> {
        let segment = self.pins.0.get(&stored.segment).expect("pins keep every segment they name");
        let (begin, needed) = (stored.offset as usize, stored.bytes as usize);
        let (from, until) = (self.begin, self.begin + self.filled);
        let of_same = stored.segment == self.segment && begin >= from;
        if !(of_same && begin + needed <= until) {
            let is_next = of_same && self.filled > 0 && begin < until + NEAR;
            let wanted = if is_next { needed.max(TOGETHER) } else { needed };
            if self.bytes.len() < wanted {
                self.bytes.resize(wanted, 0);
            }
            // Nothing is known of it if the disk fails.
            self.filled = 0;
            self.filled = segment.read(stored.offset, &mut self.bytes[..wanted], needed)?;
            (self.segment, self.begin) = (stored.segment, begin);
        }
        let at = begin - self.begin;
        let bytes = self.bytes[at..at + needed].into();
        let payload = Payload { kind: stored.kind, bytes };
        if payload.hash() != stored.hash {
            let detail = "a payload is not what was written".to_owned();
            let (file, offset) = (segment.name().into(), u64::from(stored.offset));
            return Err(Error::Corrupt { file, offset, detail });
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use duly_engine::deadline::PayloadKind;
    use duly_store::disk::MemoryDisk;
    use duly_store::journal::{self, Journal, Kind, Options};
    use duly_store::{Directory, FreshIdentity};

    use super::*;

    /// A hundred payloads in a journal, each in a record of its own.
    fn hundred(disk: &MemoryDisk) -> (Pins, Vec<(PayloadAt, Vec<u8>)>) {
        let identity = FreshIdentity { id: *b"payloads", hash_seed: [7; 16] };
        let directory =
            Directory::open(Arc::new(disk.clone()), identity).expect("the disk is well");
        let options = Options { segment_bytes: 16 << 10, reserve: 3 };
        let opened = journal::open(&directory, options, &mut |_| Ok(()));
        let Journal { mut placer, mut writer, mut allocator, .. } = opened.expect("it is new");
        let mut stored = Vec::new();
        for number in 0..100_u8 {
            let bytes = vec![number; 100 + 7 * usize::from(number)];
            while placer.needs_roll(bytes.len()) && placer.roll().is_err() {
                allocator.tick().expect("the disk is well");
            }
            let kind = if placer.needs_base() { Kind::Base } else { Kind::Facts };
            let seq = placer.next_seq();
            let record = placer.place(kind, seq, 1, 1_000, bytes.clone());
            let payload = Payload { kind: PayloadKind::Bytes, bytes: bytes.clone().into() };
            let at = Stored {
                segment: record.segment(),
                offset: record.offset_of_facts(),
                bytes: u32::try_from(bytes.len()).expect("it is small"),
                kind: payload.kind,
                hash: payload.hash(),
            };
            writer.write(record).expect("the disk is well");
            stored.push((PayloadAt::Stored(at), bytes));
        }
        (Pins::of(&placer), stored)
    }

    fn fetched(payloads: &mut Payloads, at: &PayloadAt) -> Vec<u8> {
        let mut at = at.clone();
        payloads.read(&mut at).expect("the disk is well");
        let PayloadAt::Here(payload) = at else { unreachable!("it was stored") };
        payload.bytes.to_vec()
    }

    #[test]
    fn payloads_that_lie_together_are_read_together_and_in_any_order() {
        let disk = MemoryDisk::new();
        let (pins, stored) = hundred(&disk);
        for stride in [1, 3, 7, 99] {
            let mut payloads = pins.payloads();
            let before = disk.calls();
            for nth in 0..stored.len() {
                let (at, bytes) = &stored[nth * stride % stored.len()];
                assert_eq!(&fetched(&mut payloads, at), bytes, "payload {nth} of stride {stride}");
            }
            let calls = disk.calls() - before;
            assert!(stride > 1 || calls < 20, "{calls} reads for a hundred in a row");
        }
    }

    #[test]
    fn what_the_disk_gives_back_changed_is_never_shown() {
        let disk = MemoryDisk::new();
        let (pins, stored) = hundred(&disk);
        let mut payloads = pins.payloads();
        for (at, _) in &stored {
            let PayloadAt::Stored(right) = at else { unreachable!("it was stored") };
            let mut wrong = PayloadAt::Stored(Stored { hash: !right.hash, ..*right });
            let error = payloads.read(&mut wrong).expect_err("it is not what was written");
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        }
    }
}
