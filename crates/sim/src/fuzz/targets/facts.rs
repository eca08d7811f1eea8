//! Facts: the bytes of the journal's records.

use std::mem::discriminant;

use duly_engine::deadline::Payload;
use duly_engine::fact::{Fact, PayloadField};
use duly_engine::record::{self, Undecodable};

use super::Fate;

/// The input is the facts of one record.
pub(super) fn feed(input: &[u8]) -> Fate {
    let mut kinds = Vec::new();
    for fact in record::read(input) {
        let fact = match fact {
            Ok(fact) => with_payload(fact, input),
            Err(Undecodable { offset, expected }) => {
                assert!(offset <= input.len(), "a fault at {offset} of {}", input.len());
                return Fate::refused((kinds, expected));
            }
        };
        let mut again = Vec::new();
        record::write(&mut again, fact.clone());
        let mut read = record::read(&again);
        let first = read.next().expect("one was written").expect("what was read can be read");
        assert_eq!(with_payload(first, &again), fact, "it is another after it was written");
        assert!(read.next().is_none(), "one fact became two");
        kinds.push(discriminant(&fact));
    }
    Fate::taken(kinds)
}

/// The fact with its payload instead of the payload's place.
pub(super) fn with_payload(fact: Fact, facts: &[u8]) -> Fact {
    let fetched = |payload| match payload {
        PayloadField::At { offset, bytes, kind, .. } => {
            let place = offset as usize..offset as usize + bytes as usize;
            let bytes = facts.get(place).expect("a payload lies within its record").into();
            Some(Payload { kind, bytes }).into()
        }
        other => other,
    };
    match fact {
        Fact::Scheduled { queue, id, generation, key, due, priority, replaces, payload } => {
            let payload = fetched(payload);
            Fact::Scheduled { queue, id, generation, key, due, priority, replaces, payload }
        }
        Fact::Restated { deadline, payload } => {
            Fact::Restated { deadline, payload: fetched(payload) }
        }
        other => other,
    }
}
