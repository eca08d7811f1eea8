//! The clocks of a simulated machine, and how they can be wrong.
//!
//! True time only passes. The boot clock follows it from the last boot; the wall clock is off by
//! whatever somebody has set it to. A pause or a suspend is true time in which nothing steps.

use duly_engine::clock::Reading;
use duly_engine::time::{Span, Time};

/// Sunday 2026-11-22, 12:00 UTC: when every world begins.
pub(crate) const NOON: Time = Time::from_millis(1_795_348_800_000);

/// True time, and what the machine shows of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clocks {
    passed: Span,
    booted: Span,
    off_ms: i64,
}

impl Clocks {
    /// What the machine's clocks show.
    pub(crate) fn read(&self) -> Reading {
        let wall = NOON.plus(self.passed).millis().saturating_add_signed(self.off_ms);
        Reading { wall: Time::from_millis(wall), boot: self.passed.minus(self.booted) }
    }

    /// How much true time has passed since the world began.
    pub(crate) fn passed(&self) -> Span {
        self.passed
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, span: Span) {
        self.passed = self.passed.plus(span);
    }

    /// Somebody sets the wall clock, forward or back.
    pub(crate) fn set_wall(&mut self, by_ms: i64) {
        self.off_ms = self.off_ms.saturating_add(by_ms);
    }

    /// The machine boots: the boot clock begins anew.
    pub(crate) fn boot(&mut self) {
        self.booted = self.passed;
    }
}
