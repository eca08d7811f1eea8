//! NATS: message schedules in a `JetStream` stream, a subject for each key.
//!
//! A schedule is a message with the headers `Nats-Schedule` and `Nats-Schedule-Target`; purging its subject
//! settles it. What falls due is moved to its target's subject in the same stream, where a pull
//! consumer hands it out; a verdict is an acknowledgement that is confirmed itself.

use std::io::Write as _;
use std::rc::Rc;

use anyhow::{Context as _, bail, ensure};

use super::super::deadline::{self, KEY_BYTES, PAYLOAD_BYTES};
use super::{Dialect, Handed, Said, Shared, digits, line};

const STREAM: &str = r#"{"name":"bench","subjects":["pending.>","due.>"],"retention":"limits",
"storage":"file","num_replicas":1,"discard":"old","allow_msg_schedules":true,"allow_msg_ttl":true}"#;
const CONSUMER: &str = r#"{"stream_name":"bench","config":{"durable_name":"workers","ack_policy":"explicit",
"ack_wait":60000000000,"max_ack_pending":-1,"max_waiting":512,"filter_subject":"due.>"}}"#;
/// Subjects of what waits and of what is due.
const PENDING: &[u8] = b"pending.";
const DUE: &[u8] = b"due.";
/// Kinds of answers: the last part of the subject they come to.
const STORED: &str = "stored";
const PURGED: &str = "purged";
const ASKED: &str = "asked";
const ACKNOWLEDGED: &str = "acknowledged";
const STREAM_IS_THERE: &str = "stream";
const CONSUMER_IS_THERE: &str = "consumer";

/// A client.
pub(super) struct Nats {
    shared: Rc<Shared>,
    /// Where its answers come to, with a dot at its end.
    inbox: String,
    /// Deliveries that are still to come of what was leased.
    open: usize,
}

impl Nats {
    pub(super) fn new(shared: Rc<Shared>, place: usize) -> Nats {
        Nats { shared, inbox: format!("_INBOX.{place}."), open: 0 }
    }

    /// Publishes to a subject; the answer is of this kind.
    fn publish(&self, out: &mut Vec<u8>, subject: &[u8], kind: &str, body: &[u8]) {
        self.subject(out, b"PUB ", subject, kind);
        digits(out, body.len() as u64);
        for part in [b"\r\n", body, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }

    fn subject(&self, out: &mut Vec<u8>, verb: &[u8], subject: &[u8], kind: &str) {
        for part in [verb, subject, b" ", self.inbox.as_bytes(), kind.as_bytes(), b" "] {
            out.extend_from_slice(part);
        }
    }

    /// What a message means that came to this subject.
    fn message(
        &mut self,
        (subject, reply): (&str, &str),
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> anyhow::Result<Said> {
        if let Some(key) = subject.as_bytes().strip_prefix(DUE) {
            self.open = self.open.saturating_sub(1);
            let handed =
                Handed { number: deadline::number(key)?, name: reply.as_bytes().to_owned() };
            return Ok(Said::Handed(vec![handed]));
        }
        let kind = subject.strip_prefix(&self.inbox).context("a message for somebody else")?;
        let has = |text: &[u8]| body.windows(text.len()).any(|part| part == text);
        let good = match kind {
            ACKNOWLEDGED => true,
            STORED => has(br#""seq":"#) && !has(br#""duplicate":true"#),
            PURGED => has(br#""purged":1"#),
            STREAM_IS_THERE | CONSUMER_IS_THERE => !has(br#""error":"#),
            // A status: nothing more comes of what was asked.
            ASKED => return Ok(Said::Nothing(std::mem::take(&mut self.open))),
            _ => false,
        };
        ensure!(good, "not done: {}", String::from_utf8_lossy(body));
        if kind == STREAM_IS_THERE {
            // Requests to different ends of its interface are not carried out in the order they came.
            let consumer = b"$JS.API.CONSUMER.DURABLE.CREATE.bench.workers";
            self.publish(out, consumer, CONSUMER_IS_THERE, CONSUMER.as_bytes());
            return Ok(Said::Noise);
        }
        Ok(Said::Done(1))
    }
}

impl Dialect for Nats {
    fn prepare(&mut self, out: &mut Vec<u8>) -> u64 {
        self.publish(out, b"$JS.API.STREAM.CREATE.bench", STREAM_IS_THERE, STREAM.as_bytes());
        1
    }

    fn greet(&mut self, out: &mut Vec<u8>) -> u64 {
        out.extend_from_slice(br#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"#);
        out.extend_from_slice(b"\"no_responders\":true}\r\n");
        write!(out, "SUB {}> 1\r\nPING\r\n", self.inbox).expect("memory takes all text");
        1
    }

    fn schedule(&mut self, out: &mut Vec<u8>, first: u64, count: u64, due: &dyn Fn(u64) -> u64) {
        for number in first..first + count {
            let mut subject = [PENDING, &[0; KEY_BYTES]].concat();
            subject.truncate(PENDING.len());
            deadline::key(&mut subject, number);
            let mut head = Vec::with_capacity(160);
            head.extend_from_slice(b"NATS/1.0\r\nNats-Schedule: @at ");
            instant(&mut head, due(number));
            head.extend_from_slice(b"\r\nNats-Schedule-Target: ");
            head.extend_from_slice(DUE);
            deadline::key(&mut head, number);
            head.extend_from_slice(b"\r\n\r\n");
            self.subject(out, b"HPUB ", &subject, STORED);
            digits(out, head.len() as u64);
            out.push(b' ');
            digits(out, (head.len() + PAYLOAD_BYTES) as u64);
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(&head);
            self.shared.payloads.write(out, number);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn settle(&mut self, out: &mut Vec<u8>, number: u64) {
        let mut body = br#"{"filter":"pending."#.to_vec();
        deadline::key(&mut body, number);
        body.extend_from_slice(br#""}"#);
        self.publish(out, b"$JS.API.STREAM.PURGE.bench", PURGED, &body);
    }

    fn lease(&mut self, out: &mut Vec<u8>, most: usize) -> usize {
        let body = format!(r#"{{"batch":{most},"expires":10000000000}}"#);
        self.publish(out, b"$JS.API.CONSUMER.MSG.NEXT.bench.workers", ASKED, body.as_bytes());
        self.open = most;
        most
    }

    fn verdicts(&mut self, out: &mut Vec<u8>, handed: &[Handed]) {
        for one in handed {
            self.publish(out, &one.name, ACKNOWLEDGED, b"+ACK");
        }
    }

    fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> anyhow::Result<Option<(usize, Said)>> {
        let Some((said, length)) = line(bytes) else { return Ok(None) };
        let text = std::str::from_utf8(said).context("an answer that is not text")?;
        let words: Vec<&str> = text.split(' ').collect();
        let (verb, rest) = words.split_first().context("an empty line")?;
        match *verb {
            "PING" => out.extend_from_slice(b"PONG\r\n"),
            "PONG" => return Ok(Some((length, Said::Done(1)))),
            "INFO" | "+OK" => {}
            "MSG" | "HMSG" => {
                // The last word is the length of all; before it stands that of the headers, if any.
                let lengths = if *verb == "MSG" { 1 } else { 2 };
                let size: usize = rest.last().context("no length")?.parse()?;
                let Some(body) = bytes.get(length..length + size) else { return Ok(None) };
                if bytes.len() < length + size + 2 {
                    return Ok(None);
                }
                let reply = rest.get(2).filter(|_| rest.len() > 2 + lengths).unwrap_or(&"");
                let said = self.message((rest[0], reply), body, out)?;
                return Ok(Some((length + size + 2, said)));
            }
            _ => bail!("refused: {text}"),
        }
        Ok(Some((length, Said::Noise)))
    }
}

/// Writes an instant as RFC 3339.
fn instant(out: &mut Vec<u8>, ms: u64) {
    let seconds = ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since the first of March of the year 0, in eras of 400 years: leap days come last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    write!(
        out,
        "{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        era * 400 + year + next,
        second / 3_600,
        second / 60 % 60,
        second % 60,
        ms % 1_000
    )
    .expect("memory takes all text");
}

#[cfg(test)]
mod tests {
    use super::instant;

    #[test]
    fn instants_are_written_as_the_calendar_has_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_399_225_811, "2026-11-23T02:00:25.811Z"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
        ] {
            let mut out = Vec::new();
            instant(&mut out, ms);
            assert_eq!(String::from_utf8(out).expect("it is text"), text);
        }
    }
}
