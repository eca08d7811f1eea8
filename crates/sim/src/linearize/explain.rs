//! Why there is no order, for a human.

use std::fmt::Write;

use super::search::Stuck;
use crate::history::Operation;

/// The key's operations in time, the longest order that was possible, and what does not fit.
pub(super) fn no_order(operations: &[&Operation], stuck: &Stuck<'_>) -> String {
    let mut text = headline(operations, "has no order that explains what was told");
    text += "  in time:\n";
    let shown = operations.iter().enumerate().take_while(|(_, operation)| {
        let end = operations[stuck.at].told.as_ref().map(|(at, _)| at.tick);
        end.is_none_or(|end| operation.asked_at.tick <= end)
    });
    for (index, operation) in shown {
        let mark = if index == stuck.at { '!' } else { ' ' };
        let _infallible = writeln!(text, "  {mark}{:>3} {}", index + 1, line(operation));
    }
    let order: Vec<String> = stuck.order.iter().map(|index| (index + 1).to_string()).collect();
    let order = if order.is_empty() { "nothing".to_owned() } else { order.join(" ") };
    let _infallible = writeln!(text, "  possible so far: {order}");
    let _infallible = writeln!(text, "  then it was: {:?}", stuck.state);
    let _infallible = write!(text, "  and {} cannot follow: {}", stuck.at + 1, stuck.why);
    text
}

/// Which key, and how far it got.
pub(super) fn undecided(operations: &[&Operation], at: usize) -> String {
    let unanswered = operations.iter().filter(|operation| operation.told.is_none()).count();
    let what = format!(
        "takes too much work to decide: stopped at operation {} of {}, {unanswered} without an answer",
        at + 1,
        operations.len(),
    );
    headline(operations, &what)
}

fn headline(operations: &[&Operation], what: &str) -> String {
    let first = operations.first().expect("a key is there because of an operation");
    format!("{} {} {what}\n", first.queue, first.key)
}

fn line(operation: &Operation) -> String {
    let Operation { process, asked_at, asked, told, .. } = operation;
    let asked = serde_json::to_string(asked).expect("a question has text for keys");
    let begin = format!("process {process} at {} ({} ms) {asked}", asked_at.tick, asked_at.ms);
    match told {
        None => format!("{begin} -> no answer"),
        Some((at, told)) => {
            let told = serde_json::to_string(told).expect("an answer has text for keys");
            format!("{begin} -> at {} ({} ms) {told}", at.tick, at.ms)
        }
    }
}
