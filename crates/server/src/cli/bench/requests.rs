//! The requests of the measurements, each built once.
//!
//! Keys are 24 bytes and payloads 200, as an order's would be. Numbers in keys have a fixed width, so
//! that a request is reused by writing other digits over the old ones; its length never changes.

use std::fmt::Write as _;

use super::wire::request;

/// A key is this and 18 digits: 24 bytes.
const KEY: &str = "order-";
const DIGITS: usize = 18;
/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 200;
/// Due long after the measurement.
const LATER: &str = r#""after":"24h""#;

/// A request that names deadlines by numbers that can be changed.
pub(super) struct Template {
    bytes: Vec<u8>,
    /// Where the digits of each key stand.
    places: Vec<usize>,
    wanted: Wanted,
}

/// The answer that is a yes.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// A status of HTTP, and of each line if there are many.
    Status,
    /// This reply of the Redis protocol, for each deadline.
    Reply(&'static [u8]),
}

impl Template {
    /// Every key in `bytes` has its digits written as zeros.
    fn new(bytes: Vec<u8>, wanted: Wanted) -> Template {
        let key = key(0).into_bytes();
        let starts = (0..=bytes.len().saturating_sub(key.len()))
            .filter(|&at| bytes[at..at + key.len()] == key[..]);
        let places = starts.map(|at| at + KEY.len()).collect();
        Template { bytes, places, wanted }
    }

    /// Deadlines it names.
    pub(super) fn len(&self) -> u64 {
        self.places.len() as u64
    }

    pub(super) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// The request for the deadlines from this number on.
    pub(super) fn from(&mut self, first: u64) -> &[u8] {
        for (&place, number) in self.places.iter().zip(first..) {
            let mut rest = number;
            for digit in self.bytes[place..place + DIGITS].iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).expect("a digit is below ten");
                rest /= 10;
            }
        }
        &self.bytes
    }
}

/// The key of a number.
pub(super) fn key(number: u64) -> String {
    format!("{KEY}{number:0DIGITS$}")
}

/// The number of a key.
pub(super) fn number(key: &str) -> Option<u64> {
    key.strip_prefix(KEY)?.parse().ok()
}

fn payload() -> String {
    let open = r#"{"customer":"c-4711","total":"19.90","currency":"EUR","note":""#;
    let close = r#""}"#;
    format!("{open}{}{close}", "x".repeat(PAYLOAD_BYTES - open.len() - close.len()))
}

/// One deadline, due much later.
pub(super) fn schedule(queue: &str) -> Template {
    let path = format!("/v1/queues/{queue}/deadlines/{}", key(0));
    let body = format!("{{{LATER},\"payload\":{}}}", payload());
    Template::new(request("PUT", &path, &body), Wanted::Status)
}

/// A settle of one deadline.
pub(super) fn settle(queue: &str) -> Template {
    let path = format!("/v1/queues/{queue}/deadlines/{}/settle", key(0));
    Template::new(request("POST", &path, r#"{"outcome":"paid"}"#), Wanted::Status)
}

/// Many deadlines in one request, due much later.
pub(super) fn schedules(queue: &str, count: u64) -> Template {
    Template::new(batch(count, |_| (queue, LATER.to_owned())), Wanted::Status)
}

/// So many deadlines as a pipeline of the Redis protocol, due much later.
pub(super) fn set(queue: &str, count: usize) -> Template {
    let key = format!("{queue}:{}", key(0));
    let one = words(&["SET", &key, &payload(), "EX", "86400"]);
    Template::new(one.repeat(count).into_bytes(), Wanted::Reply(b"+OK\r\n"))
}

/// A settle of one deadline over the Redis protocol.
pub(super) fn delete(queue: &str) -> Template {
    let key = format!("{queue}:{}", key(0));
    Template::new(words(&["DEL", &key]).into_bytes(), Wanted::Reply(b":1\r\n"))
}

/// A command of the Redis protocol.
fn words(words: &[&str]) -> String {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        write!(text, "${}\r\n{word}\r\n", word.len()).expect("memory takes all text");
    }
    text
}

/// The deadlines from `first` on in one request, each due when `due` says, in milliseconds.
pub(super) fn schedules_due(
    queue: &str,
    first: u64,
    count: u64,
    due: impl Fn(u64) -> u64,
) -> Vec<u8> {
    let mut template = Template::new(
        batch(count, |place| (queue, format!("\"due\":{}", due(first + place)))),
        Wanted::Status,
    );
    template.from(first).to_vec()
}

fn batch<'a>(count: u64, line: impl Fn(u64) -> (&'a str, String)) -> Vec<u8> {
    let (key, payload) = (key(0), payload());
    let mut body = String::new();
    for place in 0..count {
        let (queue, when) = line(place);
        writeln!(
            body,
            r#"{{"op":"schedule","queue":"{queue}","key":"{key}",{when},"payload":{payload}}}"#
        )
        .expect("memory takes all text");
    }
    request("POST", "/v1/batch", &body)
}

/// A queue with this target.
pub(super) fn queue(name: &str, target: &str) -> Vec<u8> {
    let body = format!(r#"{{"target":"{target}"}}"#);
    request("PUT", &format!("/v1/queues/{name}"), &body)
}

/// A lease that waits for something to lease.
pub(super) fn lease(queue: &str, most: usize) -> Vec<u8> {
    let body = format!(r#"{{"max":{most},"wait":"20s","lease":"60s"}}"#);
    request("POST", &format!("/v1/queues/{queue}/lease"), &body)
}

/// The verdict `done` on each of these (id, token), in one request.
pub(super) fn done<'a>(deliveries: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut body = String::new();
    for (id, token) in deliveries {
        writeln!(body, r#"{{"op":"verdict","id":"{id}","token":"{token}","verdict":"done"}}"#)
            .expect("memory takes all text");
    }
    request("POST", "/v1/batch", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).expect("requests are text")
    }

    #[test]
    fn keys_and_payloads_are_as_long_as_is_said() {
        assert_eq!((key(7).len(), payload().len()), (24, 200));
        assert_eq!(number(&key(4_711)), Some(4_711));
        assert!(serde_json::from_str::<serde_json::Value>(&payload()).is_ok());
    }

    #[test]
    fn a_request_is_used_again_under_other_keys() {
        let mut one = settle("bench");
        assert_eq!(one.len(), 1);
        assert!(text(one.from(42)).contains("/deadlines/order-000000000000000042/settle"));
        assert!(text(one.from(7)).contains("/deadlines/order-000000000000000007/settle"));
        let mut many = schedules("bench", 3);
        assert_eq!(many.len(), 3);
        let sent = text(many.from(9));
        for number in [9, 10, 11] {
            assert!(sent.contains(&format!("\"{}\"", key(number))), "{number}");
        }
    }

    #[test]
    fn a_pipeline_of_the_redis_protocol_names_each_deadline() {
        let mut two = set("bench", 2);
        assert_eq!(two.len(), 2);
        let sent = text(two.from(9));
        for number in [9, 10] {
            let key = format!("bench:{}", key(number));
            let command = format!("*5\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$200\r\n", key.len());
            assert!(sent.contains(&command), "{sent}");
        }
        assert!(
            text(delete("bench").from(1)).starts_with("*2\r\n$3\r\nDEL\r\n$30\r\nbench:order-")
        );
    }

    #[test]
    fn due_times_go_with_their_numbers() {
        let sent = text(&schedules_due("bench", 5, 2, |number| 1_000 + number));
        assert!(sent.contains(&format!("\"key\":\"{}\",\"due\":1005", key(5))));
        assert!(sent.contains(&format!("\"key\":\"{}\",\"due\":1006", key(6))));
    }
}
