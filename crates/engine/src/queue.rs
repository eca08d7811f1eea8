//! A queue's policy: what holds for all its deadlines.
//!
//! Policies are data. They are journalled whole whenever they change, apply to everything that is
//! not yet decided, and are checked once, by [`Policy::check`], before they become a fact. A target
//! here is only *where to go*; how to go there is the deliverers' business.

use crate::limits;
use crate::time::Span;

/// The rules of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The delay of a schedule that names neither `after` nor `due`.
    pub default_delay: Option<Span>,
    /// Time after due in which a settle still wins.
    pub grace: Span,
    /// When the lapse is decided.
    pub decide_at: DecideAt,
    /// How far from its creation a deadline may be extended.
    pub max_total: Span,
    /// All freezes of one generation together.
    pub max_freeze: Span,
    /// Where lapsed deadlines go.
    pub target: Target,
    /// Waits before the second, third, … attempt; the last one repeats.
    pub retry: Vec<Span>,
    /// How long after the lapse (or its revival) a delivery is retried before it is dead.
    pub retry_for: Span,
    /// Requests to the target that the server may have under way at once.
    pub concurrency: u32,
    /// Deliveries handed out per second at most.
    pub rate: Option<u32>,
    /// How long a final record is kept.
    pub retention: Span,
    /// How long a final record keeps its payload.
    pub payload_retention: Span,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            default_delay: None,
            grace: Span::ZERO,
            decide_at: DecideAt::Due,
            max_total: Span::from_hours(24),
            max_freeze: Span::from_mins(15),
            target: Target::Pull,
            retry: vec![
                Span::from_secs(5),
                Span::from_secs(15),
                Span::from_mins(1),
                Span::from_mins(5),
                Span::from_mins(15),
                Span::from_mins(30),
                Span::from_hours(1),
            ],
            retry_for: Span::from_hours(72),
            concurrency: 64,
            rate: None,
            retention: Span::from_days(90),
            payload_retention: Span::from_days(7),
        }
    }
}

/// When a lapse becomes a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecideAt {
    /// At the due time plus grace, whatever the backlog.
    Due,
    /// Together with the first lease: a backlog stays payable until somebody takes it.
    Handout,
}

/// Where a lapsed deadline goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A worker leases it.
    Pull,
    /// Nowhere: the record and its counting are the point.
    None,
    /// An HTTP endpoint.
    Webhook(Webhook),
    /// Guarded statements in a database, named in the operator's configuration.
    Sql {
        /// Its name there.
        name: String,
        /// Lapses in one transaction at most.
        batch: u32,
    },
    /// A command, named in the operator's configuration, run once for each lapse.
    Exec {
        /// Its name there.
        command: String,
    },
    /// A place in a broker, named in the operator's configuration.
    Publish {
        /// Its name there.
        to: String,
        /// Lapses published together at most.
        batch: u32,
    },
}

/// A webhook target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// `http://` or `https://`.
    pub url: String,
    /// Signing secrets (`whsec_…`), the current one first; several while they are rotated.
    pub secrets: Vec<String>,
    /// Lapses in one request at most.
    pub batch: u32,
    /// Total time of one request.
    pub timeout: Span,
}

impl Target {
    /// Lapses handed over in one attempt at most.
    pub fn batch(&self) -> u32 {
        match self {
            Target::Pull | Target::None | Target::Exec { .. } => 1,
            Target::Webhook(webhook) => webhook.batch,
            Target::Sql { batch, .. } | Target::Publish { batch, .. } => *batch,
        }
    }

    /// Do the server's own deliverers act on it?
    pub fn is_served_here(&self) -> bool {
        match self {
            Target::Pull | Target::None => false,
            Target::Webhook(_)
            | Target::Sql { .. }
            | Target::Exec { .. }
            | Target::Publish { .. } => true,
        }
    }

    /// The word for it in the API and in metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Target::Pull => "pull",
            Target::None => "none",
            Target::Webhook(_) => "webhook",
            Target::Sql { .. } => "sql",
            Target::Exec { .. } => "exec",
            Target::Publish { .. } => "publish",
        }
    }
}

/// What is wrong with a policy: the field and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPolicy {
    /// The field's name in the API and in the configuration.
    pub field: &'static str,
    /// Why it cannot be so.
    pub why: &'static str,
}

impl Policy {
    /// Finds the first thing that cannot be.
    pub fn check(&self) -> Result<(), BadPolicy> {
        let spans = [
            ("default_delay", self.default_delay.unwrap_or(Span::ZERO)),
            ("grace", self.grace),
            ("max_total", self.max_total),
            ("max_freeze", self.max_freeze),
            ("retry_for", self.retry_for),
            ("retention", self.retention),
            ("payload_retention", self.payload_retention),
        ];
        let longest = limits::HORIZON;
        if let Some((field, _)) = spans.into_iter().find(|(_, span)| *span > longest) {
            return Err(BadPolicy { field, why: "is longer than ten years" });
        }
        let bad = |field, why| Err(BadPolicy { field, why });
        if self.retry.is_empty() || self.retry.len() > limits::RETRY_STEPS {
            return bad("retry", "has 1 to 64 waits");
        }
        if self.retry.iter().any(|wait| wait.is_zero() || *wait > longest) {
            return bad("retry", "has a wait that is zero or longer than ten years");
        }
        if self.concurrency == 0 || self.concurrency > limits::CONCURRENCY {
            return bad("concurrency", "is 1 to 1000");
        }
        if self.rate == Some(0) {
            return bad("rate", "is at least 1 a second; pause the queue to stop it");
        }
        if !(1..=limits::BATCH_DELIVERIES).contains(&self.target.batch()) {
            return bad("batch", "is 1 to 1000");
        }
        if let Target::Webhook(webhook) = &self.target
            && !(Span::from_millis(100)..=Span::from_mins(5)).contains(&webhook.timeout)
        {
            return bad("timeout", "is 100ms to 5m");
        }
        Ok(())
    }
}
