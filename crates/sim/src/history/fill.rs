//! From what Duly answers to what a history keeps: the engine's values in a simulation, JSON on the
//! wire.

use std::borrow::Cow;

use duly::units;
use duly_engine::answer::{self, Answer, Refusal};
use duly_engine::deadline::{self, Deadline, DeliveryState, State};
use serde_json::Value;

use super::{Acted, Delivery, Phase, Seen, SettleResult, Told};

/// What an answer about one deadline says; nothing if it is about something else.
pub(crate) fn told(answer: &Answer) -> Option<Told> {
    Some(match answer {
        Answer::Scheduled { created, deadline, .. } => {
            Told::Scheduled { created: *created, seen: deadline.as_ref().into() }
        }
        Answer::Settled { result, deadline } => {
            let result = match result {
                answer::SettleResult::Settled => SettleResult::Settled,
                answer::SettleResult::AlreadySettled => SettleResult::Already,
                answer::SettleResult::SettledOtherwise => SettleResult::Otherwise,
                answer::SettleResult::TooLate(acted) => SettleResult::TooLate((*acted).into()),
            };
            Told::Settled { result, seen: deadline.as_ref().into() }
        }
        Answer::Remembered { until } => Told::Remembered { until_ms: until.millis() },
        Answer::Deadline(deadline) | Answer::VerdictTaken(deadline) => {
            Told::Record(deadline.as_ref().into())
        }
        Answer::Erased => Told::Erased,
        Answer::Refused(refusal) => {
            Told::Refused { code: refusal.code().to_owned(), seen: shown(refusal) }
        }
        _ => return None,
    })
}

/// What a delivery that was handed out says.
pub(crate) fn handed(leased: &answer::Leased) -> Told {
    Told::Handed {
        id: leased.id.deadline.0,
        generation: leased.id.generation.0,
        due_ms: leased.due.millis(),
        lapsed_ms: leased.lapsed_at.millis(),
        attempt: leased.attempt,
        token: Some(leased.token.0),
    }
}

fn shown(refusal: &Refusal) -> Option<Seen> {
    refusal.clone().deadline_mut().map(|deadline| (&*deadline).into())
}

impl From<&Deadline> for Seen {
    fn from(deadline: &Deadline) -> Seen {
        let at_ms =
            |at: Option<duly_engine::time::Time>| at.map_or(0, duly_engine::time::Time::millis);
        let phase = match deadline.state {
            State::Pending => Phase::Pending,
            State::Settled => Phase::Settled {
                outcome: deadline.outcome.as_ref().map_or_else(String::new, ToString::to_string),
                at_ms: at_ms(deadline.settled_at),
            },
            State::Lapsed => Phase::Lapsed {
                at_ms: at_ms(deadline.lapsed_at),
                delivery: deadline
                    .delivery
                    .as_ref()
                    .map_or(Delivery::Ready, |delivery| delivery.state.into()),
                attempts: deadline.delivery.as_ref().map_or(0, |delivery| delivery.attempts),
            },
        };
        Seen {
            id: deadline.id.0,
            generation: deadline.generation.0,
            due_ms: deadline.due.millis(),
            frozen_ms: at_ms(deadline.frozen_until),
            phase,
        }
    }
}

impl From<DeliveryState> for Delivery {
    fn from(state: DeliveryState) -> Delivery {
        match state {
            DeliveryState::Ready => Delivery::Ready,
            DeliveryState::Leased => Delivery::Leased,
            DeliveryState::Done => Delivery::Done,
            DeliveryState::Superseded => Delivery::Superseded,
            DeliveryState::Dead => Delivery::Dead,
        }
    }
}

impl From<deadline::Acted> for Acted {
    fn from(acted: deadline::Acted) -> Acted {
        match acted {
            deadline::Acted::No => Acted::No,
            deadline::Acted::Maybe => Acted::Maybe,
            deadline::Acted::Yes => Acted::Yes,
            deadline::Acted::Kept => Acted::Kept,
            deadline::Acted::Never => Acted::Never,
        }
    }
}

/// What a body of the HTTP API about one deadline says (also a line of a batch's answer, also one
/// of a lease's `deliveries`); why it cannot be understood, if so.
pub(crate) fn told_over_http(body: &Value) -> Result<Told, Cow<'static, str>> {
    let seen = body.get("deadline").map(seen_over_http).transpose()?;
    let missing = || Cow::Borrowed("no deadline");
    // A settle that is refused has its code as its result, too.
    let result = match body.get("result").and_then(Value::as_str) {
        Some("settled") => Some(SettleResult::Settled),
        Some("already_settled") => Some(SettleResult::Already),
        Some("settled_otherwise") => Some(SettleResult::Otherwise),
        Some("too_late") => Some(SettleResult::TooLate(word(body, "acted")?)),
        Some("remembered") => return Ok(Told::Remembered { until_ms: instant(body, "until")? }),
        _ => None,
    };
    if let Some(result) = result {
        return Ok(Told::Settled { result, seen: seen.ok_or_else(missing)? });
    }
    if let Some(code) = body.get("code").and_then(Value::as_str) {
        return Ok(Told::Refused { code: code.to_owned(), seen });
    }
    if let Some(created) = body.get("created").and_then(Value::as_bool) {
        return Ok(Told::Scheduled { created, seen: seen.ok_or_else(missing)? });
    }
    if body.get("erased").is_some() {
        return Ok(Told::Erased);
    }
    if body.get("token").is_some() {
        return handed_over_http(body);
    }
    seen.map(Told::Record).ok_or_else(missing)
}

fn handed_over_http(body: &Value) -> Result<Told, Cow<'static, str>> {
    let id: duly_engine::id::DeliveryId = parsed(body, "id")?;
    Ok(Told::Handed {
        id: id.deadline.0,
        generation: id.generation.0,
        due_ms: instant(body, "due")?,
        lapsed_ms: instant(body, "lapsed_at")?,
        attempt: number(body, "attempt")?,
        token: Some(parsed(body, "token")?),
    })
}

fn seen_over_http(body: &Value) -> Result<Seen, Cow<'static, str>> {
    let phase = match text(body, "state")? {
        "pending" => Phase::Pending,
        "settled" => Phase::Settled {
            outcome: text(body, "outcome")?.to_owned(),
            at_ms: instant(body, "settled_at")?,
        },
        "lapsed" => {
            let delivery = body.get("delivery").ok_or("no delivery")?;
            Phase::Lapsed {
                at_ms: instant(body, "lapsed_at")?,
                delivery: word(delivery, "state")?,
                attempts: number(delivery, "attempts")?,
            }
        }
        other => return Err(format!("unknown state {other}").into()),
    };
    Ok(Seen {
        id: parsed(body, "id")?,
        generation: number(body, "generation")?,
        due_ms: instant(body, "due")?,
        frozen_ms: if body.get("frozen_until").is_some() {
            instant(body, "frozen_until")?
        } else {
            0
        },
        phase,
    })
}

fn text<'a>(body: &'a Value, field: &'static str) -> Result<&'a str, Cow<'static, str>> {
    body.get(field).and_then(Value::as_str).ok_or_else(|| format!("no text {field}").into())
}

fn parsed<T: std::str::FromStr>(body: &Value, field: &'static str) -> Result<T, Cow<'static, str>> {
    text(body, field)?.parse().map_err(|_| format!("{field} is malformed").into())
}

fn word<T: serde::de::DeserializeOwned>(
    body: &Value,
    field: &'static str,
) -> Result<T, Cow<'static, str>> {
    let word = body.get(field).cloned().unwrap_or_default();
    serde_json::from_value(word).map_err(|why| format!("{field}: {why}").into())
}

fn number(body: &Value, field: &'static str) -> Result<u32, Cow<'static, str>> {
    body.get(field)
        .and_then(Value::as_u64)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| format!("no number {field}").into())
}

fn instant(body: &Value, field: &'static str) -> Result<u64, Cow<'static, str>> {
    let at = units::instant(text(body, field)?).map_err(|why| format!("{field}: {why}"))?;
    Ok(at.millis())
}
