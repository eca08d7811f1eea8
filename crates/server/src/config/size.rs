//! Sizes as people write them: `64MiB`, `1GiB`, `4096`.
//!
//! Only powers of 1024 are known by their own names; `64MB` is refused rather than guessed at.

const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// The bytes that a text stands for, or what is wrong with it.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let factor = match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => Some(*factor),
        None => unit.is_empty().then_some(1),
    };
    number
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| format!("{text:?} is not a size; write 64MiB or 1GiB"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse("64MiB"), Ok(64 << 20));
        assert_eq!(parse("1 GiB"), Ok(1 << 30));
        assert_eq!(parse("512"), Ok(512));
        assert_eq!(parse("10B"), Ok(10));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "MiB", "64MB", "-1", "1.5GiB", "99999999999999GiB", "64 M iB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
