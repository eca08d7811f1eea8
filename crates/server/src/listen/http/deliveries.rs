//! The calls of a worker: lease, verdict, touch.
//!
//! A lease may wait for something to lease; it gives up early when the server stops, with an empty
//! answer, so that a worker comes back to whoever serves next. A token is text, because JavaScript
//! would round it.

use std::sync::Arc;

use duly_engine::command::{self, Command};
use duly_engine::id::{DeliveryId, Token};
use duly_engine::limits::{ERROR_BYTES, LEASE, LEASE_DELIVERIES};
use duly_engine::time::Span;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Api;
use super::extract::{InQueue, Json, OfDelivery};
use super::problem::{BAD_DURATION, BAD_FIELD, Problem};
use super::refusal;
use super::reply::{DeadlineReply, LeasedReply, Reply, TouchedReply, ask};
use crate::listen::stopped;
use crate::units::WrittenDuration;

/// Longest wait of a lease.
const LONGEST_WAIT: Span = Span::from_secs(60);
/// How long a lease holds that names no length.
const USUAL_LEASE: Span = Span::from_secs(30);

/// What a worker wants.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Lease)]
pub(super) struct LeaseBody {
    /// At most so many deliveries; 1 by default.
    #[schema(minimum = 1, maximum = 1000)]
    max: Option<usize>,
    /// Wait for the first one for up to so long (at most 60 s); by default not at all.
    wait: Option<WrittenDuration>,
    /// For how long to hold them: 1 s to 12 h, 30 s by default.
    lease: Option<WrittenDuration>,
}

/// How an attempt ended.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Verdict)]
pub(super) struct VerdictBody {
    /// The lease's token.
    #[schema(pattern = "^[0-9]{1,19}$")]
    token: String,
    /// How.
    verdict: VerdictText,
    /// Of `retry` and `dead`: what went wrong, at most 512 bytes are kept.
    error: Option<String>,
    /// Of `retry`: not before so long from now.
    retry_after: Option<WrittenDuration>,
}

/// How an attempt ended, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = VerdictWord)]
pub(super) enum VerdictText {
    /// The target acted.
    Done,
    /// It was no longer needed, such as already paid.
    Superseded,
    /// It failed; try again.
    Retry,
    /// It failed for good.
    Dead,
}

/// A lease to keep.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Touch)]
pub(super) struct TouchBody {
    /// The lease's token.
    #[schema(pattern = "^[0-9]{1,19}$")]
    token: String,
    /// For how long from now: 1 s to 12 h, 30 s by default.
    lease: Option<WrittenDuration>,
}

fn lease_span(written: Option<WrittenDuration>) -> Result<Span, Problem> {
    let span = match written {
        Some(written) => written.span().map_err(|bad| Problem::from(bad).field("lease"))?,
        None => USUAL_LEASE,
    };
    let (shortest, longest) = LEASE;
    if (shortest..=longest).contains(&span) {
        return Ok(span);
    }
    Err(Problem::new(&BAD_DURATION)
        .detail(format!("a lease of {span} cannot be"))
        .hint(format!("a lease is {shortest} to {longest} long"))
        .field("lease"))
}

fn token(text: &str) -> Result<Token, Problem> {
    text.parse().map(Token).map_err(|_| {
        Problem::new(&BAD_FIELD)
            .detail("the token is not one")
            .hint("send the token back as it was handed out, as text")
            .field("token")
    })
}

/// What is kept of an error's text, cut between two characters.
fn error_text(text: Option<String>) -> Arc<str> {
    let text = text.unwrap_or_else(|| "the worker gave no reason".to_owned());
    text[..text.floor_char_boundary(ERROR_BYTES)].into()
}

/// What a worker wants, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// At most so many.
    pub max: usize,
    /// To wait for the first one.
    pub wait: Span,
    /// To hold them.
    pub span: Span,
}

impl LeaseBody {
    /// What it asks for.
    pub(super) fn meant(self) -> Result<Wanted, Problem> {
        let max = self.max.unwrap_or(1);
        if !(1..=LEASE_DELIVERIES).contains(&max) {
            return Err(Problem::new(&BAD_FIELD).detail("max is 1 to 1000").field("max"));
        }
        let wait = match self.wait {
            Some(written) => written.span().map_err(|bad| Problem::from(bad).field("wait"))?,
            None => Span::ZERO,
        };
        if wait > LONGEST_WAIT {
            return Err(Problem::new(&BAD_DURATION)
                .detail(format!("{wait} is too long to wait in one request"))
                .hint(format!("at most {LONGEST_WAIT}; ask again afterwards"))
                .field("wait"));
        }
        Ok(Wanted { max, wait, span: lease_span(self.lease)? })
    }
}

impl VerdictBody {
    /// The command that it is for this delivery.
    pub(super) fn command(self, delivery: DeliveryId) -> Result<Command, Problem> {
        let token = token(&self.token)?;
        Ok(Command::Verdict { delivery, token, verdict: self.verdict()? })
    }

    fn verdict(self) -> Result<command::Verdict, Problem> {
        let fails = matches!(self.verdict, VerdictText::Retry | VerdictText::Dead);
        if self.error.is_some() && !fails {
            return Err(Problem::new(&BAD_FIELD)
                .detail("only retry and dead have an error")
                .field("error"));
        }
        if self.retry_after.is_some() && self.verdict != VerdictText::Retry {
            return Err(Problem::new(&BAD_FIELD)
                .detail("only retry has a retry_after")
                .field("retry_after"));
        }
        let after = match self.retry_after {
            Some(written) => {
                Some(written.span().map_err(|bad| Problem::from(bad).field("retry_after"))?)
            }
            None => None,
        };
        Ok(match self.verdict {
            VerdictText::Done => command::Verdict::Done,
            VerdictText::Superseded => command::Verdict::Superseded,
            VerdictText::Retry => command::Verdict::Retry { error: error_text(self.error), after },
            VerdictText::Dead => command::Verdict::Dead { error: error_text(self.error) },
        })
    }
}

impl TouchBody {
    /// The command that it is for this delivery.
    pub(super) fn command(self, delivery: DeliveryId) -> Result<Command, Problem> {
        let token = token(&self.token)?;
        Ok(Command::Touch { delivery, token, span: lease_span(self.lease)? })
    }
}

/// Lease deliveries of a pull queue, perhaps waiting for the first.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/lease", operation_id = "lease", tag = "deliveries",
    params(InQueue), request_body = Option<LeaseBody>,
    responses(
        (status = 200, description = "What there was, perhaps nothing", body = LeasedReply),
        (status = 404, description = "`unknown_queue`"),
        (status = 409, description = "`not_pull`"),
    )
)]
pub(super) async fn lease(
    api: Api,
    InQueue { queue }: InQueue,
    Json(body): Json<LeaseBody>,
) -> Result<Reply, Problem> {
    let Wanted { max, wait, span } = body.meant()?;
    let mut stopping = api.settings.stopping.clone();
    tokio::select! {
        biased;
        leased = api.handle.lease(queue, max, span, wait) => {
            Ok(Reply::leased(leased?.map_err(refusal::problem)?))
        }
        () = stopped(&mut stopping) => Ok(Reply::leased(Vec::new())),
    }
}

/// Say how an attempt ended; repeating it answers the same.
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/verdict", operation_id = "verdict", tag = "deliveries",
    params(OfDelivery), request_body = VerdictBody,
    responses(
        (status = 200, description = "Taken", body = DeadlineReply),
        (status = 404, description = "`unknown_delivery`"),
        (status = 409, description = "`lease_lost`"),
    )
)]
pub(super) async fn verdict(
    api: Api,
    OfDelivery { id: delivery }: OfDelivery,
    Json(body): Json<VerdictBody>,
) -> Result<Reply, Problem> {
    ask(&api.handle, body.command(delivery)?).await
}

/// Keep a lease for another while.
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/touch", operation_id = "touch", tag = "deliveries",
    params(OfDelivery), request_body = TouchBody,
    responses(
        (status = 200, description = "Kept", body = TouchedReply),
        (status = 404, description = "`unknown_delivery`"),
        (status = 409, description = "`lease_lost`"),
    )
)]
pub(super) async fn touch(
    api: Api,
    OfDelivery { id: delivery }: OfDelivery,
    Json(body): Json<TouchBody>,
) -> Result<Reply, Problem> {
    ask(&api.handle, body.command(delivery)?).await
}
