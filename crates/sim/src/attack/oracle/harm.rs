//! The kinds of harm, each counted by itself. All of them must be zero.

/// What was done to somebody who relied on a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Something acknowledged is not so any more.
    Lost,
    /// It happened, or was begun, a second time.
    Double,
    /// An attempt for a deadline whose settle had won.
    Ghost,
    /// Before it was due.
    Early,
    /// A delivery has another id than before.
    IdChanged,
    /// It fell due and was never acted on.
    Skipped,
    /// An answer that no rule allows.
    Wrong,
}

impl Harm {
    /// All of them, in the order in which they are shown.
    pub(crate) const ALL: [Harm; 7] = [
        Harm::Lost,
        Harm::Double,
        Harm::Ghost,
        Harm::Early,
        Harm::IdChanged,
        Harm::Skipped,
        Harm::Wrong,
    ];

    /// Its figure.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Harm::Lost => "lost",
            Harm::Double => "double",
            Harm::Ghost => "ghost",
            Harm::Early => "early",
            Harm::IdChanged => "id_changed",
            Harm::Skipped => "skipped",
            Harm::Wrong => "wrong",
        }
    }
}
