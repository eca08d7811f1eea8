//! `[watches.NAME]`: rows of a table as deadlines, as it is typed and as it is meant.
//!
//! A watch is also a queue of the same name, declared by the configuration: its action becomes the
//! queue's target, and `[queues.NAME]` may set the rest of the policy. Whether the table has these
//! columns is the database's to say, later.

use std::collections::BTreeMap;

use duly_engine::id::QueueName;
use duly_engine::queue::Policy;
use duly_engine::time::{Span, Time};
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::document::Document;
use super::typed::WEBHOOK_FIELDS;
use super::{BadConfig, Settings, SqlAction};
use crate::policy::{ExecText, PolicyText, TargetText, WebhookText};
use crate::units::{self, WrittenDuration};

/// A table whose open rows are deadlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The name of the database, which is one of [`Settings::databases`].
    pub database: String,
    /// The table, perhaps with its schema: `shop.orders`.
    pub table: String,
    /// The column that names a row.
    pub key: String,
    /// The column that says when a row was created.
    pub created: String,
    /// When a row is due.
    pub due: WatchDue,
    /// Which rows are open: the operator's own condition.
    pub open: String,
    /// The column that says how a row was closed.
    pub outcome: Option<String>,
    /// The zone of columns that carry none; where nothing is said, they must carry one.
    pub time_zone: TimeZone,
    /// Was a zone named?
    pub names_zone: bool,
    /// Acts when a row lapses; else it only reports.
    pub acts: bool,
    /// Which rows are old enough to be left alone.
    pub start: WatchStart,
    /// How often new rows are looked for.
    pub period: Span,
    /// How long after its creation a row may be committed.
    pub overlap: Span,
    /// How often table and deadlines are compared as wholes.
    pub reconcile: Span,
    /// Rows armed, and deadlines lapsing, in a minute at most.
    pub max_per_minute: u32,
    /// A table without an index for it may be searched.
    pub allow_scan: bool,
    /// How it shows what others did with a row, for the report of a watch that only observes.
    pub report: WatchReport,
}

/// How it shows in the table what others did with a row. What is left out the report does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchReport {
    /// Which of the rows that are no longer open were cancelled: the operator's own condition.
    pub cancelled: Option<String>,
    /// Which rows were paid, whatever else became of them; likewise.
    pub paid: Option<String>,
    /// The column that says when a row was changed.
    pub changed: Option<String>,
}

/// When a row is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchDue {
    /// So long after it was created.
    After(Span),
    /// When this column says.
    Column(String),
}

/// Which rows are old enough to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchStart {
    /// Those created before the watch was first started.
    Now,
    /// None.
    All,
    /// Those created before this.
    At(Time),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WatchForm {
    database: String,
    table: String,
    key: String,
    created: String,
    delay: Option<WrittenDuration>,
    due: Option<String>,
    open: String,
    outcome: Option<String>,
    time_zone: Option<String>,
    mode: Option<ModeWord>,
    start: Option<String>,
    period: Option<WrittenDuration>,
    overlap: Option<WrittenDuration>,
    reconcile: Option<WrittenDuration>,
    max_per_minute: Option<u32>,
    allow_scan: Option<bool>,
    report: Option<ReportForm>,
    action: Option<ActionForm>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportForm {
    cancelled: Option<String>,
    paid: Option<String>,
    changed: Option<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum ModeWord {
    Observe,
    Act,
}

/// What happens to a row that lapses: one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionForm {
    sql: Option<SqlActionForm>,
    webhook: Option<WebhookText>,
    exec: Option<ExecText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlActionForm {
    steps: Vec<String>,
    applied: Option<String>,
}

/// The key inside the watch's table and what is wrong with it.
type Wrong = (Vec<&'static str>, String);

const MILLISECOND: Span = Span::from_millis(1);

impl WatchForm {
    /// Adds the watch, its queue and its action to the settings.
    pub(super) fn mean(
        self,
        name: &str,
        queue: Option<&PolicyText>,
        settings: &mut Settings,
        document: &Document<'_>,
    ) -> Result<(), BadConfig> {
        let complain = |(keys, why): Wrong| {
            let keys: Vec<&str> = ["watches", name].into_iter().chain(keys).collect();
            document.complain(&keys, why)
        };
        let watch = QueueName::new(name).map_err(|why| complain((vec![], why.to_string())))?;
        let wrong = |key, why: &str| complain((vec![key], why.to_owned()));
        if !settings.databases.contains_key(&self.database) {
            let why = format!("there is no [databases.{}] in the configuration", self.database);
            return Err(complain((vec!["database"], why)));
        }
        if queue.is_some_and(|queue| queue.target.is_some()) {
            let why = "the queue of a watch has its action as the target; it belongs in the watch";
            return Err(document.complain(&["queues", name, "target"], why));
        }
        let acts = self.mode == Some(ModeWord::Act);
        let target = self.target(name, acts, settings).map_err(complain)?;
        let mut policy = queue.cloned().unwrap_or_default();
        policy.target = Some(target.unwrap_or(TargetText::None));
        let policy = policy.over(&Policy::default()).map_err(|bad| {
            let why = format!("{}; {}", bad.why, bad.hint);
            if WEBHOOK_FIELDS.contains(&bad.field) {
                complain((vec!["action", "webhook", bad.field], why))
            } else {
                document.complain(&["queues", name, bad.field], why)
            }
        })?;
        for (key, text) in [
            ("table", Some(&self.table)),
            ("key", Some(&self.key)),
            ("created", Some(&self.created)),
            ("open", Some(&self.open)),
            ("due", self.due.as_ref()),
            ("outcome", self.outcome.as_ref()),
        ] {
            if text.is_some_and(|text| text.trim().is_empty()) {
                return Err(wrong(key, "is empty"));
            }
        }
        condition(&self.open).map_err(|why| wrong("open", why))?;
        let report = report(self.report.unwrap_or_default()).map_err(complain)?;
        let span = |key, written: Option<&WrittenDuration>, otherwise, least| {
            let Some(written) = written else { return Ok(otherwise) };
            match written.span() {
                Ok(span) if span >= least => Ok(span),
                Ok(_) => Err(complain((vec![key], format!("is at least {least}")))),
                Err(bad) => Err(complain((vec![key], bad.to_string()))),
            }
        };
        let due = match (self.due, &self.delay) {
            (None, None) => {
                return Err(wrong(
                    "delay",
                    "is missing; write delay = \"30m\", or name a column: due",
                ));
            }
            (Some(_), Some(_)) => return Err(wrong("due", "is given beside `delay`; keep one")),
            (Some(column), None) => WatchDue::Column(column),
            (None, delay) => {
                WatchDue::After(span("delay", delay.as_ref(), Span::ZERO, MILLISECOND)?)
            }
        };
        let zone = self.time_zone.as_deref().map(units::time_zone).transpose();
        let zone = zone.map_err(|why| complain((vec!["time_zone"], why)))?;
        let max_per_minute = self.max_per_minute.unwrap_or(1_000);
        if max_per_minute == 0 {
            return Err(wrong("max_per_minute", "is at least 1"));
        }
        let meant = Watch {
            start: start(self.start.as_deref()).map_err(|why| complain((vec!["start"], why)))?,
            period: span(
                "period",
                self.period.as_ref(),
                Span::from_secs(1),
                Span::from_millis(500),
            )?,
            overlap: span("overlap", self.overlap.as_ref(), Span::from_secs(30), Span::ZERO)?,
            reconcile: span(
                "reconcile",
                self.reconcile.as_ref(),
                Span::from_mins(1),
                Span::from_secs(1),
            )?,
            names_zone: zone.is_some(),
            time_zone: zone.unwrap_or(TimeZone::UTC),
            allow_scan: self.allow_scan.unwrap_or(false),
            database: self.database,
            table: self.table,
            key: self.key,
            created: self.created,
            due,
            open: self.open,
            outcome: self.outcome,
            acts,
            max_per_minute,
            report,
        };
        settings.queues.insert(watch.clone(), policy);
        settings.watches.insert(watch, meant);
        Ok(())
    }

    /// The queue's target; a watch that only observes has none, but its action is read all the same.
    fn target(
        &self,
        name: &str,
        acts: bool,
        settings: &mut Settings,
    ) -> Result<Option<TargetText>, Wrong> {
        let Some(action) = &self.action else {
            if acts {
                let why = "is missing: with mode = \"act\" say what happens to a row that lapses";
                return Err((vec!["action"], why.to_owned()));
            }
            return Ok(None);
        };
        let target = match (&action.sql, &action.webhook, &action.exec) {
            (Some(sql), None, None) => {
                let setting = format!("watches.{name}.action.sql");
                if sql.steps.is_empty() || sql.steps.iter().any(|step| step.trim().is_empty()) {
                    let why = "has at least one statement, and none is empty".to_owned();
                    return Err((vec!["action", "sql", "steps"], why));
                }
                let meant = SqlAction {
                    place: setting.clone(),
                    database: self.database.clone(),
                    steps: sql.steps.clone(),
                    applied: sql.applied.clone(),
                };
                settings.sql.insert(setting.clone(), meant);
                TargetText::Sql(setting)
            }
            (None, Some(webhook), None) => TargetText::Webhook(webhook.clone()),
            (None, None, Some(exec)) => {
                if !settings.exec.contains_key(&exec.command) {
                    let why = format!("there is no [exec.{}] in the configuration", exec.command);
                    return Err((vec!["action", "exec", "command"], why));
                }
                TargetText::Exec(exec.clone())
            }
            _ => {
                let why = "is one of `sql`, `webhook` and `exec`".to_owned();
                return Err((vec!["action"], why));
            }
        };
        Ok(acts.then_some(target))
    }
}

/// How it shows what others did.
fn report(form: ReportForm) -> Result<WatchReport, Wrong> {
    let ReportForm { cancelled, paid, changed } = form;
    let given = [("cancelled", &cancelled), ("paid", &paid), ("changed", &changed)];
    for (key, text) in given {
        let Some(text) = text else { continue };
        let good = if text.trim().is_empty() { Err("is empty") } else { condition(text) };
        good.map_err(|why| (vec!["report", key], why.to_owned()))?;
    }
    Ok(WatchReport { cancelled, paid, changed })
}

/// Is this one condition, which stays one between parentheses? What it means is the database's to
/// say.
fn condition(text: &str) -> Result<(), &'static str> {
    let mut depth = 0_usize;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            // What is quoted is passed over.
            '\'' | '"' | '`' if !chars.by_ref().any(|inside| inside == char) => {
                return Err("has a quote that is not closed");
            }
            '(' => depth += 1,
            ')' if depth == 0 => return Err("closes a parenthesis that it did not open"),
            ')' => depth -= 1,
            ';' | '\0' => return Err("is more than a condition: it has a ';' or a NUL in it"),
            '-' | '/' if chars.peek() == Some(if char == '-' { &'-' } else { &'*' }) => {
                return Err("has a comment in it");
            }
            _ => {}
        }
    }
    if depth == 0 { Ok(()) } else { Err("opens a parenthesis that it does not close") }
}

fn start(written: Option<&str>) -> Result<WatchStart, String> {
    match written {
        None | Some("now") => Ok(WatchStart::Now),
        Some("all") => Ok(WatchStart::All),
        Some(text) => units::instant(text)
            .map(WatchStart::At)
            .map_err(|bad| format!("{bad}; or \"now\" or \"all\"")),
    }
}

/// Reads all watches; queues of the same name give the rest of their policies.
pub(super) fn mean(
    forms: BTreeMap<String, WatchForm>,
    queues: &BTreeMap<String, PolicyText>,
    settings: &mut Settings,
    document: &Document<'_>,
) -> Result<(), BadConfig> {
    for (name, form) in forms {
        form.mean(&name, queues.get(&name), settings, document)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use duly_engine::queue::Target;

    use super::*;
    use crate::config::Environment;

    const GOOD: &str = r#"
[databases.shop]
dsn = "sqlite:///var/lib/shop/shop.db"
[watches.shop-orders]
database = "shop"
table = "orders"
key = "id"
created = "created_at"
delay = "30m"
open = "status = 'unpaid'"
mode = "act"
[watches.shop-orders.action.sql]
steps = ["UPDATE orders SET status='cancelled' WHERE id=:key AND status='unpaid'"]
"#;

    fn read(text: &str) -> Result<Settings, BadConfig> {
        Settings::parse("duly.toml", text, &Environment::default(), &[])
    }

    fn name() -> QueueName {
        QueueName::new("shop-orders").expect("it is a good name")
    }

    #[test]
    fn a_watch_is_a_queue_with_its_action_as_the_target() {
        let text = format!("{GOOD}[queues.shop-orders]\ngrace = \"5s\"\n");
        let settings = read(&text).expect("it is good");
        let policy = &settings.queues[&name()];
        let Target::Sql { name: action, .. } = &policy.target else {
            panic!("the target is {:?}", policy.target)
        };
        assert_eq!(settings.sql[action].place, "watches.shop-orders.action.sql");
        assert_eq!(policy.grace, Span::from_secs(5));
        let watch = &settings.watches[&name()];
        assert_eq!(watch.due, WatchDue::After(Span::from_mins(30)));
        assert_eq!((watch.start, watch.max_per_minute), (WatchStart::Now, 1_000));
        assert!(!settings.limits.auto_create_queues);
    }

    #[test]
    fn a_watch_may_act_by_a_command_that_the_configuration_names() {
        let action = "[watches.shop-orders.action.exec]\ncommand = \"cancel\"\n";
        let before = GOOD.split("[watches.shop-orders.action").next().expect("there is a part");
        let text = format!("{before}{action}[exec.cancel]\nargv = [\"/srv/cancel\", \":key\"]\n");
        let settings = read(&text).expect("it is good");
        let target = Target::Exec { command: "cancel".to_owned() };
        assert_eq!(settings.queues[&name()].target, target);
        for (text, expected) in [
            (
                format!("{before}{action}"),
                "13: watches.shop-orders.action.exec.command: there is no [exec.cancel]",
            ),
            (format!("{GOOD}{action}"), "12: watches.shop-orders.action: is one of"),
        ] {
            let message = read(&text).expect_err("it is bad").to_string();
            assert!(message.starts_with(&format!("duly.toml:{expected}")), "{message}");
        }
    }

    #[test]
    fn a_mistake_in_the_queue_of_a_watch_is_named_there() {
        let text = format!("{GOOD}[queues.shop-orders]\nconcurrency = 0\n");
        let message = read(&text).expect_err("nothing would be delivered").to_string();
        assert!(message.starts_with("duly.toml:15: queues.shop-orders.concurrency: "), "{message}");
    }

    #[test]
    fn a_watch_observes_unless_it_is_told_to_act() {
        let settings = read(&GOOD.replace("mode = \"act\"\n", "")).expect("it is good");
        assert!(!settings.watches[&name()].acts);
        assert_eq!(settings.queues[&name()].target, Target::None);
    }

    #[test]
    fn a_mistake_in_a_watch_names_line_and_key() {
        let cases = [
            (
                "database = \"shop\"",
                "database = \"store\"",
                "5: watches.shop-orders.database: there",
            ),
            ("delay = \"30m\"", "delay = \"0s\"", "9: watches.shop-orders.delay: is at least 1ms"),
            ("delay = \"30m\"", "delay = \"soon\"", "9: watches.shop-orders.delay: \"soon\" is no"),
            (
                "delay = \"30m\"",
                "delay = \"1m\"\ndue = \"x\"",
                "10: watches.shop-orders.due: is given",
            ),
            ("delay = \"30m\"", "start = \"now\"", "4: watches.shop-orders.delay: is missing"),
            (
                "delay = \"30m\"",
                "delay = 9\nperiod = \"1ms\"",
                "10: watches.shop-orders.period: is",
            ),
            ("delay = \"30m\"", "delay = 9\nstart = \"x\"", "10: watches.shop-orders.start: \"x\""),
            (
                "delay = \"30m\"",
                "delay = 9\ntime_zone = \"x\"",
                "10: watches.shop-orders.time_zone: ",
            ),
            (
                "delay = \"30m\"",
                "delay = 9\nmax_per_minute = 0",
                "10: watches.shop-orders.max_per_",
            ),
            ("key = \"id\"", "key = \" \"", "7: watches.shop-orders.key: is empty"),
            ("status = 'unpaid'", "1) OR (1", "10: watches.shop-orders.open: closes a parenthesis"),
            ("status = 'unpaid'", "f(1", "10: watches.shop-orders.open: opens a parenthesis"),
            ("status = 'unpaid'", "a = 'b", "10: watches.shop-orders.open: has a quote"),
            ("status = 'unpaid'", "1; DROP", "10: watches.shop-orders.open: is more than"),
            ("status = 'unpaid'", "a -- b", "10: watches.shop-orders.open: has a comment"),
            (
                "[watches.shop-orders.action.sql]",
                "report.paid = \"a) OR (b\"\n[watches.shop-orders.action.sql]",
                "12: watches.shop-orders.report.paid: closes a parenthesis",
            ),
            (
                "[watches.shop-orders.action.sql]",
                "report.changed = \"\"\n[watches.shop-orders.action.sql]",
                "12: watches.shop-orders.report.changed: is empty",
            ),
            (
                "[watches.shop-orders.action.sql]",
                "report.refunded = \"x\"\n[watches.shop-orders.action.sql]",
                "12: watches.shop-orders.report.refunded: unknown field",
            ),
            (".action.sql]", ".action]", "13: watches.shop-orders.action.steps: unknown field"),
        ];
        for (was, instead, expected) in cases {
            assert!(GOOD.contains(was), "{was}");
            let message = read(&GOOD.replacen(was, instead, 1)).expect_err(instead).to_string();
            let expected = format!("duly.toml:{expected}");
            assert!(message.starts_with(&expected), "{instead}: {message}, not {expected}");
        }
        let acts =
            GOOD.split("[watches.shop-orders.action").next().expect("there is a part before");
        let message = read(acts).expect_err("it has no action").to_string();
        assert!(
            message.starts_with("duly.toml:4: watches.shop-orders.action: is missing"),
            "{message}"
        );
        let doubled = format!("{GOOD}[queues.shop-orders]\ntarget = \"pull\"\n");
        let message = read(&doubled).expect_err("two targets").to_string();
        assert!(message.starts_with("duly.toml:15: queues.shop-orders.target: "), "{message}");
    }

    #[test]
    fn what_is_quoted_in_a_condition_is_passed_over() {
        for good in ["a = ')'", "a = 'it''s (' AND (b OR c)", "`od;d` = 1", "\"x--\" IS NULL"] {
            assert_eq!(condition(good), Ok(()), "{good}");
        }
    }
}
