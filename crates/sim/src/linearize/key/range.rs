//! A number that is known to lie between two others.

/// From one to the other, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::linearize) struct Range {
    pub(in crate::linearize) from: u64,
    pub(in crate::linearize) to: u64,
}

impl Range {
    /// Known exactly.
    pub(super) fn at(number: u64) -> Range {
        Range { from: number, to: number }
    }

    /// Can it be this?
    pub(super) fn holds(self, number: u64) -> bool {
        (self.from..=self.to).contains(&number)
    }

    /// Does it leave all of the other open?
    pub(super) fn covers(self, other: Range) -> bool {
        self.from <= other.from && other.to <= self.to
    }

    /// Can both be the same?
    pub(super) fn meets(self, other: Range) -> bool {
        self.from <= other.to && other.from <= self.to
    }

    /// So much later.
    pub(super) fn later(self, more: u64) -> Range {
        Range { from: self.from.saturating_add(more), to: self.to.saturating_add(more) }
    }
}
