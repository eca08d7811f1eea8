//! How long things took: a histogram whose error is bounded, whatever the range.
//!
//! Each power of two is cut into 64 equal pieces, so a quantile is at most 1.6 % above the true one
//! from nanoseconds to hours, and counting one costs no more than an index. What was slowest is kept
//! as it was.

use std::time::Duration;

use serde::Serialize;

/// Pieces of a power of two.
const PIECES: u64 = 64;
/// Values below twice that many nanoseconds are counted exactly.
const PIECE_BITS: u32 = PIECES.trailing_zeros();

/// Counts of durations.
#[derive(Default)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: Duration,
}

/// What a reader wants to know of it, in milliseconds.
#[derive(Serialize)]
pub(super) struct Quantiles {
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
}

impl Histogram {
    pub(super) fn add(&mut self, time: Duration) {
        let place = place(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        self.total += 1;
        self.longest = self.longest.max(time);
    }

    /// The upper edge of the piece in which the quantile lies, or the longest if that is shorter.
    fn quantile(&self, per_mille: u64) -> Duration {
        let wanted = (self.total * per_mille).div_ceil(1_000);
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(upper_edge(place)).min(self.longest);
            }
        }
        self.longest
    }

    /// Nothing, if nothing was counted.
    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        (self.total > 0).then(|| Quantiles {
            p50_ms: millis(self.quantile(500)),
            p90_ms: millis(self.quantile(900)),
            p99_ms: millis(self.quantile(990)),
            p999_ms: millis(self.quantile(999)),
            max_ms: millis(self.longest),
        })
    }
}

/// To the microsecond.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn place(nanos: u64) -> usize {
    let top = (nanos | 1).ilog2();
    let shift = top.saturating_sub(PIECE_BITS);
    // In a power of two above the first, the leading digit is known: 64 pieces are left.
    usize::try_from(u64::from(shift) * PIECES + (nanos >> shift)).expect("a few thousand")
}

fn upper_edge(place: usize) -> u64 {
    let place = place as u64;
    let shift = (place / PIECES).saturating_sub(1);
    ((place - shift * PIECES + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_piece_and_pieces_are_narrow() {
        let mut before = 0;
        for exponent in 0..50 {
            for nanos in [1_u64 << exponent, (1 << exponent) + 1, (1 << exponent) * 3 / 2] {
                let edge = upper_edge(place(nanos));
                assert!(edge >= nanos, "{nanos} is above its edge {edge}");
                assert!(edge - nanos <= nanos / PIECES, "{nanos} may be told as {edge}");
            }
            assert!(place(1 << exponent) >= before);
            before = place(1 << exponent);
        }
    }

    #[test]
    fn quantiles_are_within_two_per_cent() {
        let mut histogram = Histogram::default();
        assert!(histogram.quantiles().is_none());
        for micros in 1..=100_000 {
            histogram.add(Duration::from_micros(micros));
        }
        let told = histogram.quantiles().expect("there are some");
        for (told, true_ms) in [(told.p50_ms, 50.0), (told.p99_ms, 99.0), (told.p999_ms, 99.9)] {
            assert!((true_ms..true_ms * 1.02).contains(&told), "{told} for {true_ms}");
        }
        assert!((told.max_ms - 100.0).abs() < 1e-9);
    }
}
