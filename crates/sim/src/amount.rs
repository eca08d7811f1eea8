//! How much of a way is done: an ordinary run, or fifty of them.

use clap::Args;

/// An ordinary run, or a long one.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Amount {
    /// Fifty times as much; floors as well.
    #[arg(long)]
    long: bool,
}

impl Amount {
    /// How many ordinary runs this is worth.
    pub(crate) fn times(self) -> u64 {
        if self.long { 50 } else { 1 }
    }
}
