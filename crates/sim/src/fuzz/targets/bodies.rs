//! Bodies of requests, one call at a time and many.

use std::mem::discriminant;

use duly::listen::http::KINDS;
use duly::listen::http::reading::{self, Call, Meant, Unread};
use duly_engine::command::{Address, Command};
use duly_engine::id::{DeadlineId, DeliveryId, DirectoryId, Generation, Key, QueueName};
use duly_engine::limits::{HORIZON, LEASE};
use serde_json::Value;

use super::{Fate, said};

/// The engine's refusals that the wire makes use of itself.
const REFUSALS: [&str; 3] = ["bad_policy", "due_too_far", "unknown_delivery"];

/// The first line names the call, the rest is its body.
pub(super) fn feed(input: &[u8]) -> Fate {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (name, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let named = Call::ALL.into_iter().find(|call| word(*call).as_bytes() == name);
    let call = named.unwrap_or(Call::ALL[end % Call::ALL.len()]);
    match read(call, body) {
        Ok(meant) => {
            let again = match &meant {
                Meant::Command(command) => {
                    said::check(command);
                    said::text(said::body(command), command)
                }
                Meant::Lease(wanted) => {
                    let bounds = (1..=1_000).contains(&wanted.max);
                    assert!(bounds && (LEASE.0..=LEASE.1).contains(&wanted.span), "a lease");
                    let (max, wait, span) = (wanted.max, wanted.wait, wanted.span);
                    format!("{{\"max\":{max},\"wait\":\"{wait}\",\"lease\":\"{span}\"}}")
                }
                Meant::Link(wanted) => {
                    assert!(wanted.ttl.is_none_or(|ttl| ttl <= HORIZON), "a link for ten years");
                    assert!(wanted.generation.is_none_or(|it| it.0 > 0), "generation 0");
                    said::link(wanted)
                }
                Meant::Advance(span) => {
                    assert!(*span <= HORIZON, "a clock was advanced beyond ten years");
                    format!("{{\"by\":\"{span}\"}}")
                }
            };
            let read = read(call, again.as_bytes());
            assert_eq!(read.as_ref(), Ok(&meant), "{call:?} is said again as {again}");
            Fate::taken((word(call), body.len().checked_ilog2()))
        }
        Err(unread) => {
            check(&unread, body);
            Fate::refused((word(call), unread.code))
        }
    }
}

/// The lines of a batch.
pub(super) fn feed_batch(input: &[u8]) -> Fate {
    let lines = match reading::batch(input) {
        Ok(lines) => lines,
        Err(unread) => {
            check(&unread, input);
            return Fate::refused(unread.code);
        }
    };
    let (mut kinds, mut codes) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            Ok(command) => {
                said::check(&command);
                let again = said::line(&command);
                let read = reading::batch(again.as_bytes()).expect("it is one line");
                let same = |read: &Command| *read == command || same_but_breaks(read, &command);
                let is_same = matches!(&read[..], [Ok(read)] if same(read));
                assert!(is_same, "{command:?} is said again as {again} and read as {read:?}");
                kinds.push(discriminant(&command));
            }
            Err(unread) => {
                check(&unread, input);
                codes.push(unread.code);
            }
        }
    }
    codes.dedup();
    if kinds.is_empty() { Fate::refused(codes) } else { Fate::taken((kinds, codes)) }
}

/// Are they the same but for the line breaks in a payload?
fn same_but_breaks(one: &Command, other: &Command) -> bool {
    let (Command::Schedule(one), Command::Schedule(other)) = (one, other) else { return false };
    let (mut one, mut other) = (one.clone(), other.clone());
    for payload in [&mut one.payload, &mut other.payload].into_iter().flatten() {
        let unbroken = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
        payload.bytes = payload.bytes.iter().map(unbroken).collect();
    }
    one == other
}

fn read(call: Call, body: &[u8]) -> Result<Meant, Unread> {
    let at = Address {
        queue: QueueName::new("orders").expect("it is a name"),
        key: Key::new("42").expect("it is a key"),
    };
    let delivery = DeliveryId {
        directory: DirectoryId(7),
        deadline: DeadlineId(17),
        generation: Generation::FIRST,
    };
    reading::body(call, &at, delivery, body)
}

/// What is refused is refused in the one form there is.
pub(super) fn check(unread: &Unread, input: &[u8]) {
    let stable = KINDS.iter().any(|kind| kind.code == unread.code && kind.status < 500);
    assert!(stable || REFUSALS.contains(&unread.code), "{} is no stable code", unread.code);
    let problem: Value = serde_json::from_str(&unread.body).expect("a problem is JSON");
    assert_eq!(problem["code"], unread.code, "a problem has one code");
    assert!(problem["hint"].is_string(), "{} has no hint", unread.code);
    let longest = 4_096 + 8 * input.len();
    assert!(unread.body.len() <= longest, "a problem is longer than what it is about");
}

fn word(call: Call) -> &'static str {
    match call {
        Call::Schedule => "schedule",
        Call::Settle => "settle",
        Call::Extend => "extend",
        Call::Freeze => "freeze",
        Call::Revive => "revive",
        Call::PutQueue => "putqueue",
        Call::Pause => "pause",
        Call::Resume => "resume",
        Call::Shift => "shift",
        Call::Lease => "lease",
        Call::Verdict => "verdict",
        Call::Touch => "touch",
        Call::Link => "link",
        Call::Advance => "advance",
        Call::Confirm => "confirm",
    }
}
