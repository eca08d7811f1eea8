//! A zoo of defects, each behind bars: what the proofs must be able to catch.
//!
//! A test that has never failed proves little. With the feature `zoo` a single one of these bugs can
//! be let loose at run time, and a suite that is worth its name then fails; `duly-sim zoo` tries them
//! all. Without the feature, which is how the product is built, [`bites`] is `false` at compile time
//! and nothing of this remains.
//!
//! It is the one piece of global state in the engine, and exists in no build that serves anybody.

/// Writes the bugs once: variant, and what a tired programmer might have written.
macro_rules! zoo {
    ($($bug:ident $about:literal;)*) => {
        /// A seeded defect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Bug {
            $(#[doc = $about] $bug,)*
        }

        impl Bug {
            /// All of them, in order.
            pub const ALL: &[Bug] = &[$(Bug::$bug),*];

            /// What it does, as a sentence without its end.
            pub fn about(self) -> &'static str {
                match self {
                    $(Bug::$bug => $about,)*
                }
            }
        }
    };
}

zoo! {
    AnswerBeforeSync "answers leave when the record is written, before it is synced";
    AttemptBeforeSync "an attempt leaves before its lapse is durable";
    EventBeforeSync "who listens hears of facts before they are durable";
    ReadBeforeSync "reads leave at once, though they may have seen what is not durable";
    SyncErrorIgnored "a failed sync is taken for a good one";
    SyncRetried "a failed sync is tried again, and believed the second time";
    ShortWriteIsWhole "half a record is taken for all of it";
    NamesNotSynced "the directory is not synced after a file got its name";
    SealNotSynced "a segment is left before what is in it is synced";
    ChecksumIgnored "a record is replayed whatever its checksum says";
    CorruptionCut "a bad record in the middle of the journal is cut like a torn tail";
    TailNotRewritten "what the cache shows at the start is served without writing it again";
    FreedBeforeArchived "a cleaned segment is freed before the archive has its final records";
    CleaningForgets "cleaning drops a live record now and then";
    CleaningMixesUp "cleaning restates a record with the payload of an earlier generation";
    EvictedBeforeArchived "a final record leaves memory before the archive has it";
    StaleLookUp "what was looked up is believed although the record has changed meanwhile";
    OverdueSettleWins "a settle wins until somebody notices that its time is over";
    LapsesEarly "a deadline lapses one millisecond early";
    GraceForgotten "the grace of a queue is not waited for";
    FreezeForgotten "a freeze does not stop the lapse";
    AnyTokenWillDo "a verdict is taken whatever its token";
    IdChangesOnRetry "a second attempt has another delivery id";
    IdsStartAgain "deadline numbers start again after a restart on a cleaned journal";
    GenerationKept "scheduling a key again keeps its generation";
    ClockRunsBack "journal time follows the wall clock back";
    JumpBelieved "a jump of the wall clock is believed";
    NoHeadStart "after downtime whatever is overdue lapses at once";
    OverdueSkipped "what fell due more than an hour before the start is skipped";
    MoveForgotten "an extension is forgotten at a restart";
    TotalsForgotten "counters restart when their segment is cleaned away";
    SettleRefusedWhenLow "settles are refused as soon as schedules are";
}

impl Bug {
    /// What it is called on the command line: `answer-before-sync`.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }
}

/// Is this bug loose?
#[cfg(not(feature = "zoo"))]
#[inline]
pub const fn bites(_: Bug) -> bool {
    false
}

#[cfg(feature = "zoo")]
pub use loose::{bites, let_loose};

#[cfg(feature = "zoo")]
mod loose {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    /// One more than the number of the bug that is loose; none is 0.
    static LOOSE: AtomicU8 = AtomicU8::new(0);

    /// Is this bug loose?
    pub fn bites(bug: Bug) -> bool {
        LOOSE.load(Ordering::Relaxed) == bug as u8 + 1
    }

    /// Lets one bug loose and locks up any other.
    pub fn let_loose(bug: Option<Bug>) {
        LOOSE.store(bug.map_or(0, |bug| bug as u8 + 1), Ordering::Relaxed);
    }
}
