//! Proof that the generator notices what must not be: a server made up for the test refuses, hangs up,
//! hands out early or twice, and each of these is told. It speaks beanstalkd's language, the shortest.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use super::closed::{self, Shape, Verb};
use super::crowd::Crowd;
use super::deadline::{self, Payloads};
use super::dialect::{Protocol, Shared};
use super::due::{self, Due, Worked};

const PATIENCE: Duration = Duration::from_secs(30);

/// How the made-up server answers.
#[derive(Clone, Copy, Default)]
struct Manners {
    /// Numbers that it hands out, one a reserve.
    hands_out: &'static [u64],
    /// Requests of a kind that it answers well before it refuses one.
    refuses: Option<(&'static str, usize)>,
    /// Requests that it answers before it hangs up.
    hangs_up: Option<usize>,
}

/// Answers one connection until it is closed.
fn serve(stream: TcpStream, manners: Manners) -> std::io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    let mut handed = manners.hands_out.iter();
    let mut of_kind = 0;
    for served in 0.. {
        let mut line = String::new();
        if requests.read_line(&mut line)? == 0 || manners.hangs_up == Some(served) {
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let kind = words.first().copied().unwrap_or_default();
        if kind == "put" {
            let length: usize = words[4].parse().expect("a put tells a length");
            requests.read_exact(&mut vec![0; length + 2])?;
        }
        if let Some((refused, after)) = manners.refuses
            && kind == refused
        {
            if of_kind == after {
                answers.write_all(b"OUT_OF_MEMORY\r\n")?;
                continue;
            }
            of_kind += 1;
        }
        match kind {
            "put" => write!(answers, "INSERTED {served}\r\n")?,
            "delete" => answers.write_all(b"DELETED\r\n")?,
            // Who asks for more than there is waits.
            _ => {
                if let Some(number) = handed.next() {
                    let mut body = Vec::new();
                    deadline::key(&mut body, *number);
                    write!(answers, "RESERVED {number} {}\r\n", body.len())?;
                    body.extend_from_slice(b"\r\n");
                    answers.write_all(&body)?;
                }
            }
        }
    }
    Ok(())
}

fn crowd(manners: Manners) -> Crowd {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a port");
    let address: SocketAddr = listener.local_addr().expect("it has one");
    thread::spawn(move || {
        for stream in listener.incoming() {
            // What a client that has gone away does not read is no matter of the test.
            drop(stream.and_then(|stream| serve(stream, manners)));
        }
    });
    let shared = Rc::new(Shared { payloads: Payloads::new(), names: RefCell::default() });
    Crowd::open(address, Protocol::Beanstalkd, &shared, 1).expect("it listens")
}

/// Schedules ten, two at a time.
fn ten(manners: Manners) -> anyhow::Result<u64> {
    let shape = Shape { depth: 2, batch: 1 };
    let verb = Verb::Schedule(&|_| u64::MAX);
    let done = closed::run(&mut crowd(manners), verb, shape, (0, 10), PATIENCE, PATIENCE)?;
    Ok(done.count)
}

/// Lets a worker take three that are due at that moment.
fn three(manners: Manners, first: Instant) -> anyhow::Result<Worked> {
    let due = Due { count: 3, first_ms: 0, spread_ms: 0, first, others: 3..3 };
    due::work(&mut crowd(manners), &due, 1, PATIENCE, PATIENCE)
}

#[test]
fn a_refused_schedule_ends_the_measurement() {
    assert_eq!(ten(Manners::default()).expect("nothing is refused"), 10);
    let refused = ten(Manners { refuses: Some(("put", 7)), ..Manners::default() });
    let error = refused.expect_err("the eighth is refused").to_string();
    assert!(error.contains("OUT_OF_MEMORY"), "{error}");
}

#[test]
fn a_server_that_goes_away_ends_the_measurement() {
    let gone = ten(Manners { hangs_up: Some(5), ..Manners::default() });
    let error = gone.expect_err("five of ten are answered").to_string();
    assert!(error.contains("hung up"), "{error}");
}

#[test]
fn a_verdict_that_is_refused_ends_the_measurement() {
    let hands_out: &[u64] = &[0, 1, 2];
    let now = Instant::now();
    let worked =
        three(Manners { hands_out, ..Manners::default() }, now).expect("nothing is refused");
    assert_eq!((worked.early, worked.again), (0, 0));
    let refused =
        three(Manners { hands_out, refuses: Some(("delete", 2)), ..Manners::default() }, now);
    assert!(refused.is_err());
}

#[test]
fn what_comes_early_or_twice_is_counted() {
    let twice = Manners { hands_out: &[0, 0, 1, 2], ..Manners::default() };
    let worked = three(twice, Instant::now()).expect("nothing is refused");
    assert_eq!((worked.early, worked.again), (0, 1));
    let in_an_hour = Instant::now() + Duration::from_hours(1);
    let early = Manners { hands_out: &[0, 1, 2], ..Manners::default() };
    let worked = three(early, in_an_hour).expect("nothing is refused");
    assert_eq!((worked.early, worked.again), (3, 0));
}

#[test]
fn what_was_never_scheduled_ends_the_measurement() {
    let strange = Manners { hands_out: &[0, 7], ..Manners::default() };
    assert!(three(strange, Instant::now()).is_err());
}
