//! Records, written straight as they are walked over.
//!
//! A record has two dozen fields and a delivery with its verdict is told hundreds of times in one
//! pipeline: a tree of replies for each would cost more than all the rest of its request. So what has
//! fields is [`Told`] to a [`Telling`], which writes it in the client's version of the protocol. Only
//! how many fields there are is known too late: the count moves in front of them when they are there.

use std::io::Write as _;

use duly_engine::time::Time;

use crate::Writers;
use crate::reply::{Reply, Version, bulk, head, length};

/// A usual record takes no more, in bytes.
const ROOM: usize = 1_024;

/// How a client is told things.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) version: Version,
    pub(crate) show: Writers,
}

impl Manner {
    /// Named fields as a reply.
    pub(crate) fn map(self, fields: impl FnOnce(&mut Fields<'_>)) -> Reply {
        let mut telling = Telling { manner: self, written: Vec::with_capacity(ROOM) };
        telling.map(fields);
        Reply::Written(telling.written)
    }
}

/// Something that a client can be told.
pub(crate) trait Told {
    /// Writes it.
    fn tell(&self, to: &mut Telling);
}

/// What is being written.
pub(crate) struct Telling {
    manner: Manner,
    written: Vec<u8>,
}

impl Telling {
    /// Things under names.
    pub(crate) fn map(&mut self, tell: impl FnOnce(&mut Fields<'_>)) {
        let begin = self.written.len();
        let mut fields = Fields { telling: self, count: 0 };
        tell(&mut fields);
        let count = fields.count;
        let (kind, each) = self.manner.version.map();
        self.put_before(begin, kind, length(count * each));
    }

    /// Things in order.
    pub(crate) fn list<T: Told>(&mut self, things: impl ExactSizeIterator<Item = T>) {
        head(&mut self.written, b'*', length(things.len()));
        things.for_each(|thing| thing.tell(self));
    }

    /// Text that is not there yet, and so as long as it becomes.
    fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.written.len();
        write(&mut self.written);
        let bytes = length(self.written.len() - begin);
        self.put_before(begin, b'$', bytes);
        self.written.extend_from_slice(b"\r\n");
    }

    /// A kind and a number before what was written from here on.
    fn put_before(&mut self, begin: usize, kind: u8, number: i64) {
        let end = self.written.len();
        head(&mut self.written, kind, number);
        let bytes = self.written.len() - end;
        self.written[begin..].rotate_right(bytes);
    }

    /// The first of these in order, until they have about so many bytes; those that were told.
    pub(crate) fn list_about<'a, T: Told>(&mut self, things: &'a [T], bytes: usize) -> &'a [T] {
        let begin = self.written.len();
        let mut told = 0;
        while told < things.len() && self.written.len() - begin < bytes {
            things[told].tell(self);
            told += 1;
        }
        self.put_before(begin, b'*', length(told));
        &things[..told]
    }
}

/// The fields of a map that is being written.
pub(crate) struct Fields<'a> {
    telling: &'a mut Telling,
    count: usize,
}

impl Fields<'_> {
    /// A field.
    pub(crate) fn with(&mut self, name: &'static str, value: impl Told) -> &mut Self {
        self.open(name);
        value.tell(self.telling);
        self
    }

    /// A field that is left out where there is nothing.
    pub(crate) fn if_any(&mut self, name: &'static str, value: Option<impl Told>) -> &mut Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// A list.
    pub(crate) fn list<T: Told>(
        &mut self,
        name: &'static str,
        things: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    ) -> &mut Self {
        self.open(name).list(things.into_iter());
        self
    }

    /// Fields of its own.
    pub(crate) fn map(
        &mut self,
        name: &'static str,
        tell: impl FnOnce(&mut Fields<'_>),
    ) -> &mut Self {
        self.open(name).map(tell);
        self
    }

    /// The name of a field, whose value follows.
    pub(crate) fn open(&mut self, name: &str) -> &mut Telling {
        self.count += 1;
        name.tell(self.telling);
        self.telling
    }
}

/// An id or a token: a number that clients must not count with, and so text.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: std::fmt::Display> Told for Id<T> {
    fn tell(&self, to: &mut Telling) {
        to.text(|out| write!(out, "{}", self.0).expect("memory takes it"));
    }
}

impl<T: Told + ?Sized> Told for &T {
    fn tell(&self, to: &mut Telling) {
        (**self).tell(to);
    }
}

impl Told for str {
    fn tell(&self, to: &mut Telling) {
        bulk(&mut to.written, self.as_bytes());
    }
}

impl Told for [u8] {
    fn tell(&self, to: &mut Telling) {
        bulk(&mut to.written, self);
    }
}

impl Told for u64 {
    fn tell(&self, to: &mut Telling) {
        head(&mut to.written, b':', i64::try_from(*self).unwrap_or(i64::MAX));
    }
}

impl Told for u32 {
    fn tell(&self, to: &mut Telling) {
        head(&mut to.written, b':', i64::from(*self));
    }
}

impl Told for bool {
    fn tell(&self, to: &mut Telling) {
        Reply::Boolean(*self).write(to.manner.version, &mut to.written);
    }
}

impl Told for Time {
    fn tell(&self, to: &mut Telling) {
        let show = to.manner.show.instant;
        to.text(|out| show(*self, out));
    }
}

/// Nothing is told as nothing.
impl<T: Told> Told for Option<T> {
    fn tell(&self, to: &mut Telling) {
        match self {
            Some(thing) => thing.tell(to),
            None => Reply::Nothing.write(to.manner.version, &mut to.written),
        }
    }
}

/// A policy, as the document that it is given as.
impl Told for duly_engine::queue::Policy {
    fn tell(&self, to: &mut Telling) {
        (to.manner.show.policy)(self).as_str().tell(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: Version) -> String {
        let show = Writers {
            instant: |time, out| out.extend_from_slice(format!("@{}", time.millis()).as_bytes()),
            policy: |_| String::new(),
        };
        let mut out = Vec::new();
        let reply = Manner { version, show }.map(|fields| {
            fields
                .with("id", Id(7))
                .if_any("outcome", None::<&str>)
                .with("due", Time::from_millis(9))
                .with("last_error", None::<&str>)
                .list("timeline", ["a", "b"])
                .map("settled", |outcomes| {
                    outcomes.with("paid", 3_u64);
                })
                .with("gone", true);
        });
        reply.write(version, &mut out);
        String::from_utf8(out).expect("it is text").replace("\r\n", " ")
    }

    #[test]
    fn fields_are_counted_when_they_are_there_and_the_count_stands_before_them() {
        assert_eq!(
            written(Version::Two),
            "*12 $2 id $1 7 $3 due $2 @9 $10 last_error $-1 $8 timeline *2 $1 a $1 b $7 settled *2 $4 paid :3 $4 gone :1 "
        );
        assert_eq!(
            written(Version::Three),
            "%6 $2 id $1 7 $3 due $2 @9 $10 last_error _ $8 timeline *2 $1 a $1 b $7 settled %1 $4 paid :3 $4 gone #t "
        );
    }

    #[test]
    fn a_list_ends_behind_the_thing_with_which_it_is_long_enough() {
        let show = Writers { instant: |_, _| {}, policy: |_| String::new() };
        let manner = Manner { version: Version::Two, show };
        for (bytes, expected) in [(1, 1), (7, 1), (8, 2), (1_000, 3)] {
            let mut telling = Telling { manner, written: b"+OK\r\n".to_vec() };
            let told = telling.list_about(&["a", "b", "c"], bytes).len();
            assert_eq!(told, expected, "{bytes} bytes");
            let head = format!("+OK\r\n*{told}\r\n$1\r\na\r\n");
            assert!(telling.written.starts_with(head.as_bytes()));
        }
    }
}
