//! AMQP 0.9.1 as bytes: frames, numbers, texts and tables.
//!
//! Reading takes what it is given and no more: a frame that is larger than agreed, or anything that is
//! cut short, is strange, and a connection that says strange things is ended by whoever reads it.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// What a frame carries beside its payload, in bytes.
pub(super) const AROUND: usize = 8;
const HEAD: usize = 7;
const END: u8 = 0xCE;

/// What a frame can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Method = 1,
    Header = 2,
    Body = 3,
    Heartbeat = 8,
}

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) channel: u16,
    pub(super) payload: Bytes,
}

/// What no AMQP broker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strange;

impl From<Strange> for String {
    fn from(Strange: Strange) -> String {
        "its answer is none of an AMQP broker".to_owned()
    }
}

/// Takes a frame off the front, once it is there as a whole. It has `most` bytes at most.
pub(super) fn take_frame(buffer: &mut BytesMut, most: usize) -> Result<Option<Frame>, Strange> {
    let Some(&[kind, c1, c0, s3, s2, s1, s0]) = buffer.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let kind = match kind {
        1 => Kind::Method,
        2 => Kind::Header,
        3 => Kind::Body,
        8 => Kind::Heartbeat,
        _ => return Err(Strange),
    };
    let size = u32::from_be_bytes([s3, s2, s1, s0]) as usize;
    if size > most.saturating_sub(AROUND) {
        return Err(Strange);
    }
    if buffer.len() < size + AROUND {
        return Ok(None);
    }
    buffer.advance(HEAD);
    let payload = buffer.split_to(size).freeze();
    if buffer.get_u8() != END {
        return Err(Strange);
    }
    Ok(Some(Frame { kind, channel: u16::from_be_bytes([c1, c0]), payload }))
}

/// Writes a frame.
pub(super) fn put_frame(
    out: &mut BytesMut,
    kind: Kind,
    channel: u16,
    payload: impl FnOnce(&mut BytesMut),
) {
    out.put_u8(kind as u8);
    out.put_u16(channel);
    put_sized(out, payload);
    out.put_u8(END);
}

/// Writes something behind its length: a table, a long text.
pub(super) fn put_sized(out: &mut BytesMut, content: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_u32(0);
    content(out);
    let size = u32::try_from(out.len() - at - 4).expect("nothing of ours is that long");
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// Writes a short text: a name.
pub(super) fn put_short(out: &mut BytesMut, text: &str) {
    out.put_u8(u8::try_from(text.len()).expect("the settings hold no longer name"));
    out.put_slice(text.as_bytes());
}

/// Writes a text into a table.
pub(super) fn put_text(out: &mut BytesMut, name: &str, text: &str) {
    put_short(out, name);
    out.put_u8(b'S');
    put_sized(out, |out| out.put_slice(text.as_bytes()));
}

/// Writes a number into a table.
pub(super) fn put_number(out: &mut BytesMut, name: &str, number: i64) {
    put_short(out, name);
    out.put_u8(b'l');
    out.put_i64(number);
}

/// Writes a yes into a table.
pub(super) fn put_yes(out: &mut BytesMut, name: &str) {
    put_short(out, name);
    out.put_slice(b"t\x01");
}

/// What is still to be read of a payload.
pub(super) struct Reading<'a>(pub(super) &'a [u8]);

impl<'a> Reading<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Strange> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Strange)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Strange> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Strange)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Strange> {
        Ok(u8::from_be_bytes(self.take()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Strange> {
        Ok(u16::from_be_bytes(self.take()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Strange> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Strange> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    /// A short text, for people.
    pub(super) fn short(&mut self) -> Result<String, Strange> {
        let length = usize::from(self.u8()?);
        Ok(String::from_utf8_lossy(self.bytes(length)?).into_owned())
    }

    /// A long text, or the inside of a table.
    pub(super) fn long(&mut self) -> Result<&'a [u8], Strange> {
        let length = self.u32()? as usize;
        self.bytes(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: &[u8] = b"\x08\0\0\0\0\0\0\xce";

    #[test]
    fn a_frame_is_taken_once_it_is_whole() {
        let mut written = BytesMut::new();
        put_frame(&mut written, Kind::Body, 1, |out| out.put_slice(b"abc"));
        written.put_slice(HEARTBEAT);
        let mut buffer = BytesMut::new();
        let mut taken = Vec::new();
        for byte in written {
            buffer.put_u8(byte);
            taken.extend(take_frame(&mut buffer, 4096).expect("good bytes"));
        }
        assert!(buffer.is_empty());
        let body = Frame { kind: Kind::Body, channel: 1, payload: Bytes::from_static(b"abc") };
        let beat = Frame { kind: Kind::Heartbeat, channel: 0, payload: Bytes::new() };
        assert_eq!(taken, [body, beat]);
    }

    #[test]
    fn what_is_no_frame_or_too_large_is_strange() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request"[..],
            b"AMQP\0\0\x09\x01",
            b"\x08\0\0\0\0\0\0\xcd",
            b"\x03\0\x01\0\0\x10\x00",
            b"\x03\0\x01\xff\xff\xff\xff",
        ] {
            assert_eq!(take_frame(&mut BytesMut::from(bytes), 4096), Err(Strange), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_cut_short_is_strange() {
        assert_eq!(Reading(b"\x05abcd").short(), Err(Strange));
        assert_eq!(Reading(b"\0\0\0\x05abcd").long(), Err(Strange));
        assert_eq!(Reading(b"\0\0\0\0\0\0\0").u64(), Err(Strange));
        assert_eq!(Reading(b"\x03abcd").short().as_deref(), Ok("abc"));
    }
}
