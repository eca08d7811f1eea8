//! What was found in a data directory, in plain words.

use duly_engine::answer::QueueView;
use duly_engine::queue::Target;
use duly_engine::time::{Span, Time};
use duly_store::journal::Report;

use super::configuration::look_at_webhook;
use super::{Findings, Level};
use crate::clock;
use crate::config::{ClockSource, Settings, table_of};
use crate::run::Examination;
use crate::units::show_instant;

/// The wall clock may be so far behind the journal, and a start does not mind.
const BEHIND: Span = Span::from_secs(60);

/// Says what an examination found.
pub(super) fn tell(examination: &Examination, settings: &Settings, findings: &mut Findings) {
    let Examination { directory, journal, archive, clock: found, queues, faults } = examination;
    findings.add(Level::Good, "identity", directory.clone());
    journal_is(journal, faults.is_empty(), findings);
    for fault in faults {
        findings.add(Level::of(fault), "journal", fault.to_string());
    }
    match archive {
        None => findings.add(Level::Note, "archive", "there is none yet"),
        Some(archive) => {
            let text = format!("{} records, up to fact {}", archive.rows, archive.applied_seq);
            let is_good = archive.faults.is_empty();
            findings.add(if is_good { Level::Good } else { Level::Note }, "archive", text);
            for fault in &archive.faults {
                findings.add(Level::of(fault), "archive", fault.to_string());
            }
            let untold = archive.faults_count - archive.faults.len() as u64;
            if untold > 0 {
                findings.add(Level::Corrupt, "archive", format!("and {untold} more things"));
            }
        }
    }
    if let Some(reason) = found.and_then(|clock| clock.guard) {
        let text = format!(
            "the clock guard was up ({}): lapsing is withheld until the clock is right again or \
             `POST /v1/clock/confirm`",
            reason.word()
        );
        findings.add(Level::Warning, "clock", text);
    }
    if let Some(last) = journal.last_time_ms.map(Time::from_millis)
        && settings.clock == ClockSource::Machine
    {
        clock_is(last, settings.limits.max_downtime, findings);
    }
    for queue in queues {
        queue_is(queue, settings, findings);
    }
    room_is(settings, findings);
}

fn journal_is(report: &Report, is_good: bool, findings: &mut Findings) {
    let Report { segments, records, facts, last_time_ms, torn, .. } = report;
    let until = last_time_ms.map(Time::from_millis).map(show_instant).unwrap_or_default();
    let text = format!("{segments} segments, {records} records, {facts} facts, up to {until}");
    findings.add(if is_good { Level::Good } else { Level::Note }, "journal", text);
    if let Some(torn) = torn {
        let text = format!(
            "{} ends in {} bytes that were never completely written, at byte {}: harmless, nobody \
             had been told of them, and the next start cuts them off",
            torn.file.display(),
            torn.bytes,
            torn.offset
        );
        findings.add(Level::Note, "journal", text);
    }
}

fn clock_is(last: Time, max_downtime: Span, findings: &mut Findings) {
    let wall = clock::wall();
    if last.since(wall) > BEHIND {
        let text = format!(
            "the machine's clock is {} behind the journal: a start would withhold lapsing",
            last.since(wall)
        );
        findings.add(Level::Warning, "clock", text);
    } else if wall.since(last) > max_downtime {
        let text = format!(
            "the machine's clock is {} ahead of the journal: a start would withhold lapsing until \
             somebody confirms it",
            wall.since(last)
        );
        findings.add(Level::Warning, "clock", text);
    } else {
        let text = format!("the journal ends {} ago", wall.since(last));
        findings.add(Level::Good, "clock", text);
    }
}

fn queue_is(queue: &QueueView, settings: &Settings, findings: &mut Findings) {
    let (name, now) = (queue.queue.as_str(), &queue.now);
    let text = format!(
        "{} pending, {} ready, {} leased, {} dead; target {}",
        now.pending,
        now.ready,
        now.leased,
        now.dead,
        queue.policy.target.word()
    );
    findings.add(Level::Good, name, text);
    if now.dead > 0 {
        let text = format!(
            "{} dead deliveries: `duly list {name} --delivery dead`, then `duly revive` or \
             `duly erase`",
            now.dead
        );
        findings.add(Level::Warning, name, text);
    }
    if queue.paused || queue.lapse_paused {
        let what = if queue.lapse_paused { "nothing lapses" } else { "deliveries wait" };
        findings.add(Level::Note, name, format!("it is paused: {what}"));
    }
    let table = table_of(&queue.policy.target);
    if let Some(table) = table.filter(|table| !settings.tables().contains(table)) {
        let text = format!("nobody acts: there is no [{table}] in the configuration");
        findings.add(Level::Warning, name, text);
    }
    match &queue.policy.target {
        Target::Pull if now.ready > 0 && now.leased == 0 && !queue.paused => {
            let text = format!("nobody acts: {} deliveries wait and no worker has one", now.ready);
            findings.add(Level::Warning, name, text);
        }
        Target::Webhook(webhook) if !settings.queues.contains_key(&queue.queue) => {
            look_at_webhook(name, webhook, findings);
        }
        Target::Pull
        | Target::None
        | Target::Sql { .. }
        | Target::Exec { .. }
        | Target::Publish { .. }
        | Target::Webhook(_) => {}
    }
}

/// Is there room for the segments that a server keeps in reserve?
fn room_is(settings: &Settings, findings: &mut Findings) {
    let Ok(system) = rustix::fs::statvfs(&settings.data) else { return };
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    if free < 2 * settings.journal.segment_size {
        let text = format!("{} MiB are left on its disk", free >> 20);
        findings.add(Level::Warning, "disk", text);
    }
}
