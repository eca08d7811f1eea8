//! Names and numbers: what identifies a queue, a deadline, a delivery, a fact.
//!
//! Keys and queue names are the caller's words and are checked once, here, so that the rest of the
//! engine never meets a bad one. Numbers are the engine's own and never reused.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::{KEY_BYTES, OUTCOME_BYTES, QUEUE_NAME_BYTES};

/// The sequence number of a fact. The first fact of a directory is 1; it is also the event id.
pub type Seq = u64;

/// A queue's number: short, for facts and records. Never reused within a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueNo(pub u32);

/// A deadline's number: the same over all generations of a (queue, key) that is still known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadlineId(pub u64);

/// Which life of a deadline this is; the first is 1, `replace` and `renew` begin the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

impl Generation {
    /// The first life.
    pub const FIRST: Generation = Generation(1);

    /// The life after this one.
    #[must_use]
    pub const fn next(self) -> Generation {
        Generation(self.0.saturating_add(1))
    }
}

/// The hold of one lease: the sequence of its fact. A later lease has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub Seq);

/// The random number of a data directory; it keeps delivery ids unique after a restore or a wipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryId(pub u64);

/// A delivery's id: the same in every attempt, unique for ever. As text `<directory>-<deadline>-<generation>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The data directory it was born in.
    pub directory: DirectoryId,
    /// The deadline that lapsed.
    pub deadline: DeadlineId,
    /// Which life of it.
    pub generation: Generation,
}

/// Digits of a directory id: lower case and without look-alikes (Crockford's base 32).
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; 13];
        let mut rest = self.0;
        for place in text.iter_mut().rev() {
            *place = DIGITS[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).expect("the digits are ASCII"))
    }
}

impl FromStr for DirectoryId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<DirectoryId, Malformed> {
        if text.len() != 13 {
            return Err(Malformed("a directory id has 13 digits"));
        }
        let mut value = 0_u64;
        for byte in text.bytes() {
            let digit = DIGITS
                .iter()
                .position(|&digit| digit == byte)
                .ok_or(Malformed("a directory id has digits of base 32 only"))?;
            value = value
                .checked_mul(32)
                .and_then(|value| value.checked_add(digit as u64))
                .ok_or(Malformed("a directory id has 64 bits"))?;
        }
        Ok(DirectoryId(value))
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.directory, self.deadline.0, self.generation.0)
    }
}

impl FromStr for DeliveryId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<DeliveryId, Malformed> {
        let mut parts = text.split('-');
        let (Some(directory), Some(deadline), Some(generation), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Malformed("a delivery id has three parts joined by '-'"));
        };
        let number = Malformed("a delivery id ends in two numbers");
        let id = DeliveryId {
            directory: directory.parse()?,
            deadline: DeadlineId(deadline.parse().map_err(|_| number)?),
            generation: Generation(generation.parse().map_err(|_| number)?),
        };
        // "007" would be a second name of delivery 7.
        if id.to_string() == text { Ok(id) } else { Err(number) }
    }
}

/// Why a name or an id cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $store:ty, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($store);

        impl $name {
            /// Checks the text and takes it.
            pub fn new(text: &str) -> Result<$name, Malformed> {
                let check: fn(&str) -> Result<(), Malformed> = $check;
                check(text)?;
                Ok($name(text.into()))
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(
    /// The caller's own name for a deadline: 1 to 512 bytes of UTF-8 without control characters.
    Key, Box<str>, |text| {
        if text.is_empty() || text.len() > KEY_BYTES {
            return Err(Malformed("a key has 1 to 512 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(Malformed("a key has no control characters"));
        }
        Ok(())
    }
);

impl Key {
    /// A copy of a key that was checked before it was stored.
    pub(crate) fn stored(text: &str) -> Key {
        Key(text.into())
    }
}

text_type!(
    /// A queue's name: 1 to 64 of `A-Za-z0-9._:-`.
    QueueName, Arc<str>, |text| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if text.is_empty() || text.len() > QUEUE_NAME_BYTES || !text.bytes().all(fits) {
            return Err(Malformed("a queue name has 1 to 64 of A-Z a-z 0-9 . _ : -"));
        }
        Ok(())
    }
);

text_type!(
    /// How a deadline was settled, in the caller's words (`paid`): 1 to 64 bytes without control characters.
    Outcome, Arc<str>, |text| {
        if text.is_empty() || text.len() > OUTCOME_BYTES || text.chars().any(char::is_control) {
            return Err(Malformed("an outcome has 1 to 64 bytes and no control characters"));
        }
        Ok(())
    }
);
