//! Standard Webhooks signatures, version 1: HMAC-SHA256 over `id.timestamp.body`.
//!
//! A secret is `whsec_` and the base64 of 24 to 64 random bytes. While secrets are rotated there
//! are several, and the header carries one signature of each, so that the receiver may verify with
//! whichever it knows. A secret is never shown: neither in errors nor by `Debug`.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Before the base64 of every secret.
const PREFIX: &str = "whsec_";
/// Fewest and most bytes of a secret.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets are pasted by people: the padding may be missing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One signing secret.
pub(super) struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Reads `whsec_…`; the error does not repeat it.
    pub(super) fn parse(text: &str) -> Result<Secret, &'static str> {
        let encoded = text.strip_prefix(PREFIX).ok_or("does not begin with whsec_")?;
        let bytes = LENIENT.decode(encoded).map_err(|_| "is not base64 after whsec_")?;
        if BYTES.contains(&bytes.len()) {
            Ok(Secret(bytes))
        } else {
            Err("does not have 24 to 64 bytes")
        }
    }

    fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut hmac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            hmac.update(part);
        }
        format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()))
    }
}

/// The `webhook-signature` header: one signature of each secret, separated by spaces.
pub(super) fn sign(secrets: &[Secret], id: &str, timestamp: &str, body: &[u8]) -> String {
    debug_assert!(!id.contains('.'), "an id with a dot would make the signed text ambiguous");
    let signatures: Vec<String> =
        secrets.iter().map(|secret| secret.sign(id, timestamp, body)).collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the specification's reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret(text: &str) -> Secret {
        Secret::parse(text).expect("a good secret")
    }

    #[test]
    fn a_signature_is_that_of_the_specification() {
        assert_eq!(sign(&[secret(SECRET)], ID, TIMESTAMP, BODY), SIGNATURE);
    }

    #[test]
    fn every_secret_signs_while_secrets_are_rotated() {
        let new = format!("whsec_{}", STANDARD.encode([7_u8; 32]));
        let both = sign(&[secret(&new), secret(SECRET)], ID, TIMESTAMP, BODY);
        let (first, second) = both.split_once(' ').expect("two signatures");
        assert_eq!(second, SIGNATURE);
        assert_ne!(first, SIGNATURE);
        assert_eq!(first, sign(&[secret(&new)], ID, TIMESTAMP, BODY));
    }

    #[test]
    fn every_part_is_signed() {
        for (id, timestamp, body) in [
            ("msg_other", TIMESTAMP, BODY),
            (ID, "1614265331", BODY),
            (ID, TIMESTAMP, br#"{"test": 2432232315}"#),
        ] {
            assert_ne!(sign(&[secret(SECRET)], id, timestamp, body), SIGNATURE);
        }
    }

    #[test]
    fn a_bad_secret_is_refused_without_repeating_it() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![1_u8; bytes]));
        for (text, fits) in [
            (SECRET.to_owned(), true),
            (of(24), true),
            (of(64), true),
            (of(25).trim_end_matches('=').to_owned(), true),
            (of(23), false),
            (of(65), false),
            ("whsec_".to_owned(), false),
            ("whsec_not base64 at all!".to_owned(), false),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), false),
            ("whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), false),
        ] {
            assert_eq!(Secret::parse(&text).is_ok(), fits, "{text}");
        }
        assert_eq!(format!("{:?}", secret(SECRET)), "Secret");
    }
}
