//! Where payloads are read from, and what keeps them there.
//!
//! A payload stays in the journal; answers and effects only say where. Whoever is handed such an
//! answer also holds [`Pins`]: a picture of the segments there were, which keeps each of them from
//! being used again until the last reader has let go.

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

    /// Fetches a payload that is still in the journal. The disk failing to give back what it took is
    /// a fault of the node, not of the request: the process ends.
    pub fn fetch(&self, at: &mut PayloadAt) {
        self.read(at).unwrap_or_else(|error| fail("read a payload from the journal", &error));
    }

    /// Fetches a payload that is still in the journal, or says why that cannot be.
    pub fn read(&self, at: &mut PayloadAt) -> Result<(), Error> {
        if let PayloadAt::Stored(stored) = at {
            *at = PayloadAt::Here(self.stored(*stored)?);
        }
        Ok(())
    }

    fn stored(&self, stored: Stored) -> Result<Payload, Error> {
        let segment = self.0.get(&stored.segment).expect("pins keep every segment they name");
        let mut bytes = vec![0; stored.bytes as usize];
        segment.read(stored.offset, &mut bytes)?;
        let payload = Payload { kind: stored.kind, bytes: bytes.into() };
        if payload.hash() != stored.hash {
            let detail = "a payload is not what was written".to_owned();
            let (file, offset) = (segment.name().into(), u64::from(stored.offset));
            return Err(Error::Corrupt { file, offset, detail });
        }
        Ok(payload)
    }
}
