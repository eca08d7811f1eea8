//! What a watch link says, and the signature that makes it worth something.
//!
//! Nothing is stored: the token itself names the deadline and when the link expires, and carries an
//! HMAC-SHA256 over all of that, cut to 128 bits. It is signed, not hidden: whoever has the link can
//! read queue and key in it. The first secret signs; all are tried when a token is read, in constant
//! time, so that secrets can be rotated. Nothing here reads the time.
//!
//! ```text
//! version 1 │ flags 1 │ expires 6 │ generation 4, if flagged │ queue length 1 │ queue │ key │ tag 16
//! ```

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use duly_engine::command::Address;
use duly_engine::id::{Generation, Key, QueueName};
use duly_engine::time::Time;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The form of a token; another form has another number.
const VERSION: u8 = 1;
/// Before what is signed, so that a signature made for something else is worth nothing here.
const PURPOSE: &[u8] = b"duly watch link\0";
/// Bytes of the signature.
const TAG: usize = 16;
/// The outcome of a settle may be shown.
const SHOW_OUTCOME: u8 = 1;
/// Only one generation is meant.
const ONE_GENERATION: u8 = 2;
/// Bytes of an instant: milliseconds since 1970 up to the year 10895.
const INSTANT: usize = 6;

/// What a link is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// The deadline.
    pub(super) at: Address,
    /// Only this life of it; whichever there is, if none is named.
    pub(super) generation: Option<Generation>,
    /// From then on the link is void.
    pub(super) expires: Time,
    /// May it say how the deadline was settled?
    pub(super) show_outcome: bool,
}

/// The secrets that links are signed with; the first signs.
#[derive(Clone)]
pub struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// At least one.
    pub fn new(secrets: Vec<Vec<u8>>) -> Secrets {
        assert!(!secrets.is_empty(), "without a secret everybody could sign");
        Secrets(secrets)
    }

    /// The token that says this.
    pub(super) fn sign(&self, ticket: &Ticket) -> String {
        let mut bytes = ticket.bytes();
        let tag = mac(&self.0[0], &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag[..TAG]);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a token says, if it was signed here. It may have expired.
    pub(super) fn read(&self, token: &str) -> Option<Ticket> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (said, tag) = bytes.split_last_chunk::<TAG>()?;
        // All of them, always: how long it takes says nothing.
        let signed = self.0.iter().fold(false, |signed, secret| {
            mac(secret, said).verify_truncated_left(tag).is_ok() | signed
        });
        if signed { Ticket::of(said) } else { None }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

fn mac(secret: &[u8], said: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(PURPOSE);
    mac.update(said);
    mac
}

impl Ticket {
    fn bytes(&self) -> Vec<u8> {
        let (queue, key) = (self.at.queue.as_str(), self.at.key.as_str());
        let flags = if self.show_outcome { SHOW_OUTCOME } else { 0 }
            | if self.generation.is_some() { ONE_GENERATION } else { 0 };
        let expires = self.expires.millis().min((1 << (8 * INSTANT)) - 1).to_be_bytes();
        let mut bytes = vec![VERSION, flags];
        bytes.extend_from_slice(&expires[expires.len() - INSTANT..]);
        if let Some(Generation(generation)) = self.generation {
            bytes.extend_from_slice(&generation.to_be_bytes());
        }
        bytes.push(u8::try_from(queue.len()).expect("a queue's name is short"));
        bytes.extend_from_slice(queue.as_bytes());
        bytes.extend_from_slice(key.as_bytes());
        bytes
    }

    fn of(bytes: &[u8]) -> Option<Ticket> {
        let (&[version, flags], rest) = bytes.split_first_chunk()?;
        if version != VERSION || flags & !(SHOW_OUTCOME | ONE_GENERATION) != 0 {
            return None;
        }
        let (instant, mut rest) = rest.split_first_chunk::<INSTANT>()?;
        let expires = instant.iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte));
        let mut generation = None;
        if flags & ONE_GENERATION != 0 {
            let (number, after) = rest.split_first_chunk::<4>()?;
            generation = Some(Generation(u32::from_be_bytes(*number)));
            rest = after;
        }
        let (length, rest) = rest.split_first()?;
        let (queue, key) = rest.split_at_checked(usize::from(*length))?;
        Some(Ticket {
            at: Address {
                queue: QueueName::new(std::str::from_utf8(queue).ok()?).ok()?,
                key: Key::new(std::str::from_utf8(key).ok()?).ok()?,
            },
            generation,
            expires: Time::from_millis(expires),
            show_outcome: flags & SHOW_OUTCOME != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(texts: &[&str]) -> Secrets {
        Secrets::new(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
    }

    fn ticket(key: &str, generation: Option<u32>, show_outcome: bool) -> Ticket {
        Ticket {
            at: Address {
                queue: QueueName::new("orders").expect("it is one"),
                key: Key::new(key).expect("it is one"),
            },
            generation: generation.map(Generation),
            expires: Time::from_millis(1_795_356_000_123),
            show_outcome,
        }
    }

    fn all() -> Vec<Ticket> {
        vec![
            ticket("42", None, false),
            ticket("42", Some(7), true),
            ticket("Bestellung für Frau Ó Súilleabháin/№ 9", None, true),
            ticket(&"k".repeat(512), Some(u32::MAX), false),
        ]
    }

    #[test]
    fn what_was_signed_is_read_again() {
        let secrets = secrets(&["the one"]);
        for ticket in all() {
            let token = secrets.sign(&ticket);
            assert_eq!(secrets.read(&token), Some(ticket));
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            assert!(token.chars().all(fits), "{token} needs no escape in a URL");
        }
        assert_eq!(secrets.sign(&ticket("42", None, false)).len(), 44);
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let secrets = secrets(&["the one"]);
        for ticket in all() {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(secrets.sign(&ticket)).expect("it is");
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let token = BASE64_URL_SAFE_NO_PAD.encode(flipped);
                assert_eq!(secrets.read(&token), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn every_changed_missing_or_added_character_is_refused() {
        const ALPHABET: &str =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ ";
        let secrets = secrets(&["the one"]);
        // Of every length modulo three, so that some end in bits that mean nothing.
        for key in ["4", "42", "421"] {
            let token = secrets.sign(&ticket(key, None, false));
            for at in 0..token.len() {
                for other in ALPHABET.chars().filter(|other| !token[at..].starts_with(*other)) {
                    let mut changed = token.clone();
                    changed.replace_range(at..=at, &other.to_string());
                    assert_eq!(secrets.read(&changed), None, "{changed}");
                }
                assert_eq!(secrets.read(&token[..at]), None);
                assert_eq!(secrets.read(&token[at + 1..]), None);
            }
            for other in ALPHABET.chars() {
                assert_eq!(secrets.read(&format!("{token}{other}")), None);
            }
        }
        assert_eq!(secrets.read(""), None);
    }

    #[test]
    fn a_rotated_secret_goes_on_being_accepted_until_it_is_dropped() {
        let ticket = ticket("42", None, false);
        let old = secrets(&["old"]).sign(&ticket);
        let both = secrets(&["new", "old"]);
        assert_eq!(both.read(&old), Some(ticket.clone()));
        let new = both.sign(&ticket);
        assert_ne!(new, old);
        assert_eq!(secrets(&["new"]).read(&new), Some(ticket.clone()));
        assert_eq!(secrets(&["new"]).read(&old), None);
        assert_eq!(secrets(&["old", "newer"]).read(&new), None);
    }

    #[test]
    fn a_form_that_this_version_does_not_know_is_refused_although_signed() {
        let secrets = secrets(&["the one"]);
        let said = ticket("42", None, false).bytes();
        for (at, value) in [(0, 2), (1, 4), (8, 200), (8, 0)] {
            let mut other = said.clone();
            other[at] = value;
            let tag = mac(b"the one", &other).finalize().into_bytes();
            other.extend_from_slice(&tag[..TAG]);
            assert_eq!(secrets.read(&BASE64_URL_SAFE_NO_PAD.encode(other)), None);
        }
    }
}
