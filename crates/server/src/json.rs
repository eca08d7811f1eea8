//! JSON as this program writes it.
//!
//! A payload is shown as it came, byte for byte. It was read when it came, so it is not read again
//! each time somebody asks for it; and a name or a number becomes text in the answer itself, not in memory of
//! its own before. Whoever reads JSON uses `serde_json` as it is.

use std::fmt;
use std::io;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

/// As much as most answers take.
const USUAL: usize = 768;

/// Something that is shown as text.
#[derive(Clone, Debug)]
pub(crate) struct Text<T>(pub(crate) T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Bytes that are JSON. Only what this module writes shows them as they are.
#[derive(Clone, Debug)]
pub(crate) struct Verbatim(pub(crate) Arc<[u8]>);

impl Serialize for Verbatim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// Compact, and bytes as they are: `serde_json` leaves to the formatter what bytes become.
struct AsItCame;

impl Formatter for AsItCame {
    fn write_byte_array<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        value: &[u8],
    ) -> io::Result<()> {
        writer.write_all(value)
    }
}

/// The same on one line: in JSON a line break stands only where a blank may.
struct OnOneLine;

impl Formatter for OnOneLine {
    fn write_byte_array<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        value: &[u8],
    ) -> io::Result<()> {
        for (nth, piece) in value.split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
            if nth > 0 {
                writer.write_all(b" ")?;
            }
            writer.write_all(piece)?;
        }
        Ok(())
    }
}

/// A value whose keys are text.
pub(crate) fn written(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL);
    write(&mut out, AsItCame, value);
    out
}

/// The same, without a line break, behind what there is.
pub(crate) fn write_line(out: &mut Vec<u8>, value: &impl Serialize) {
    write(out, OnOneLine, value);
    out.push(b'\n');
}

fn write(out: &mut Vec<u8>, formatter: impl Formatter, value: &impl Serialize) {
    value
        .serialize(&mut serde_json::Serializer::with_formatter(out, formatter))
        .expect("what is shown has text for keys, and memory takes all bytes");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_payload_is_shown_as_it_came_and_in_a_line_without_line_breaks() {
        let payload = Verbatim(Arc::from(&b"{\"total\":\r\n 19.90}"[..]));
        let shown = BTreeMap::from([("payload", Some(payload)), ("proof", None)]);
        assert_eq!(written(&shown), b"{\"payload\":{\"total\":\r\n 19.90},\"proof\":null}");
        let mut out = b"before\n".to_vec();
        write_line(&mut out, &shown);
        assert_eq!(out, b"before\n{\"payload\":{\"total\":   19.90},\"proof\":null}\n");
    }

    #[test]
    fn a_name_is_escaped_like_any_other_text() {
        let text = Text("a\"b\\c\n/ü");
        assert_eq!(written(&text), serde_json::to_vec(&text.0).expect("it is text"));
    }
}
