//! What requests mean, without anybody who answers them.
//!
//! The very reading that the calls do, one function for a body, a batch, an address and a cursor: for
//! programs that check it (that whatever is accepted means what was written, and that whatever is
//! not has a stable code). Nothing here asks the engine.

use axum::http::Uri;
use duly_engine::command::{Address, Command};
use duly_engine::id::{DeadlineId, DeliveryId};
use duly_engine::queue::Policy;
use duly_engine::time::{Span, Time};

use super::batch::operations;
use super::clock::AdvanceBody;
use super::deadlines::{ExtendBody, FreezeBody, Nothing, ScheduleBody, SettleBody};
pub use super::deliveries::Wanted;
use super::deliveries::{LeaseBody, TouchBody, VerdictBody};
use super::events::EventsParameters;
pub use super::events::Following;
use super::extract::{self, read_body, read_parameters};
use super::links::LinkBody;
pub use super::links::LinkWanted;
pub use super::list::Listing;
use super::list::{ListParameters, write_cursor};
use super::problem::Problem;
use super::queues::{PauseBody, ShiftBody};
use super::stats::ForecastParameters;
use crate::json;
use crate::policy::PolicyText;

/// A call that has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `PUT …/{key}`.
    Schedule,
    /// `POST …/{key}/settle`.
    Settle,
    /// `POST …/{key}/extend`.
    Extend,
    /// `POST …/{key}/freeze`.
    Freeze,
    /// `POST …/{key}/revive`, which says nothing.
    Revive,
    /// `PUT /v1/queues/{queue}`.
    PutQueue,
    /// `POST /v1/queues/{queue}/pause`.
    Pause,
    /// `POST /v1/queues/{queue}/resume`.
    Resume,
    /// `POST /v1/queues/{queue}/shift`.
    Shift,
    /// `POST /v1/queues/{queue}/lease`.
    Lease,
    /// `POST /v1/deliveries/{id}/verdict`.
    Verdict,
    /// `POST /v1/deliveries/{id}/touch`.
    Touch,
    /// `POST /v1/links`.
    Link,
    /// `POST /v1/clock/advance`.
    Advance,
    /// `POST /v1/clock/confirm`, which says nothing.
    Confirm,
}

impl Call {
    /// All of them.
    pub const ALL: [Call; 15] = [
        Call::Schedule,
        Call::Settle,
        Call::Extend,
        Call::Freeze,
        Call::Revive,
        Call::PutQueue,
        Call::Pause,
        Call::Resume,
        Call::Shift,
        Call::Lease,
        Call::Verdict,
        Call::Touch,
        Call::Link,
        Call::Advance,
        Call::Confirm,
    ];
}

/// What a body means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// A command.
    Command(Command),
    /// What a worker wants.
    Lease(Wanted),
    /// What a link is wanted for.
    Link(LinkWanted),
    /// How far a manual clock is to be advanced.
    Advance(Span),
}

/// What cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Stable; one of [`super::KINDS`].
    pub code: &'static str,
    /// The problem as it is answered, in JSON.
    pub body: String,
}

impl From<Problem> for Unread {
    fn from(problem: Problem) -> Unread {
        let body = String::from_utf8(json::written(&problem.view())).expect("JSON is UTF-8");
        Unread { code: problem.code(), body }
    }
}

/// The meaning of a body, for this deadline or this delivery.
pub fn body(call: Call, at: &Address, id: DeliveryId, bytes: &[u8]) -> Result<Meant, Unread> {
    Ok(Meant::Command(match call {
        Call::Schedule => read_body::<ScheduleBody>(bytes)?.command(at.clone())?,
        Call::Settle => read_body::<SettleBody>(bytes)?.command(at.clone())?,
        Call::Extend => read_body::<ExtendBody>(bytes)?.command(at.clone())?,
        Call::Freeze => read_body::<FreezeBody>(bytes)?.command(at.clone())?,
        Call::Revive => {
            let Nothing {} = read_body(bytes)?;
            Command::Revive(at.clone())
        }
        Call::PutQueue => {
            let policy = read_body::<PolicyText>(bytes)?.over(&Policy::default());
            let policy = Box::new(policy.map_err(Problem::from)?);
            Command::PutQueue { queue: at.queue.clone(), policy, declared: None }
        }
        Call::Pause => read_body::<PauseBody>(bytes)?.command(at.queue.clone(), true),
        Call::Resume => read_body::<PauseBody>(bytes)?.command(at.queue.clone(), false),
        Call::Shift => {
            let (from, to, by_ms) = read_body::<ShiftBody>(bytes)?.meant()?;
            Command::Shift { queue: at.queue.clone(), from, to, by_ms }
        }
        Call::Lease => return Ok(Meant::Lease(read_body::<LeaseBody>(bytes)?.meant()?)),
        Call::Verdict => read_body::<VerdictBody>(bytes)?.command(id)?,
        Call::Touch => read_body::<TouchBody>(bytes)?.command(id)?,
        Call::Link => return Ok(Meant::Link(read_body::<LinkBody>(bytes)?.meant()?)),
        Call::Confirm => {
            let Nothing {} = read_body(bytes)?;
            Command::ConfirmClock
        }
        Call::Advance => return Ok(Meant::Advance(read_body::<AdvanceBody>(bytes)?.meant()?)),
    }))
}

/// The commands of a batch, line for line.
pub fn batch(bytes: &[u8]) -> Result<Vec<Result<Command, Unread>>, Unread> {
    let lines = operations(bytes)?.into_iter();
    Ok(lines.map(|line| line.map(|line| line.command).map_err(Unread::from)).collect())
}

/// What the query of a list asks for.
pub fn listing(address: &Uri) -> Result<Listing, Unread> {
    Ok(read_parameters::<ListParameters>(address)?.meant()?)
}

/// How far ahead the query of a forecast looks.
pub fn forecast(address: &Uri) -> Result<Span, Unread> {
    Ok(read_parameters::<ForecastParameters>(address)?.ahead()?)
}

/// Which events the query of a follower wants.
pub fn following(address: &Uri) -> Result<Following, Unread> {
    Ok(read_parameters::<EventsParameters>(address)?.meant()?)
}

/// The cursor of a list at this place.
pub fn cursor(place: (Time, DeadlineId)) -> String {
    write_cursor(place)
}

/// A deadline's address from its two segments, already decoded.
pub fn address(queue: &str, key: &str) -> Result<Address, Unread> {
    Ok(Address { queue: extract::queue_name(queue)?, key: extract::key(key)? })
}
