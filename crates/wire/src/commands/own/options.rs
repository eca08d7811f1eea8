//! Options as words: `AFTER 30m IF_EXISTS replace`, the fields of the HTTP API's bodies by their
//! names.
//!
//! They are as strict as those: what is unknown, said twice or half is refused, with the same codes.

use std::ops::RangeInclusive;

use duly_engine::time::{Span, Time};

use super::super::{Client, No, shown};
use crate::reading::Words;
use crate::{Readers, Unread};

/// The options of a request.
pub(super) struct Options<'a> {
    given: Vec<(&'static str, &'a [u8])>,
    read: Readers,
}

impl<'a> Options<'a> {
    /// The words from this one on: names of `known` with a value behind each, or of `alone` with none.
    pub(super) fn read(
        words: &Words<'a>,
        from: usize,
        client: &Client,
        known: &[&'static str],
        alone: &[&'static str],
    ) -> Result<Options<'a>, No> {
        let mut given: Vec<(&'static str, &'a [u8])> = Vec::new();
        let mut rest = words.from(from);
        while let Some(word) = rest.next() {
            let among = |names: &[&'static str]| {
                names.iter().copied().find(|name| word.eq_ignore_ascii_case(name.as_bytes()))
            };
            let option = match (among(alone), among(known)) {
                (Some(name), _) => (name, &b""[..]),
                (None, Some(name)) => {
                    let value = rest.next();
                    (name, value.ok_or_else(|| missing(&format!("{name} needs a value")))?)
                }
                (None, None) => {
                    let all = [known, alone].concat().join(", ");
                    let word = shown(word);
                    return Err(No(format!(
                        "UNKNOWN_FIELD '{word}' is no option; there are {all}"
                    )));
                }
            };
            if given.iter().any(|(name, _)| *name == option.0) {
                return Err(bad(&format!("{} is given twice", option.0)));
            }
            given.push(option);
        }
        Ok(Options { given, read: client.settings.read })
    }

    /// The value of an option, if it is given.
    pub(super) fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| *value)
    }

    /// The same as text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, No> {
        self.value(name).map(|value| text(value, name)).transpose()
    }

    /// The same as a duration.
    pub(super) fn span(&self, name: &str) -> Result<Option<Span>, No> {
        let text = self.text(name)?;
        text.map(|text| (self.read.span)(text).map_err(|why| unread(name, &why))).transpose()
    }

    /// The same as a length in milliseconds that a minus sign makes one backwards.
    pub(super) fn signed_millis(&self, name: &str) -> Result<Option<i64>, No> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let (sign, length) = text.strip_prefix('-').map_or((1, text), |length| (-1, length));
        let span = (self.read.span)(length).map_err(|why| unread(name, &why))?;
        Ok(Some(sign * i64::try_from(span.millis()).expect("a span has ten years at most")))
    }

    /// The same as an instant.
    pub(super) fn instant(&self, name: &str) -> Result<Option<Time>, No> {
        let text = self.text(name)?;
        text.map(|text| (self.read.instant)(text).map_err(|why| unread(name, &why))).transpose()
    }

    /// The same as a number among these.
    pub(super) fn number(&self, name: &str, among: RangeInclusive<u32>) -> Result<Option<u32>, No> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| among.contains(number));
        let why = || bad(&format!("{name} is {} to {}", among.start(), among.end()));
        number.map(Some).ok_or_else(why)
    }

    /// Of two options one at most.
    pub(super) fn not_both(&self, one: &str, other: &str) -> Result<(), No> {
        if self.value(one).is_some() && self.value(other).is_some() {
            return Err(bad(&format!("both {one} and {other} are given: send one of them")));
        }
        Ok(())
    }
}

/// A word as text.
pub(super) fn text<'a>(word: &'a [u8], name: &str) -> Result<&'a str, No> {
    str::from_utf8(word).map_err(|_| bad(&format!("{name} is text in UTF-8")))
}

/// A word that cannot be so.
pub(super) fn bad(why: &str) -> No {
    No(format!("BAD_FIELD {why}"))
}

/// A word that has to be there.
pub(super) fn missing(why: &str) -> No {
    No(format!("MISSING_FIELD {why}"))
}

/// A word that is not what it should be.
pub(super) fn unread(name: &str, Unread { code, why }: &Unread) -> No {
    No(format!("{} {name}: {why}", code.to_ascii_uppercase()))
}
