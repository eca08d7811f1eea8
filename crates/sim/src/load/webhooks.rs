//! Deadlines whose target is a webhook, and the target: how fast they leave, and how late each arrives.
//!
//! The queue is that of all works, made anew with a webhook for a target. Beside it there may be queues
//! whose targets answer after two seconds or never, with more to deliver than they ever can; what
//! arrives at the good one is told alone. Every delivery must arrive, and what was signed is not
//! looked at here.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use duly::cli::bench::{Head, all_good};
use serde_json::json;

use super::deadline::{self, KEY_BYTES};
use super::due::{Due, Worked};
use super::histogram::Histogram;
use super::target::{Manners, Targets};

/// The queue that all works use.
const QUEUE: &str = "bench";
/// A secret, since shops have one.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
/// How long a slow target thinks.
const SLOW: Duration = Duration::from_secs(2);
/// Deadlines of a queue whose target is slow: more than it takes while anybody measures.
const BACKLOG: u64 = 4_000;

/// Gives the queue its target, and makes so many pairs of a slow queue and a silent one.
pub(super) fn prepare(server: SocketAddr, bad_pairs: u32) -> anyhow::Result<Targets> {
    let mut targets = Targets::new()?;
    lead(server, QUEUE, targets.listen(Manners::AtOnce)?)?;
    for pair in 0..bad_pairs {
        lead(server, &format!("slow-{pair}"), targets.listen(Manners::After(SLOW))?)?;
        lead(server, &format!("silent-{pair}"), targets.listen(Manners::Never)?)?;
    }
    Ok(targets)
}

/// Fills the queues whose targets are bad. All of it is due shortly before the first of the good ones
/// is: how long thousands of lapses in one millisecond take is another work's question.
pub(super) fn fill(server: SocketAddr, bad_pairs: u32, due: &Due) -> anyhow::Result<()> {
    for name in (0..bad_pairs).flat_map(|pair| [format!("slow-{pair}"), format!("silent-{pair}")]) {
        let due = due.in_place_ms();
        let line = |number: u64| {
            let key = number.to_string();
            format!("{}\n", json!({"op": "schedule", "queue": name, "key": key, "due": due}))
        };
        let body: String = (0..BACKLOG).map(line).collect();
        let answer = ask(server, "POST /v1/batch", &body)?;
        all_good(&answer, usize::try_from(BACKLOG).context("too many")?)?;
    }
    ensure!(Instant::now() < due.first, "to schedule them took longer than foreseen");
    Ok(())
}

/// Waits until everything that is due has arrived.
pub(super) fn work(targets: &mut Targets, due: &Due, patience: Duration) -> anyhow::Result<Worked> {
    let mut seen = vec![false; usize::try_from(due.count).context("too many")?];
    let mut left = due.count;
    let (mut handed, mut early, mut again) = (Histogram::default(), 0, 0);
    let end = due.at(due.count - 1) + patience;
    let mut last = due.first;
    while left > 0 {
        ensure!(Instant::now() < end, "{left} of {} never arrived", due.count);
        targets.hear(|body, now| {
            let number = number(body)?;
            let at = usize::try_from(number).ok().and_then(|at| seen.get_mut(at));
            let seen = at.with_context(|| format!("{number} is not due"))?;
            if std::mem::replace(seen, true) {
                again += 1;
                return Ok(());
            }
            early += u64::from(now < due.at(number));
            handed.add(now.saturating_duration_since(due.at(number)));
            (left, last) = (left - 1, now);
            Ok(())
        })?;
    }
    let time = last.saturating_duration_since(due.first);
    Ok(Worked { time, handed, done: Histogram::default(), early, again })
}

/// Whose lapse a body tells.
fn number(body: &[u8]) -> anyhow::Result<u64> {
    const BEFORE: &[u8] = br#""key":""#;
    let before = body.windows(BEFORE.len()).position(|bytes| bytes == BEFORE);
    let begin = before.context("a webhook without a key")? + BEFORE.len();
    deadline::number(body.get(begin..begin + KEY_BYTES).context("a webhook that is cut off")?)
}

fn lead(server: SocketAddr, queue: &str, port: u16) -> anyhow::Result<()> {
    let policy = format!(
        r#"{{"target":{{"webhook":{{"url":"http://127.0.0.1:{port}/lapsed","secrets":["{SECRET}"]}}}}}}"#
    );
    ask(server, &format!("PUT /v1/queues/{queue}"), &policy).map(drop)
}

/// One request on a connection of its own; the body of its answer, which must be a yes.
fn ask(server: SocketAddr, what: &str, body: &str) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).context("cannot reach the server")?;
    let length = body.len();
    write!(stream, "{what} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {length}\r\n\r\n{body}")
        .context("the server does not take a request")?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 << 10]);
    loop {
        let count = stream.read(&mut buffer).context("the server does not answer")?;
        ensure!(count > 0, "the server hung up");
        bytes.extend_from_slice(&buffer[..count]);
        let Some(head) = Head::read(&bytes)? else { continue };
        let Some(answer) = bytes.get(head.begin..head.end) else { continue };
        if !(200..300).contains(&head.status) {
            bail!("{what} is refused: {}", String::from_utf8_lossy(answer));
        }
        return Ok(answer.to_vec());
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Lets these numbers be delivered, of which three are due at that moment.
    fn delivered(numbers: &'static [u64], first: Instant) -> anyhow::Result<Worked> {
        let mut targets = Targets::new().expect("there is a port");
        let port = targets.listen(Manners::AtOnce).expect("there is a port");
        let caller = thread::spawn(move || {
            let server = SocketAddr::from(([127, 0, 0, 1], port));
            for number in numbers {
                let mut key = Vec::new();
                deadline::key(&mut key, *number);
                let key = String::from_utf8(key).expect("it is text");
                let body = format!(r#"{{"data":{{"queue":"bench","key":"{key}"}}}}"#);
                // The last answers are not given when the work is over.
                drop(ask(server, "POST /lapsed", &body));
            }
        });
        let due = Due { count: 3, first_ms: 0, spread_ms: 0, first, others: 3..3 };
        let worked = work(&mut targets, &due, Duration::from_secs(1));
        drop(targets);
        caller.join().expect("no panic");
        worked
    }

    #[test]
    fn what_arrives_is_counted_once_and_told_when_it_is_early_or_strange() {
        let now = Instant::now();
        let worked = delivered(&[0, 1, 1, 2], now).expect("all three arrive");
        assert_eq!((worked.early, worked.again), (0, 1));
        let worked =
            delivered(&[2, 1, 0], now + Duration::from_hours(1)).expect("all three arrive");
        assert_eq!((worked.early, worked.again), (3, 0));
        assert!(delivered(&[0, 7], now).is_err(), "nobody scheduled the second");
        assert!(delivered(&[0, 1], now).is_err(), "the third never arrives");
    }
}
