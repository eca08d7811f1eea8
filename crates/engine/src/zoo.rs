//! A zoo of defects, each behind bars: what the proofs must be able to catch.
//!
//! A test that has never failed proves little. With the feature `zoo` a single one of these bugs can
//! be let loose at run time, and a suite that is worth its name then fails; `duly-sim zoo` tries them
//! all. Without the feature, which is how the product is built, [`bites`] is `false` at compile time
//! and nothing of this remains.
//!
//! It is the one piece of global state in the engine, and exists in no build that serves anybody.

/// A seeded defect: what a tired programmer might have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Bug {
    /// Answers leave when the record is written, before it is synced.
    AnswerBeforeSync = 1,
}

impl Bug {
    /// All of them, in order.
    pub const ALL: [Bug; 1] = [Bug::AnswerBeforeSync];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Bug::AnswerBeforeSync => "answer-before-sync",
        }
    }
}

/// Is this bug loose?
#[cfg(not(feature = "zoo"))]
#[inline(always)]
pub const fn bites(_: Bug) -> bool {
    false
}

#[cfg(feature = "zoo")]
pub use loose::{bites, free};

#[cfg(feature = "zoo")]
mod loose {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    /// The number of the bug that is loose; none is 0.
    static LOOSE: AtomicU8 = AtomicU8::new(0);

    /// Is this bug loose?
    pub fn bites(bug: Bug) -> bool {
        LOOSE.load(Ordering::Relaxed) == bug as u8
    }

    /// Lets one bug loose and locks up any other.
    pub fn free(bug: Option<Bug>) {
        LOOSE.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
    }
}
