//! Whether the journal is syncing: how the driver knows that gathering more costs nobody anything.
//!
//! What arrives while a sync is under way cannot be durable before the next one, so all of it should
//! go into the next one together. The driver therefore gathers until the sync has ended and only
//! then steps. It asks to be woken only when it has something: a caller alone wakes nobody twice.
//! Should a wake-up come in vain, the driver steps a little early and nothing else happens.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Releases on their way to the disk. Shared by the driver and the journal's thread.
#[derive(Debug, Default)]
pub(crate) struct Syncing {
    under_way: AtomicUsize,
    awaited: AtomicBool,
}

impl Syncing {
    /// The driver hands a release over.
    pub(super) fn begin(&self) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
    }

    /// A release is durable. True when the driver wants to be woken.
    pub(super) fn end(&self) -> bool {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        self.awaited.swap(false, Ordering::SeqCst)
    }

    /// Is one under way, whose end will wake the driver?
    pub(super) fn wake_me(&self) -> bool {
        self.awaited.store(true, Ordering::SeqCst);
        // Looked at only now: an end before the line above may not have seen it.
        self.under_way.load(Ordering::SeqCst) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::Syncing;

    #[test]
    fn only_who_waits_for_the_end_of_a_sync_is_woken_by_it() {
        let syncing = Syncing::default();
        assert!(!syncing.wake_me(), "nothing is under way");
        syncing.begin();
        assert!(syncing.end(), "it asked before, which costs one look in vain");
        syncing.begin();
        assert!(!syncing.end());
        syncing.begin();
        assert!(syncing.wake_me());
        assert!(syncing.end());
    }

    #[test]
    fn the_end_of_one_sync_leaves_the_next_under_way() {
        let syncing = Syncing::default();
        syncing.begin();
        syncing.begin();
        syncing.end();
        assert!(syncing.wake_me());
        syncing.end();
        assert!(!syncing.wake_me());
    }
}
