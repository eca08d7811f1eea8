//! Requests, cut out of the bytes as they arrive.
//!
//! A request is a list of words, each with its length before it, or a line of words as a person
//! types it into a terminal. Bytes may be cut anywhere: what has been read of a request is not read
//! again when the rest arrives. Lengths are checked against [`limits`](self) before anything is set
//! aside for them, and what is set aside grows with what has really arrived. Bytes that are no
//! request end the conversation; half a request is no error.
//!
//! Source: the protocol's specification, <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::ops::Range;

/// Most words of one request.
const WORDS: i64 = 65_536;
/// Longest word, in bytes. A payload is refused long before, but in words and not by hanging up.
const WORD_BYTES: i64 = 1 << 20;
/// Longest request, in bytes.
const REQUEST_BYTES: usize = 16 << 20;
/// Longest line that a person types, in bytes.
const LINE_BYTES: usize = 64 << 10;
/// Longest line that carries a length, in bytes.
const LENGTH_BYTES: usize = 32;
/// What is kept for the next requests when all have been read.
const KEPT_BYTES: usize = 64 << 10;
/// Words for which room is kept.
const KEPT_WORDS: usize = 1 << 10;

/// The bytes are no request: what to tell the client before hanging up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) String);

/// The words of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    bytes: &'a [u8],
    places: &'a [Range<usize>],
}

impl<'a> Words<'a> {
    /// How many there are, the command's name among them.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// One of them.
    pub(crate) fn get(&self, number: usize) -> Option<&'a [u8]> {
        self.places.get(number).map(|place| &self.bytes[place.clone()])
    }

    /// One that is there because the number of words was checked.
    pub(crate) fn at(&self, number: usize) -> &'a [u8] {
        self.get(number).expect("the table has checked how many words there are")
    }

    /// Those from this one on.
    pub(crate) fn from(&self, number: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.places.get(number..).unwrap_or_default().iter().map(move |place| &bytes[place.clone()])
    }
}

/// What has arrived of requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    /// Where the request begins that is being read, or was read last.
    start: usize,
    /// Up to where it has been read.
    at: usize,
    /// How far the line that begins at `at` has been searched for its end.
    searched: usize,
    /// Its words so far: places in `bytes`, or in `line` if a person typed it.
    places: Vec<Range<usize>>,
    /// Words that have not come yet; none if not even their number has.
    missing: Option<i64>,
    /// The length of the word that comes next.
    length: Option<usize>,
    /// A typed line without its quotes.
    line: Vec<u8>,
    is_typed: bool,
    is_whole: bool,
}

impl Requests {
    /// Takes what has arrived.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        let read = if self.is_whole { self.at } else { self.start };
        if read > 0 && read == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
            self.moved(read);
        } else if read > self.bytes.len() / 2 {
            self.bytes.drain(..read);
            // What a long request took is not kept for as long as there is half of another.
            self.bytes.shrink_to(KEPT_BYTES.max(2 * self.bytes.len()));
            self.moved(read);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Everything in front has been taken away.
    fn moved(&mut self, by: usize) {
        if self.is_whole {
            self.forget();
        }
        self.start = self.start.saturating_sub(by);
        self.at -= by;
        self.searched = self.searched.saturating_sub(by);
        for place in &mut self.places {
            *place = place.start - by..place.end - by;
        }
    }

    /// The last request has been dealt with.
    fn forget(&mut self) {
        self.start = self.at;
        self.searched = self.at;
        self.places.clear();
        self.places.shrink_to(KEPT_WORDS);
        self.missing = None;
        self.length = None;
        self.line.clear();
        self.line.shrink_to(KEPT_WORDS);
        self.is_typed = false;
        self.is_whole = false;
    }

    /// The next request, if all of it has arrived.
    pub(crate) fn next(&mut self) -> Result<Option<Words<'_>>, Broken> {
        if self.is_whole {
            self.forget();
        }
        self.is_whole = self.read()?;
        Ok(if self.is_whole { Some(self.words()) } else { None })
    }

    /// Gives the last request out once more: it could not be begun yet.
    pub(crate) fn put_back(&mut self) {
        assert!(self.is_whole, "only what was given out can be put back");
        self.at = self.start;
        self.forget();
    }

    /// How many bytes of it are not read yet.
    pub(crate) fn unread(&self) -> usize {
        self.bytes.len() - if self.is_whole { self.at } else { self.start }
    }

    fn words(&self) -> Words<'_> {
        let bytes = if self.is_typed { &self.line } else { &self.bytes };
        Words { bytes, places: &self.places }
    }

    fn read(&mut self) -> Result<bool, Broken> {
        while self.missing.is_none() {
            match self.bytes.get(self.at) {
                None => return Ok(false),
                Some(b'*') => {
                    let Some(count) = self.number(LENGTH_BYTES, "multibulk")? else {
                        return Ok(false);
                    };
                    if count > WORDS {
                        return Err(broken("invalid multibulk length"));
                    }
                    if count <= 0 {
                        // Redis passes over an empty list without a word.
                        self.forget();
                    } else {
                        self.missing = Some(count);
                    }
                }
                Some(_) => {
                    let Some(line) =
                        self.take_line(LINE_BYTES, || broken("too big inline request"))?
                    else {
                        return Ok(false);
                    };
                    self.typed(line)?;
                    if !self.places.is_empty() {
                        return Ok(true);
                    }
                    self.forget();
                }
            }
        }
        while self.missing != Some(0) {
            if !self.read_word()? {
                return Ok(false);
            }
            self.missing = self.missing.map(|missing| missing - 1);
        }
        Ok(true)
    }

    /// Reads a word with its length, if it is there.
    fn read_word(&mut self) -> Result<bool, Broken> {
        let length = match self.length {
            Some(length) => length,
            None => match self.bytes.get(self.at) {
                None => return Ok(false),
                Some(b'$') => {
                    let Some(length) = self.number(LENGTH_BYTES, "bulk")? else { return Ok(false) };
                    if !(0..=WORD_BYTES).contains(&length) {
                        return Err(broken("invalid bulk length"));
                    }
                    usize::try_from(length).expect("a megabyte fits")
                }
                Some(other) => {
                    let shown = if other.is_ascii_graphic() { char::from(*other) } else { '?' };
                    return Err(broken(&format!("expected '$', got '{shown}'")));
                }
            },
        };
        if self.at + length + 2 - self.start > REQUEST_BYTES {
            return Err(broken("the request is longer than 16 MiB"));
        }
        self.length = Some(length);
        let end = self.at + length;
        let Some(after) = self.bytes.get(end..end + 2) else { return Ok(false) };
        if after != b"\r\n" {
            return Err(broken("a word is longer than its length says"));
        }
        self.places.push(self.at..end);
        self.at = end + 2;
        self.searched = self.at;
        self.length = None;
        Ok(true)
    }

    /// The number in the line that begins here, if the line has ended.
    fn number(&mut self, most: usize, of: &str) -> Result<Option<i64>, Broken> {
        let invalid = || broken(&format!("invalid {of} length"));
        let Some(line) = self.take_line(most, invalid)? else { return Ok(None) };
        let number = crate::number::integer(&self.bytes[line.start + 1..line.end]);
        number.map(Some).ok_or_else(invalid)
    }

    /// Takes the line that begins here, without its end, if that has come.
    fn take_line(
        &mut self,
        most: usize,
        too_long: impl FnOnce() -> Broken,
    ) -> Result<Option<Range<usize>>, Broken> {
        let from = self.searched.max(self.at);
        let Some(length) = self.bytes[from..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            if self.bytes.len() - self.at > most {
                return Err(too_long());
            }
            return Ok(None);
        };
        let end = from + length;
        if end - self.at > most {
            return Err(too_long());
        }
        let line = self.at..end;
        self.at = end + 1;
        self.searched = self.at;
        let has_return = !line.is_empty() && self.bytes[line.end - 1] == b'\r';
        Ok(Some(line.start..line.end - usize::from(has_return)))
    }

    /// Takes a typed line apart: words between spaces, or in quotes.
    fn typed(&mut self, line: Range<usize>) -> Result<(), Broken> {
        self.is_typed = true;
        let line = &self.bytes[line];
        let mut at = 0;
        loop {
            at += line[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            if at == line.len() {
                return Ok(());
            }
            let start = self.line.len();
            let unbalanced = || broken("unbalanced quotes in request");
            at += unquoted(&line[at..], &mut self.line).ok_or_else(unbalanced)?;
            self.places.push(start..self.line.len());
        }
    }
}

/// Writes the first word of a line without its quotes and says how much of the line it takes; none
/// if a quote is not closed, or does not end the word.
fn unquoted(line: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    let mut quote = None;
    while let Some(&byte) = line.get(at) {
        at += 1;
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, _) if byte.is_ascii_whitespace() => return Some(at),
            (Some(open), _) if byte == open => {
                let ends = line.get(at).is_none_or(u8::is_ascii_whitespace);
                return ends.then_some(at);
            }
            (Some(b'"'), b'\\') => at += escaped(&line[at..], out)?,
            (Some(b'\''), b'\\') if line.get(at) == Some(&b'\'') => {
                out.push(b'\'');
                at += 1;
            }
            _ => out.push(byte),
        }
    }
    quote.is_none().then_some(at)
}

/// Writes what a backslash in double quotes stands for and says how many bytes after it that took.
fn escaped(rest: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let digit = |at: usize| rest.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    if rest.first() == Some(&b'x')
        && let (Some(high), Some(low)) = (digit(1), digit(2))
    {
        out.push(u8::try_from(high * 16 + low).expect("two digits are a byte"));
        return Some(3);
    }
    out.push(match rest.first()? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => *other,
    });
    Some(1)
}

fn broken(why: &str) -> Broken {
    Broken(format!("Protocol error: {why}"))
}

#[cfg(test)]
mod tests {
    use super::{Broken, Requests};

    /// All requests in these bytes, which arrive in pieces of this size; then what broke, if it did.
    fn read(bytes: &[u8], piece: usize) -> (Vec<Vec<Vec<u8>>>, Option<Broken>) {
        let mut requests = Requests::default();
        let mut all = Vec::new();
        for piece in bytes.chunks(piece.max(1)) {
            requests.receive(piece);
            loop {
                match requests.next() {
                    Ok(Some(words)) => all.push(words.from(0).map(<[u8]>::to_vec).collect()),
                    Ok(None) => break,
                    Err(broken) => return (all, Some(broken)),
                }
            }
        }
        (all, None)
    }

    #[test]
    fn any_cutting_gives_the_same_requests() {
        let bytes =
            b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n\r\nPING  'a b' \"\\x41\\n\"\r\n*0\r\n*-1\r\n\
            *1\r\n$0\r\n\r\nECHO it's\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
        let (whole, broken) = read(bytes, bytes.len());
        assert_eq!(broken, Some(Broken("Protocol error: unbalanced quotes in request".to_owned())));
        assert_eq!(whole.len(), 3);
        assert_eq!(whole[0], [b"GET".to_vec(), b"a\r\nb".to_vec()]);
        assert_eq!(whole[1], [b"PING".to_vec(), b"a b".to_vec(), b"A\n".to_vec()]);
        assert_eq!(whole[2], [b"".to_vec()]);
        for piece in 1..bytes.len() {
            assert_eq!(read(bytes, piece).0, whole, "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_request_is_told_why() {
        let long = [b"PING ".to_vec(), vec![b'x'; 70_000]].concat();
        for (bytes, why) in [
            (&b"*1\r\n:1\r\n"[..], "expected '$', got ':'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$1048577\r\n", "invalid bulk length"),
            (b"*1\r\n$x\r\n", "invalid bulk length"),
            (b"*65537\r\n", "invalid multibulk length"),
            (b"*1x\r\n", "invalid multibulk length"),
            (b"*11111111111111111111111111111111111111", "invalid multibulk length"),
            (b"*1\r\n$3\r\nGETX\r\n", "a word is longer than its length says"),
            (b"SET k \"v\r\n", "unbalanced quotes in request"),
            (b"SET k \"v\"x\r\n", "unbalanced quotes in request"),
            (&long, "too big inline request"),
        ] {
            let (_, broken) = read(bytes, 7);
            assert_eq!(broken, Some(Broken(format!("Protocol error: {why}"))));
        }
    }

    #[test]
    fn a_length_sets_nothing_aside() {
        let mut requests = Requests::default();
        requests.receive(b"*65536\r\n$1048576\r\n");
        assert!(requests.next().expect("fine so far").is_none());
        assert!(requests.bytes.capacity() < 1024 && requests.places.capacity() < 1024);
    }

    #[test]
    fn what_a_long_request_took_is_not_kept_for_half_of_the_next() {
        let mut requests = Requests::default();
        let word = vec![b'x'; 1 << 20];
        requests.receive(b"*16\r\n");
        for _ in 0..15 {
            requests.receive(b"$1048576\r\n");
            requests.receive(&word);
            requests.receive(b"\r\n");
        }
        // The last word ends as the next request begins.
        requests.receive(b"$0\r\n\r\n*2");
        assert!(requests.next().expect("a request").is_some());
        assert!(requests.next().expect("half of one").is_none());
        requests.receive(b"\r\n");
        assert!(requests.bytes.capacity() <= 64 << 10, "{}", requests.bytes.capacity());
        let many = "$0\r\n\r\n".repeat(60_000);
        requests.receive(format!("$0\r\n\r\n$0\r\n\r\n*60000\r\n{many}*1").as_bytes());
        while requests.next().expect("requests").is_some() {}
        assert!(requests.places.capacity() <= 1 << 10, "{}", requests.places.capacity());
    }

    #[test]
    fn what_was_put_back_comes_again() {
        let mut requests = Requests::default();
        requests.receive(b"*1\r\n$4\r\nPING\r\nHELLO 3\r\n");
        assert_eq!(requests.next().expect("a request").expect("whole").at(0), b"PING");
        requests.put_back();
        assert_eq!(requests.next().expect("a request").expect("whole").at(0), b"PING");
        let hello = requests.next().expect("a request").expect("whole");
        assert_eq!((hello.at(0), hello.at(1), hello.len()), (&b"HELLO"[..], &b"3"[..], 2));
        requests.put_back();
        requests.receive(b"QUIT\r\n");
        assert_eq!(requests.next().expect("a request").expect("whole").len(), 2);
        assert_eq!(requests.next().expect("a request").expect("whole").at(0), b"QUIT");
        assert!(requests.next().expect("nothing").is_none());
        assert_eq!(requests.unread(), 0);
    }
}
