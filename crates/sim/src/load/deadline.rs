//! What is scheduled: keys of 24 bytes and payloads of 200 that nothing can make smaller.
//!
//! Both follow from a number alone, so that no list of them is kept and every server gets the same.
//! A payload is JSON, because that is what shops send, and noise, because padding would flatter
//! whoever compresses.

use anyhow::{Context as _, ensure};

use crate::dice::Dice;

/// A key is this and eighteen digits.
const KEY: &str = "order-";
const DIGITS: usize = 18;
/// Bytes of a key.
pub(super) const KEY_BYTES: usize = KEY.len() + DIGITS;
/// Bytes of a payload.
pub(super) const PAYLOAD_BYTES: usize = 200;
const OPEN: &[u8] = br#"{"note":""#;
const CLOSE: &[u8] = br#""}"#;
/// Noise to cut payloads from.
const NOISE_BYTES: usize = 1 << 18;
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes the key of a number.
pub(super) fn key(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(KEY.as_bytes());
    let mut digits = [b'0'; DIGITS];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).expect("a digit is below ten");
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

/// The number of a key.
pub(super) fn number(key: &[u8]) -> anyhow::Result<u64> {
    ensure!(key.len() == KEY_BYTES, "no key of ours: {}", String::from_utf8_lossy(key));
    let digits = std::str::from_utf8(&key[KEY.len()..]).context("a key of ours is text")?;
    digits.parse().with_context(|| format!("no key of ours: {digits}"))
}

/// Where payloads come from.
pub(super) struct Payloads(Vec<u8>);

impl Payloads {
    pub(super) fn new() -> Payloads {
        let mut dice = Dice::new(1);
        let letter = |_| LETTERS[usize::try_from(dice.below(64)).expect("below 64")];
        Payloads((0..NOISE_BYTES).map(letter).collect())
    }

    /// Writes the payload of a number.
    pub(super) fn write(&self, out: &mut Vec<u8>, number: u64) {
        let noise = PAYLOAD_BYTES - OPEN.len() - CLOSE.len();
        // Neighbours lie far apart, beyond the window of any compression.
        let place = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let place = usize::try_from(place).expect("24 bits") % (NOISE_BYTES - noise);
        out.extend_from_slice(OPEN);
        out.extend_from_slice(&self.0[place..place + noise]);
        out.extend_from_slice(CLOSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_payloads_are_as_long_as_is_said() {
        let (mut name, mut payload) = (Vec::new(), Vec::new());
        key(&mut name, 4_711);
        Payloads::new().write(&mut payload, 4_711);
        assert_eq!((name.len(), payload.len()), (KEY_BYTES, PAYLOAD_BYTES));
        assert_eq!(number(&name).expect("it is one of ours"), 4_711);
        assert!(serde_json::from_slice::<serde_json::Value>(&payload).is_ok());
        assert!(number(b"order-x").is_err());
    }
}
