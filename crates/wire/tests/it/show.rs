//! Commands and bytes as people read them: what is asked, and what a client is told.

use std::fmt::Write as _;

use duly_engine::command::{Address, Command, ExtendBy, IfExists, Schedule, When};
use duly_engine::deadline::PayloadKind;
use duly_engine::time::Time;

use crate::world::NOON;

/// A question to the engine, on one line.
pub(crate) fn command(command: &Command) -> String {
    let said = match command {
        Command::Schedule(schedule) => scheduled(schedule),
        Command::Settle(settle) => format!("settle {} {}", at(&settle.at), settle.outcome),
        Command::Extend(extend) => {
            let by = match extend.by {
                ExtendBy::Span(span) => format!("by {span}"),
                ExtendBy::After(span) => format!("to {span} from now"),
                ExtendBy::Due(due) => format!("to {}", time(due)),
            };
            let if_due = extend.if_due.map(|due| format!(" if due {}", time(due)));
            format!("extend {} {by}{}", at(&extend.at), if_due.unwrap_or_default())
        }
        Command::Get(address) => format!("get {}", at(address)),
        Command::ListQueues => "list the queues".to_owned(),
        Command::GetClock => "look at the clock".to_owned(),
        Command::Scan(scan) => format!("scan from {}", scan.from_slot),
        Command::GetQueue(queue) => format!("look at the queue {queue}"),
        other => format!("{other:?}"),
    };
    format!("? {said}")
}

fn scheduled(schedule: &Schedule) -> String {
    let mut said = format!("schedule {}", at(&schedule.at));
    match schedule.when {
        When::Default => said += " by default",
        When::After(span) => write!(said, " after {span}").expect("a string takes all"),
        When::Due(due) => write!(said, " due {}", time(due)).expect("a string takes all"),
    }
    said += match schedule.if_exists {
        IfExists::Keep => ", keep",
        IfExists::Replace => ", replace",
        IfExists::Renew => ", renew",
        IfExists::Fail => ", fail",
    };
    if let Some(generation) = schedule.over {
        write!(said, ", over {}", generation.0).expect("a string takes all");
    }
    if let Some(payload) = &schedule.payload {
        let kind = if payload.kind == PayloadKind::Json { "json" } else { "bytes" };
        write!(said, ", {kind} {}", text(&payload.bytes)).expect("a string takes all");
    }
    said
}

fn at(address: &Address) -> String {
    format!("{}/{}", address.queue, address.key)
}

/// An instant as it is from noon, when every world begins.
fn time(time: Time) -> String {
    if time >= NOON {
        format!("noon+{}", time.since(NOON))
    } else if NOON.since(time).millis() < 86_400_000 {
        format!("noon-{}", NOON.since(time))
    } else {
        format!("{}ms", time.millis())
    }
}

/// What a client is told, line by line.
pub(crate) fn said(name: &str, bytes: &[u8]) -> Vec<String> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| format!("{name}< {}", text(line))).collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}
