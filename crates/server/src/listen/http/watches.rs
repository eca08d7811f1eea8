//! The calls about table watches: how they are, what those have seen that only observe, and a
//! reconciliation now.
//!
//! What is shown is what the watches have written down; nothing here asks a table.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use duly_engine::id::QueueName;
use duly_engine::time::{Span, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::extract::{InWatch, Json};
use super::problem::{
    BAD_FIELD, Problem, RECONCILIATION_UNDER_WAY, STOPPING, UNKNOWN_WATCH, WATCH_HELD_UP,
};
use super::reply::json;
use crate::metrics::{Case, Fate, Instead, Observed, WatchFigures, When};
use crate::reconciliation::{Drift, NoReconciliation, Reconciliation, Stage};
use crate::units::{WrittenDuration, show_instant};

/// How long an answer waits for the end of a reconciliation: unless asked, and at most.
const WAIT: (Span, Span) = (Span::from_secs(10), Span::from_mins(1));

/// All watches.
#[derive(Serialize, ToSchema)]
pub(super) struct WatchesReply {
    /// By name.
    watches: Vec<WatchView>,
}

/// One watch.
#[derive(Serialize, ToSchema)]
pub(super) struct WatchReply {
    watch: WatchView,
    /// What a watch that only observes has seen; `null` for one that acts.
    report: Option<ReportView>,
    /// The last reconciliation that was asked for since the server started.
    reconciliation: Option<ReconciliationView>,
}

/// How a watch is and what it has done since the server started.
#[derive(Serialize, ToSchema)]
#[schema(as = Watch)]
pub(super) struct WatchView {
    /// Its name, which is its queue's.
    name: String,
    /// `observe` or `act`.
    mode: &'static str,
    /// What keeps it from its work.
    held_up: Option<HeldUpView>,
    /// Every row created and committed before this has been seen.
    #[schema(format = DateTime)]
    covered: String,
    /// When the last reconciliation ended.
    #[schema(format = DateTime)]
    reconciled_at: Option<String>,
    /// Rows made into deadlines.
    armed: u64,
    /// Deadlines settled because their row was closed or gone.
    settled: u64,
    /// Rows that no deadline can be made of.
    unreadable: u64,
}

/// What keeps a watch from its work.
#[derive(Serialize, ToSchema)]
#[schema(as = WatchHeldUp)]
pub(super) struct HeldUpView {
    /// Stable.
    code: &'static str,
    /// The same for people.
    why: String,
}

/// What a watch that only observes has seen others do, and what Duly would have done.
#[derive(Serialize, ToSchema)]
#[schema(as = WatchReport)]
pub(super) struct ReportView {
    /// Since then: what was before the server started is not in it.
    #[schema(format = DateTime)]
    since: String,
    /// Up to then.
    #[schema(format = DateTime)]
    until: String,
    tells: TellsView,
    /// Rows that were followed.
    followed: u64,
    /// Rows that were not, because there were too many at a time.
    unfollowed: u64,
    /// Rows that are open and not yet due.
    open: u64,
    /// Rows that were open when they were due.
    fell_due: u64,
    others: OthersView,
    late: LateView,
    instead: InsteadView,
    rows: RowsView,
}

/// What the watch's configuration (`[watches.NAME.report]`) lets it tell.
#[derive(Serialize, ToSchema)]
#[schema(as = WatchTells)]
pub(super) struct TellsView {
    /// Which closed rows were cancelled.
    cancelled: bool,
    /// Which rows were paid.
    paid: bool,
    /// When a row was changed; else that lies between two looks.
    changed: bool,
}

/// What others did with the rows: each is counted once.
#[derive(Serialize, ToSchema)]
#[schema(as = WatchOthers)]
pub(super) struct OthersView {
    /// Cancelled, and paid before that or in the same look.
    cancelled_although_paid: u64,
    /// Cancelled, and only then paid.
    paid_after_cancelled: u64,
    /// Cancelled before they were due.
    cancelled_early: u64,
    /// Cancelled when they were due or later.
    cancelled_late: u64,
    /// Paid before they were due.
    paid_in_time: u64,
    /// Paid so near their due time that the table does not tell on which side.
    paid_about_due: u64,
    /// Paid after they were due, and not cancelled.
    paid_late: u64,
    /// Closed otherwise before they were due.
    closed_early: u64,
    /// The same when they were due or later.
    closed_late: u64,
    /// Still open although due.
    overdue: u64,
    /// Of these, for more than an hour.
    overdue_long: u64,
}

/// How late others closed what nobody paid (`cancelled_late` and `closed_late`).
#[derive(Serialize, ToSchema)]
#[schema(as = WatchLate)]
pub(super) struct LateView {
    /// Rows.
    count: u64,
    /// Of these, those for which a column told the time; to the millisecond, or as the column has it.
    told: u64,
    /// The others lie within so much.
    within_ms: u64,
    /// Half of them were not later.
    median_ms: u64,
    /// Nine of ten were not later.
    p90_ms: u64,
    /// 99 of 100 were not later.
    p99_ms: u64,
    /// The latest.
    worst_ms: u64,
}

/// What Duly would have done with them.
#[derive(Serialize, ToSchema)]
#[schema(as = WatchInstead)]
pub(super) struct InsteadView {
    /// Cancelled at their due time: they were open then.
    cancelled: u64,
    /// Left alone: they were closed before.
    kept: u64,
    /// It is not known whether they were open when they were due.
    unclear: u64,
    /// Cancelled although paid: rows that were paid and still met the watch's condition.
    cancelled_although_paid: u64,
}

/// The rows that differ, at most 100 of each kind.
#[derive(Serialize, ToSchema)]
#[schema(as = WatchRows)]
pub(super) struct RowsView {
    /// The last ones.
    cancelled_although_paid: Vec<CaseView>,
    /// The last ones.
    paid_after_cancelled: Vec<CaseView>,
    /// The last ones.
    cancelled_early: Vec<CaseView>,
    /// The latest ones.
    cancelled_late: Vec<CaseView>,
    /// The last ones.
    paid_about_due: Vec<CaseView>,
    /// The last ones.
    paid_late: Vec<CaseView>,
    /// The latest ones.
    closed_late: Vec<CaseView>,
    /// Those that were due first.
    overdue: Vec<CaseView>,
}

/// One row.
#[derive(Serialize, ToSchema)]
#[schema(as = WatchRow)]
pub(super) struct CaseView {
    /// Its key.
    key: String,
    /// When it was due.
    #[schema(format = DateTime)]
    due: String,
    /// When it was closed, or cancelled; `null` while it is open.
    closed: Option<WhenView>,
    /// When it was paid, if it was.
    paid: Option<WhenView>,
    /// How long after it was due it was closed; negative: before.
    late_ms: Option<i64>,
    /// What Duly would have done: `cancelled`, `kept` or `unclear`.
    instead: Option<&'static str>,
}

/// When something happened, as far as the table tells.
#[derive(Serialize, ToSchema)]
#[schema(as = WatchWhen)]
pub(super) struct WhenView {
    /// Not before.
    #[schema(format = DateTime)]
    earliest: String,
    /// Not after.
    #[schema(format = DateTime)]
    latest: String,
    /// A column told it; else it is between two looks.
    told: bool,
}

/// What is wished for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReconcileRequest)]
pub(super) struct ReconcileBody {
    /// Only say what would be put right.
    dry_run: Option<bool>,
    /// How long to wait for the end: `10s` by default, at most `1m`.
    wait: Option<WrittenDuration>,
}

/// A reconciliation.
#[derive(Serialize, ToSchema)]
pub(super) struct ReconciliationReply {
    reconciliation: ReconciliationView,
}

/// A reconciliation that somebody asked for.
#[derive(Serialize, ToSchema)]
#[schema(as = Reconciliation)]
pub(super) struct ReconciliationView {
    /// The watch.
    watch: String,
    /// The how-manieth since the server started.
    number: u64,
    /// Nothing was put right.
    dry_run: bool,
    /// `under_way`, `done` or `failed`.
    state: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Since then it is so.
    #[schema(format = DateTime)]
    since: String,
    /// Open rows compared.
    rows: u64,
    /// Pending deadlines compared.
    deadlines: u64,
    /// Why rows without a deadline were not looked for, if they were not.
    skipped: Option<String>,
    /// What was found, by kind; kinds of which there is nothing are left out.
    found: Vec<FoundView>,
}

/// Differences of one kind.
#[derive(Serialize, ToSchema)]
#[schema(as = Drift)]
pub(super) struct FoundView {
    /// `unarmed`, `closed`, `moved`, `reopened`, `overdue`, `stuck` or `unreadable`.
    kind: &'static str,
    /// How many.
    count: u64,
    /// Of these, put right.
    repaired: u64,
    /// The first hundred of them.
    keys: Vec<String>,
}

impl WatchView {
    fn of(name: &str, figures: &WatchFigures) -> WatchView {
        WatchView {
            name: name.to_owned(),
            mode: if figures.observes { "observe" } else { "act" },
            held_up: figures
                .trouble
                .as_ref()
                .map(|trouble| HeldUpView { code: trouble.code(), why: trouble.sentence() }),
            covered: show_instant(figures.covered),
            reconciled_at: figures.reconciled_at.map(show_instant),
            armed: figures.armed,
            settled: figures.settled,
            unreadable: figures.unreadable,
        }
    }
}

impl From<&Observed> for ReportView {
    fn from(observed: &Observed) -> ReportView {
        let count = |fate| observed.count(fate);
        let rows = |fate| observed.named(fate).map(CaseView::from).collect();
        let late = |percent| observed.delays.quantile(percent).millis();
        ReportView {
            since: show_instant(observed.since),
            until: show_instant(observed.until),
            tells: TellsView {
                cancelled: observed.tells.cancelled,
                paid: observed.tells.paid,
                changed: observed.tells.changed,
            },
            followed: observed.followed,
            unfollowed: observed.unfollowed,
            open: observed.open,
            fell_due: observed.fell_due(),
            others: OthersView {
                cancelled_although_paid: count(Fate::CancelledAlthoughPaid),
                paid_after_cancelled: count(Fate::PaidAfterCancelled),
                cancelled_early: count(Fate::CancelledEarly),
                cancelled_late: count(Fate::CancelledLate),
                paid_in_time: count(Fate::PaidInTime),
                paid_about_due: count(Fate::PaidAboutDue),
                paid_late: count(Fate::PaidLate),
                closed_early: count(Fate::ClosedEarly),
                closed_late: count(Fate::ClosedLate),
                overdue: observed.overdue.count,
                overdue_long: observed.overdue.long,
            },
            late: LateView {
                count: observed.delays.count(),
                told: observed.delays.told,
                within_ms: observed.delays.within.millis(),
                median_ms: late(50),
                p90_ms: late(90),
                p99_ms: late(99),
                worst_ms: late(100),
            },
            instead: InsteadView {
                cancelled: observed.instead(Instead::Cancelled),
                kept: observed.instead(Instead::Kept),
                unclear: observed.instead(Instead::Unclear),
                cancelled_although_paid: observed.open_although_paid,
            },
            rows: RowsView {
                cancelled_although_paid: rows(Fate::CancelledAlthoughPaid),
                paid_after_cancelled: rows(Fate::PaidAfterCancelled),
                cancelled_early: rows(Fate::CancelledEarly),
                cancelled_late: rows(Fate::CancelledLate),
                paid_about_due: rows(Fate::PaidAboutDue),
                paid_late: rows(Fate::PaidLate),
                closed_late: rows(Fate::ClosedLate),
                overdue: observed.overdue.first.iter().map(CaseView::from).collect(),
            },
        }
    }
}

impl From<&Case> for CaseView {
    fn from(case: &Case) -> CaseView {
        CaseView {
            key: case.key.to_string(),
            due: show_instant(case.due),
            closed: case.closed.map(WhenView::from),
            paid: case.paid.map(WhenView::from),
            late_ms: case.closed.map(|closed| signed(closed.shown(), case.due)),
            instead: case.instead.map(Instead::word),
        }
    }
}

impl From<When> for WhenView {
    fn from(when: When) -> WhenView {
        WhenView {
            earliest: show_instant(when.earliest),
            latest: show_instant(when.latest),
            told: when.told,
        }
    }
}

impl ReconciliationView {
    fn of(watch: &QueueName, reconciliation: &Reconciliation) -> ReconciliationView {
        let (state, why) = match &reconciliation.stage {
            Stage::Asked | Stage::UnderWay => ("under_way", None),
            Stage::Done => ("done", None),
            Stage::Failed(why) => ("failed", Some(why.clone())),
        };
        let found = Drift::ALL.into_iter().filter_map(|drift| {
            let found = reconciliation.found(drift);
            let keys = found.keys.iter().map(ToString::to_string).collect();
            (found.count > 0).then(|| FoundView {
                kind: drift.word(),
                count: found.count,
                repaired: found.repaired,
                keys,
            })
        });
        ReconciliationView {
            watch: watch.to_string(),
            number: reconciliation.number,
            dry_run: reconciliation.dry_run,
            state,
            why,
            since: show_instant(reconciliation.since),
            rows: reconciliation.rows,
            deadlines: reconciliation.deadlines,
            skipped: reconciliation.skipped.clone(),
            found: found.collect(),
        }
    }
}

fn signed(at: Time, due: Time) -> i64 {
    let millis = |span: Span| i64::try_from(span.millis()).unwrap_or(i64::MAX);
    millis(at.since(due)) - millis(due.since(at))
}

/// How the table watches are.
#[utoipa::path(
    get, path = "/v1/watches", operation_id = "list_watches", tag = "watches",
    responses((status = 200, description = "All watches", body = WatchesReply))
)]
pub(super) async fn all(api: Api) -> Response {
    let watches = api.metrics.watches().all();
    let watches = watches.iter().map(|(name, figures)| WatchView::of(name, figures)).collect();
    json(StatusCode::OK, &WatchesReply { watches })
}

/// One watch, with what it has seen if it only observes.
#[utoipa::path(
    get, path = "/v1/watches/{watch}", operation_id = "get_watch", tag = "watches",
    params(InWatch),
    responses(
        (status = 200, description = "The watch", body = WatchReply),
        (status = 404, description = "`unknown_watch`"),
    )
)]
pub(super) async fn one(api: Api, InWatch { watch }: InWatch) -> Result<Response, Problem> {
    let desk = api.settings.desks.desk(&watch).ok_or_else(|| Problem::new(&UNKNOWN_WATCH))?;
    let figures = api.metrics.watches().all().remove(watch.as_str()).unwrap_or_default();
    let observed = api.metrics.watches().observed().remove(watch.as_str());
    let reply = WatchReply {
        watch: WatchView::of(watch.as_str(), &figures),
        report: observed.map(|observed| ReportView::from(&*observed)),
        reconciliation: desk.lying().map(|lying| ReconciliationView::of(&watch, &lying)),
    };
    Ok(json(StatusCode::OK, &reply))
}

/// Compare table and deadlines now, and put right what differs; or, with `dry_run`, only say it.
#[utoipa::path(
    post, path = "/v1/watches/{watch}/reconcile", operation_id = "reconcile", tag = "watches",
    params(InWatch), request_body = Option<ReconcileBody>,
    responses(
        (status = 200, description = "It has ended", body = ReconciliationReply),
        (status = 202, description = "It goes on; the watch shows how far it is",
            body = ReconciliationReply),
        (status = 404, description = "`unknown_watch`"),
        (status = 409, description = "`reconciliation_under_way`"),
        (status = 503, description = "`watch_held_up`, `stopping`"),
    )
)]
pub(super) async fn reconcile(
    api: Api,
    InWatch { watch }: InWatch,
    Json(body): Json<ReconcileBody>,
) -> Result<Response, Problem> {
    let wait = match &body.wait {
        Some(wait) => wait.span().map_err(|bad| Problem::from(bad).field("wait"))?,
        None => WAIT.0,
    };
    if wait > WAIT.1 {
        let detail = format!("wait is at most {}", WAIT.1);
        return Err(Problem::new(&BAD_FIELD).detail(detail).field("wait"));
    }
    let desks = &api.settings.desks;
    let asked = desks.ask(&watch, body.dry_run.unwrap_or(false), api.handle.now());
    let mut lying = asked.map_err(|why| match why {
        NoReconciliation::UnknownWatch => Problem::new(&UNKNOWN_WATCH),
        NoReconciliation::UnderWay => Problem::new(&RECONCILIATION_UNDER_WAY),
    })?;
    let mut stopping = api.settings.stopping.clone();
    tokio::select! {
        // Both are there as long as the server is.
        _ = lying.wait_for(Reconciliation::is_over) => {}
        _ = stopping.wait_for(|stopping| *stopping) => return Err(Problem::new(&STOPPING)),
        () = tokio::time::sleep(Duration::from_millis(wait.millis())) => {}
    }
    let lying = lying.borrow().clone();
    if let Stage::Failed(why) = &lying.stage {
        return Err(Problem::new(&WATCH_HELD_UP).detail(why.clone()));
    }
    let status = if lying.is_over() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let reconciliation = ReconciliationView::of(&watch, &lying);
    Ok(json(status, &ReconciliationReply { reconciliation }))
}
