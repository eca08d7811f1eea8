//! Commands and bytes as people read them: what is asked, and what a client is told.

use std::fmt::Write as _;

use duly_engine::command::{Address, Command, ExtendBy, Filter, IfDue, IfExists, Schedule, When};
use duly_engine::deadline::{DeliveryState, PayloadKind, State};
use duly_engine::id::{Key, QueueName};
use duly_engine::time::{Span, Time};
use duly_wire::Listing;

use crate::world::NOON;

/// A question to the engine, on one line.
pub(crate) fn command(command: &Command) -> String {
    let said = match command {
        Command::Schedule(schedule) => scheduled(schedule),
        Command::Settle(settle) => format!("settle {} {}", at(&settle.at), settle.outcome),
        Command::Claim { at: address, outcome } => format!("claim {} {outcome}", at(address)),
        Command::Extend(extend) => {
            let by = match extend.by {
                ExtendBy::Span(span) => format!("by {span}"),
                ExtendBy::After(span) => format!("to {span} from now"),
                ExtendBy::Due(due) => format!("to {}", time(due)),
            };
            format!("extend {} {by}{}", at(&extend.at), extend.if_due.map_or(String::new(), if_due))
        }
        Command::Get(address) => format!("get {}", at(address)),
        Command::ListQueues => "list the queues".to_owned(),
        Command::GetClock => "look at the clock".to_owned(),
        Command::Scan(scan) => {
            let filter = filter(&scan.filter);
            format!("scan {}from {}{filter}", of(scan.queue.as_ref()), scan.from_slot)
        }
        Command::Count(count) => {
            let filter = filter(&count.filter);
            format!("count {}from {}{filter}", of(count.queue.as_ref()), count.from_slot)
        }
        Command::Waiting { queue, due, limit } => {
            let due = span_of(due.start, due.end);
            format!("look at {limit} who wait in {queue}{due}")
        }
        Command::Lease { queue, key, max, span } => {
            let key = key.as_ref().map_or("", Key::as_str);
            format!("lease {max} of {queue}/{key} for {span}")
        }
        Command::Verdict { delivery, token, verdict } => {
            format!("verdict of {delivery} under {}: {verdict:?}", token.0)
        }
        Command::Touch { delivery, token, span } => {
            format!("touch {delivery} under {} for {span}", token.0)
        }
        Command::Freeze { at: address, span } => format!("freeze {} for {span}", at(address)),
        Command::Revive(address) => format!("revive {}", at(address)),
        Command::Erase(address) => format!("erase {}", at(address)),
        Command::GetQueue(queue) => format!("look at the queue {queue}"),
        Command::PutQueue { queue, policy, .. } => {
            format!("put the queue {queue} for {}", policy.target.word())
        }
        Command::DeleteQueue(queue) => format!("delete the queue {queue}"),
        Command::Pause { queue, deliveries, lapses } => {
            let (deliveries, lapses) = (pause(*deliveries), pause(*lapses));
            format!("pause {queue}: deliveries {deliveries}, lapses {lapses}")
        }
        Command::Shift { queue, from, to, by_ms } => {
            format!("shift {queue} from {} to {} by {by_ms} ms", time(*from), time(*to))
        }
        Command::ConfirmClock => "confirm the clock".to_owned(),
    };
    format!("? {said}")
}

fn pause(wait: Option<bool>) -> &'static str {
    match wait {
        Some(true) => "wait",
        Some(false) => "go on",
        None => "as they do",
    }
}

/// A page that is wanted, on one line.
pub(crate) fn listing(listing: &Listing) -> String {
    let Listing { queue, filter, after, limit } = listing;
    let mut said = format!("? list {limit} of {queue}");
    if let Some((due, id)) = after {
        write!(said, " after {} {}", time(*due), id.0).expect("a string takes all");
    }
    let words = [
        ("", filter.state.map(|state| state.word().to_owned())),
        ("delivery ", filter.delivery.map(|state| state.word().to_owned())),
        ("due from ", filter.due_from.map(time)),
        ("due before ", filter.due_to.map(time)),
        ("key begins ", filter.key_prefix.clone()),
    ];
    for (name, word) in words {
        said.extend(word.map(|word| format!(", {name}{word}")));
    }
    said
}

fn scheduled(schedule: &Schedule) -> String {
    let mut said = format!("schedule {}", at(&schedule.at));
    match schedule.when {
        When::Default => said += " by default",
        When::After(span) => write!(said, " after {span}").expect("a string takes all"),
        When::Due(due) => write!(said, " due {}", time(due)).expect("a string takes all"),
        When::Kept => said += " due as before",
    }
    said += match schedule.if_exists {
        IfExists::Keep => ", keep",
        IfExists::Replace => ", replace",
        IfExists::Renew => ", renew",
        IfExists::Fail => ", fail",
        IfExists::Move(_) => ", move",
    };
    if let IfExists::Move(so) = schedule.if_exists {
        said += &if_due(so);
    }
    if let Some(generation) = schedule.over {
        write!(said, ", over {}", generation.0).expect("a string takes all");
    }
    if let Some(payload) = &schedule.payload {
        let kind = if payload.kind == PayloadKind::Json { "json" } else { "bytes" };
        write!(said, ", {kind} {}", text(&payload.bytes)).expect("a string takes all");
    }
    said
}

/// When something has to be due to be moved.
fn if_due(so: IfDue) -> String {
    match so {
        IfDue::At(due) => format!(" if due {}", time(due)),
        IfDue::Other => " if due at another time".to_owned(),
        IfDue::Earlier => " if due earlier".to_owned(),
        IfDue::Later => " if due later".to_owned(),
    }
}

fn of(queue: Option<&QueueName>) -> String {
    queue.map(|queue| format!("{queue} ")).unwrap_or_default()
}

/// Which records a walk is about; nothing if they are the usual ones of a key.
fn filter(filter: &Filter) -> String {
    let (Some(from), Some(to)) = (filter.due_from, filter.due_to) else { return String::new() };
    let which = filter.delivery.map(DeliveryState::word).or(filter.state.map(State::word));
    let which = which.map(|which| format!(", {which}")).unwrap_or_default();
    format!("{which}{}", span_of(from, to))
}

fn span_of(from: Time, to: Time) -> String {
    let to = if to == Time::NEVER { "ever".to_owned() } else { time(to) };
    format!(", due from {} to {to}", time(from))
}

fn at(address: &Address) -> String {
    format!("{}/{}", address.queue, address.key)
}

/// An instant as it is from noon, when every world begins.
pub(crate) fn time(time: Time) -> String {
    if time >= NOON {
        format!("noon+{}", time.since(NOON))
    } else if NOON.since(time).millis() < 86_400_000 {
        format!("noon-{}", NOON.since(time))
    } else {
        format!("{}ms", time.millis())
    }
}

/// The instant that was written so.
pub(crate) fn read_time(text: &str) -> Option<Time> {
    match text.strip_prefix("noon")?.split_at_checked(1)? {
        ("+", span) => Some(NOON.plus(read_span(span)?)),
        ("-", span) => Some(NOON.minus(read_span(span)?)),
        _ => None,
    }
}

/// The span that was written so: a number and a unit.
pub(crate) fn read_span(text: &str) -> Option<Span> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    units.iter().find_map(|(unit, size)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Span::from_millis(number * size))
    })
}

/// What a client is told, line by line.
pub(crate) fn said(name: &str, bytes: &[u8]) -> Vec<String> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| format!("{name}< {}", text(line))).collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}
