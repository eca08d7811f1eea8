//! Answers, facts and effects as a scenario shows them: short, and the same every time.

use std::collections::BTreeMap;

use duly_engine::answer::{Answer, ClockView, Leased, QueueView, Refusal, SettleResult};
use duly_engine::command::DEFAULT_PRIORITY;
use duly_engine::deadline::{Deadline, DeliveryState, State, What};
use duly_engine::effect::{Effect, Notice};
use duly_engine::fact::Fact;
use duly_engine::id::DeadlineId;
use duly_engine::time::Time;

use crate::world::{NOON, World};

/// `12:30:00.000`, with the day before it if it is another: `+1d/06:00:00.000`.
pub(crate) fn time(at: Time) -> String {
    if at == Time::NEVER {
        return "never".into();
    }
    let midnight = i128::from(NOON.millis()) - 43_200_000;
    let since = i128::from(at.millis()) - midnight;
    let (day, rest) = (since.div_euclid(86_400_000), since.rem_euclid(86_400_000));
    let day = if day == 0 { String::new() } else { format!("{day:+}d/") };
    let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
    format!("{day}{hours:02}:{minutes:02}:{:02}.{:03}", rest / 1_000 % 60, rest % 1_000)
}

/// A deadline in a line.
pub(crate) fn deadline(shown: &Deadline, world: &World) -> String {
    let Deadline { queue, key, id, generation, due, .. } = shown;
    let name = format!("{queue}/{key} {}.{}", id.0, generation.0);
    let at = |at: Option<Time>| at.map_or_else(String::new, time);
    let mut parts = vec![match shown.state {
        State::Pending => format!("{name} pending, due {}", time(*due)),
        State::Settled => {
            let outcome = shown.outcome.as_ref().map_or("?", |outcome| outcome.as_str());
            format!("{name} settled {outcome} at {}", at(shown.settled_at))
        }
        State::Lapsed => format!("{name} lapsed at {}", at(shown.lapsed_at)),
    }];
    if let Some(until) = shown.frozen_until.filter(|_| shown.state == State::Pending) {
        parts.push(format!("frozen until {} (of {} in all)", time(until), shown.frozen_for));
    }
    if let Some(delivery) = &shown.delivery {
        let again = delivery.next_attempt_at.filter(|_| delivery.attempts > 0);
        let again = again.map_or_else(String::new, |at| format!(" again at {}", time(at)));
        let until =
            delivery.leased_until.map_or_else(String::new, |at| format!(" until {}", time(at)));
        parts.push(format!("{}{again}{until}", delivery.state.word()));
        if delivery.attempts > 0 {
            parts.push(format!("attempts {}", delivery.attempts));
        }
        if let (Some(error), true) = (&delivery.last_error, delivery.state != DeliveryState::Done) {
            parts.push(format!("error '{error}'"));
        }
    }
    if shown.priority != DEFAULT_PRIORITY {
        parts.push(format!("priority {}", shown.priority));
    }
    if let Some(payload) = world.payload(&shown.payload) {
        parts.push(format!("payload {}", String::from_utf8_lossy(&payload.bytes)));
    }
    parts.join(", ")
}

/// The timeline of a deadline, a line for each event.
pub(crate) fn story(shown: &Deadline) -> Vec<String> {
    let line = |at: Time, what: &What| {
        let more = match what {
            What::Scheduled { due } | What::Extended { due } | What::Shifted { due } => {
                format!(", due {}", time(*due))
            }
            What::Frozen { until } => format!(" until {}", time(*until)),
            What::Settled { outcome } => format!(" {outcome}"),
            What::Leased { attempt } => format!(", attempt {attempt}"),
            What::Retried { error, next_attempt_at } => {
                format!(" '{error}', again at {}", time(*next_attempt_at))
            }
            What::Dead { error } => format!(" '{error}'"),
            What::Lapsed | What::Done | What::Superseded | What::Revived => String::new(),
        };
        format!("  {} {}{more}", time(at), what.word())
    };
    shown.timeline.iter().map(|event| line(event.at, &event.what)).collect()
}

/// An answer, and the deliveries in it.
pub(crate) fn answer(answer: &Answer, world: &World, leased: &mut Vec<Leased>) -> Vec<String> {
    vec![match answer {
        Answer::Scheduled { created, differs, nobody_acts, deadline: shown } => {
            let verb = if *created { "created" } else { "kept" };
            let differs = differs.join(" and ");
            let differs =
                if differs.is_empty() { differs } else { format!(", differs in {differs}") };
            let nobody = if *nobody_acts { " (nobody acts)" } else { "" };
            format!("{verb} {}{differs}{nobody}", deadline(shown, world))
        }
        Answer::Settled { result, deadline: shown } => {
            let acted = match result {
                SettleResult::TooLate(acted) => format!(", acted: {}", acted.word()),
                _ => String::new(),
            };
            format!("{}{acted}: {}", result.word(), deadline(shown, world))
        }
        Answer::Remembered { until } => format!("remembered until {}", time(*until)),
        Answer::Deadline(shown) => deadline(shown, world),
        Answer::VerdictTaken(shown) => format!("taken: {}", deadline(shown, world)),
        Answer::Erased => "erased".into(),
        Answer::Leased(deliveries) if deliveries.is_empty() => "nothing to lease".into(),
        Answer::Leased(deliveries) => return handed(deliveries, world, leased),
        Answer::Touched { leased_until } => format!("kept until {}", time(*leased_until)),
        Answer::Queue(view) => queue(view),
        Answer::Queues(views) if views.is_empty() => "no queues".into(),
        Answer::Queues(views) => return views.iter().map(queue).collect(),
        Answer::QueueDeleted => "queue deleted".into(),
        Answer::Shift(view) => {
            let so_far = if view.finished { "" } else { " so far" };
            format!("shifted {}{so_far}", view.moved)
        }
        Answer::Waiting(found) | Answer::Scanned { found, .. } if found.is_empty() => "none".into(),
        Answer::Waiting(found) | Answer::Scanned { found, .. } => {
            return found.iter().map(|shown| deadline(shown, world)).collect();
        }
        Answer::Counted { due, .. } => {
            return due.iter().map(|((_, at), n)| format!("{} {n}", time(*at))).collect();
        }
        Answer::Clock(view) => clock(view),
        Answer::Refused(refusal) => refused(refusal, world),
        Answer::Begun => "begun".into(),
        Answer::LookUp(_) => panic!("look-ups are answered in the world"),
    }]
}

fn refused(refusal: &Refusal, world: &World) -> String {
    let code = refusal.code();
    match refusal {
        Refusal::AlreadyExists(shown)
        | Refusal::DeliveryUnderWay(shown)
        | Refusal::AlreadySettled(shown)
        | Refusal::TooLate(shown)
        | Refusal::OtherGeneration(shown)
        | Refusal::DueChanged(shown)
        | Refusal::StillPending(shown)
        | Refusal::NotDead(shown) => format!("refused {code}: {}", deadline(shown, world)),
        Refusal::MaxTotal { latest } => format!("refused {code}: not after {}", time(*latest)),
        Refusal::MaxFreeze { left } => format!("refused {code}: {left} left"),
        Refusal::BadPolicy(bad) => format!("refused {code}: {} {}", bad.field, bad.why),
        _ => format!("refused {code}"),
    }
}

fn clock(view: &ClockView) -> String {
    let guard = view.guard.map_or("trusted", duly_engine::answer::GuardReason::word);
    let recovery = if view.recovery_until > view.now {
        format!(", recovering until {}", time(view.recovery_until))
    } else {
        String::new()
    };
    format!("{}, wall {}, {guard}{recovery}", time(view.now), time(view.wall))
}

fn queue(view: &QueueView) -> String {
    let (now, total) = (&view.now, &view.total);
    let name = format!("queue {} {}", view.queue, view.policy.target.word());
    let holds = [
        (view.declared, "declared"),
        (view.paused, "paused"),
        (view.lapse_paused, "lapses paused"),
        (view.shift.is_some(), "shifting"),
    ];
    let holds = holds.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word.to_owned());
    let counted = [
        ("pending now", now.pending),
        ("ready now", now.ready),
        ("leased now", now.leased),
        ("dead now", now.dead),
        ("scheduled", total.scheduled),
        ("replaced", total.replaced),
        ("lapsed", total.lapsed),
        ("attempts", total.attempts),
        ("retried", total.retried),
        ("done", total.done),
        ("superseded", total.superseded),
        ("died", total.died),
        ("revived", total.revived),
        ("too late", view.too_late),
    ];
    let counted = counted.into_iter().filter(|(_, n)| *n > 0);
    let counted = counted.map(|(word, n)| format!("{word} {n}"));
    let settled = total.settled.iter().map(|(outcome, n)| format!("settled {outcome} {n}"));
    let oldest = now.oldest_waiting.map(|oldest| format!("oldest waits since {}", time(oldest)));
    let parts = [name].into_iter().chain(holds).chain(counted).chain(settled).chain(oldest);
    parts.collect::<Vec<String>>().join(", ")
}

/// Deliveries that went into somebody's hands: they are numbered from now on.
fn handed(deliveries: &[Leased], world: &World, leased: &mut Vec<Leased>) -> Vec<String> {
    let mut lines = Vec::new();
    for delivery in deliveries {
        leased.push(delivery.clone());
        let Leased { id, queue, key, due, attempt, leased_until, .. } = delivery;
        let payload = world.payload(&delivery.payload).map_or_else(String::new, |payload| {
            format!(", payload {}", String::from_utf8_lossy(&payload.bytes))
        });
        lines.push(format!(
            "#{} {queue}/{key} {}.{} attempt {attempt}, due {}, lapsed {}, until {}{payload}",
            leased.len(),
            id.deadline.0,
            id.generation.0,
            time(*due),
            time(delivery.lapsed_at),
            time(*leased_until),
        ));
    }
    lines
}

/// What the engine asks of the world.
pub(crate) fn effect(effect: &Effect, world: &World, leased: &mut Vec<Leased>) -> Vec<String> {
    match effect {
        Effect::Attempt { target, deliveries } => {
            let mut lines = vec![format!("{} gets {}", target.word(), deliveries.len())];
            let handed = handed(deliveries, world, leased);
            lines.extend(handed.into_iter().map(|line| format!("  {line}")));
            lines
        }
        Effect::Notice(Notice::Died { queue, key, error, .. }) => {
            vec![format!("notice: {queue}/{key} died of '{error}'")]
        }
        Effect::Notice(Notice::ClockGuardUp(reason)) => {
            vec![format!("notice: clock guard up, {}", reason.word())]
        }
        Effect::Notice(Notice::ClockGuardDown) => vec!["notice: clock guard down".into()],
        Effect::Notice(Notice::Opened { recovery_until, .. }) => {
            vec![format!("notice: opened, recovering until {}", time(*recovery_until))]
        }
        // Answers say it, or the archive's own tests.
        Effect::Notice(
            Notice::QueueCreated(_) | Notice::QueueChanged(_) | Notice::QueueDeleted(_),
        )
        | Effect::Archive(_)
        | Effect::Erase { .. } => Vec::new(),
    }
}

/// A fact that nobody asked for: time brought it, or the handing out.
pub(crate) fn fact(fact: &Fact, names: &BTreeMap<DeadlineId, String>) -> Option<String> {
    let name = fact.about().map_or("?", |id| names.get(&id).map_or("?", String::as_str));
    Some(match fact {
        Fact::Lapsed { .. } => format!("{name} lapses"),
        Fact::Delivered { .. } => format!("{name} is done"),
        Fact::Retried { next_attempt_at, error, .. } => {
            format!("{name} is retried at {}: '{error}'", time(*next_attempt_at))
        }
        Fact::Died { error, .. } => format!("{name} dies: '{error}'"),
        Fact::Moved { due, .. } => format!("{name} moves to {}", time(*due)),
        Fact::ShiftAdvanced { moved, .. } => format!("shifted {moved}"),
        Fact::ShiftEnded { .. } => "the shift is over".into(),
        // A lease is shown as what it hands out, an opening and a guard as a notice.
        _ => return None,
    })
}
