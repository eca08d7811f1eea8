//! What is fed: every parser and decoder of the product, each behind one function over bytes.
//!
//! A target does more than not panic. What it takes must mean what was written: decoded, encoded and
//! decoded again it is the same, within its limits; what it refuses carries a stable code or points
//! into the input. A target that finds otherwise panics with a sentence. Targets know nothing of how
//! their inputs come about, and depend on the product alone: the coverage-guided fuzzer in
//! `crates/sim/fuzz` includes this folder as it is.

mod archive;
mod bodies;
mod config;
mod facts;
mod identity;
mod journal;
mod names;
mod query;
mod said;
mod template;
mod units;
mod webhook;
mod wire;

use std::hash::{DefaultHasher, Hash, Hasher};

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fate {
    /// It was taken for what it was to be.
    pub(crate) taken: bool,
    /// Inputs of one kind were taken or refused in one way; an input of a new kind is worth keeping.
    pub(crate) kind: u64,
}

impl Fate {
    fn taken(kind: impl Hash) -> Fate {
        Fate { taken: true, kind: hash(kind) }
    }

    fn refused(kind: impl Hash) -> Fate {
        Fate { taken: false, kind: hash(kind) }
    }
}

/// A number for an input.
pub(crate) fn fingerprint(input: &[u8]) -> u64 {
    hash(input)
}

fn hash(kind: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    kind.hash(&mut hasher);
    hasher.finish()
}

/// One parser or decoder.
pub(crate) struct Target {
    /// Its name, also of the folder of its corpus.
    pub(crate) name: &'static str,
    /// Feeds it.
    pub(crate) feed: fn(&[u8]) -> Fate,
    /// Of a thousand executions so many are its own: the slow ones get few.
    pub(crate) share: u64,
    /// Words that its inputs are made of.
    pub(crate) words: &'static [&'static str],
}

/// All of them.
pub(crate) const ALL: &[Target] = &[
    Target { name: "units", feed: units::feed, share: 300, words: units::WORDS },
    Target { name: "names", feed: names::feed, share: 160, words: names::WORDS },
    Target { name: "bodies", feed: bodies::feed, share: 150, words: said::WORDS },
    Target { name: "batch", feed: bodies::feed_batch, share: 90, words: said::WORDS },
    Target { name: "query", feed: query::feed, share: 60, words: query::WORDS },
    Target { name: "facts", feed: facts::feed, share: 80, words: &[] },
    Target { name: "webhook", feed: webhook::feed, share: 50, words: webhook::WORDS },
    Target { name: "wire", feed: wire::feed, share: 30, words: wire::WORDS },
    Target { name: "template", feed: template::feed, share: 25, words: template::WORDS },
    Target { name: "archive", feed: archive::feed, share: 20, words: archive::WORDS },
    Target { name: "config", feed: config::feed, share: 20, words: config::WORDS },
    Target { name: "identity", feed: identity::feed, share: 10, words: &[] },
    Target { name: "journal", feed: journal::feed, share: 5, words: &[] },
];
