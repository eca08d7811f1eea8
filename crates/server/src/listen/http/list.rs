//! Lists of deadlines, page by page, and counts by due time.
//!
//! A page is in order of (due, id) and its cursor is that pair, opaque to the caller, so that a list
//! that changes while it is read neither repeats nor loses a record that stays where it was. Counts
//! walk the same live records in slices and carry numbers only: a count of millions moves no record.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use duly_engine::answer::Answer;
use duly_engine::command::{Command, Count, Filter};
use duly_engine::deadline::{DeliveryState, State as DeadlineState};
use duly_engine::id::{DeadlineId, QueueName};
use duly_engine::limits::KEY_BYTES;
use duly_engine::time::{Span, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::extract::{InQueue, Parameters};
use super::problem::{BAD_PARAMETER, Problem};
use super::refusal;
use super::reply::json;
use super::view::DeadlineView;
use crate::handle::Handle;
use crate::units::{WrittenInstant, instant};

/// Records on a page that names no limit.
const PAGE: usize = 100;
/// Most records on a page.
const LARGEST_PAGE: usize = 1_000;

/// Which records to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// In this state.
    state: Option<StateText>,
    /// With the delivery in this state.
    delivery: Option<DeliveryText>,
    /// Due at or after.
    #[param(value_type = Option<WrittenInstant>)]
    due_from: Option<String>,
    /// Due before.
    #[param(value_type = Option<WrittenInstant>)]
    due_to: Option<String>,
    /// Whose key begins so.
    #[param(max_length = 512)]
    key_prefix: Option<String>,
    /// At most so many; 100 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]{22}$")]
    cursor: Option<String>,
}

/// Where a deadline stands.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = State)]
pub(super) enum StateText {
    Pending,
    Settled,
    Lapsed,
}

/// How far a delivery has come.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DeliveryState)]
pub(super) enum DeliveryText {
    Ready,
    Leased,
    Done,
    Superseded,
    Dead,
}

/// A page of records in order of their due times.
#[derive(Serialize, ToSchema)]
pub(super) struct PageReply {
    /// The records.
    deadlines: Vec<DeadlineView>,
    /// For the next page; `null` at the end.
    next_cursor: Option<String>,
}

/// What a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Which records.
    pub filter: Filter,
    /// At most so many.
    pub limit: usize,
    /// Those after this one.
    pub after: Option<(Time, DeadlineId)>,
}

impl ListParameters {
    /// What they ask for.
    pub(super) fn meant(&self) -> Result<Listing, Problem> {
        Ok(Listing {
            filter: self.filter()?,
            limit: self.page()?,
            after: self.cursor.as_deref().map(read_cursor).transpose()?,
        })
    }

    fn filter(&self) -> Result<Filter, Problem> {
        let time = |text: &Option<String>, name| match text {
            Some(text) => instant(text).map(Some).map_err(|bad| Problem::from(bad).field(name)),
            None => Ok(None),
        };
        if self.key_prefix.as_ref().is_some_and(|prefix| prefix.len() > KEY_BYTES) {
            return Err(Problem::new(&BAD_PARAMETER)
                .detail("a key has at most 512 bytes")
                .field("key_prefix"));
        }
        Ok(Filter {
            state: self.state.map(DeadlineState::from),
            delivery: self.delivery.map(DeliveryState::from),
            due_from: time(&self.due_from, "due_from")?,
            due_to: time(&self.due_to, "due_to")?,
            key_prefix: self.key_prefix.clone(),
        })
    }

    fn page(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(PAGE);
        if (1..=LARGEST_PAGE).contains(&limit) {
            return Ok(limit);
        }
        Err(Problem::new(&BAD_PARAMETER).detail("limit is 1 to 1000").field("limit"))
    }
}

impl From<StateText> for DeadlineState {
    fn from(text: StateText) -> DeadlineState {
        match text {
            StateText::Pending => DeadlineState::Pending,
            StateText::Settled => DeadlineState::Settled,
            StateText::Lapsed => DeadlineState::Lapsed,
        }
    }
}

impl From<DeliveryText> for DeliveryState {
    fn from(text: DeliveryText) -> DeliveryState {
        match text {
            DeliveryText::Ready => DeliveryState::Ready,
            DeliveryText::Leased => DeliveryState::Leased,
            DeliveryText::Done => DeliveryState::Done,
            DeliveryText::Superseded => DeliveryState::Superseded,
            DeliveryText::Dead => DeliveryState::Dead,
        }
    }
}

/// List the deadlines of a queue, live and archived.
#[utoipa::path(
    get, path = "/v1/queues/{queue}/deadlines", operation_id = "list", tag = "deadlines",
    params(InQueue, ListParameters),
    responses(
        (status = 200, description = "A page", body = PageReply),
        (status = 404, description = "`unknown_queue`"),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    InQueue { queue }: InQueue,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, Problem> {
    let Listing { filter, limit, after } = parameters.meant()?;
    let page = api.handle.list(queue, filter, after, limit).await?.map_err(refusal::problem)?;
    let deadlines = page.deadlines.into_iter().map(DeadlineView::from).collect();
    let next_cursor = page.next.map(write_cursor);
    Ok(json(StatusCode::OK, &PageReply { deadlines, next_cursor }))
}

pub(super) fn write_cursor((due, id): (Time, DeadlineId)) -> String {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&due.millis().to_be_bytes());
    bytes[8..].copy_from_slice(&id.0.to_be_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn read_cursor(text: &str) -> Result<(Time, DeadlineId), Problem> {
    let bytes: [u8; 16] = BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| {
            Problem::new(&BAD_PARAMETER)
                .detail("the cursor is not one")
                .hint("send next_cursor back as it was; leave it out for the first page")
                .field("cursor")
        })?;
    let number = |half: &[u8]| u64::from_be_bytes(half.try_into().expect("a half has 8 bytes"));
    Ok((Time::from_millis(number(&bytes[..8])), DeadlineId(number(&bytes[8..]))))
}

/// Counts the live records that a filter lets through, of one queue or of all, by queue and by the
/// beginning of the span of length `per` in which they are due.
pub(super) async fn count(
    handle: &Handle,
    queue: Option<QueueName>,
    filter: Filter,
    per: Span,
) -> Result<BTreeMap<(QueueName, Time), u64>, Problem> {
    let mut counts = BTreeMap::new();
    let mut count = Count { queue, from_slot: 0, filter, per };
    loop {
        match handle.ask(Command::Count(count.clone())).await? {
            Answer::Counted { due, next_slot } => {
                for (place, number) in due {
                    *counts.entry(place).or_default() += number;
                }
                match next_slot {
                    Some(slot) => count.from_slot = slot,
                    None => return Ok(counts),
                }
            }
            Answer::Refused(refusal) => return Err(refusal::problem(refusal)),
            other => unreachable!("a count was answered with {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is_one() {
        let place = (Time::from_millis(1_795_348_800_000), DeadlineId(17));
        assert_eq!(read_cursor(&write_cursor(place)).expect("it is one"), place);
        for text in ["", "17", "AAAA", "!!!!!!!!!!!!!!!!!!!!!!"] {
            assert_eq!(read_cursor(text).expect_err(text).code(), "bad_parameter");
        }
    }
}
