//! The configuration as it is typed, and the step from there to what is meant.
//!
//! The types below are the form: which keys there are and how one value reads. Everything that
//! takes more than one value to judge, or a second look at one, is in [`Typed::mean`]. Nothing is
//! opened, resolved or connected to here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use duly_engine::id::QueueName;
use duly_engine::queue::Policy;
use duly_engine::time::Span;
use serde::{Deserialize, Deserializer};

use super::document::Document;
use super::exec::ExecForm;
use super::publish::PublishForm;
use super::redis::RedisForm;
use super::watches::{self, WatchForm};
use super::{
    BadConfig, ClockSource, Database, Journal, Links, Log, LogFormat, Outbox, Settings, SqlAction,
    dsn, size, table_of,
};
use crate::policy::PolicyText;
use crate::units::WrittenDuration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Typed {
    data: Option<PathBuf>,
    #[serde(default)]
    http: HttpForm,
    #[serde(default)]
    redis: RedisForm,
    #[serde(default)]
    links: LinksForm,
    #[serde(default)]
    events: EventsForm,
    #[serde(default)]
    clock: ClockForm,
    #[serde(default)]
    journal: JournalForm,
    #[serde(default)]
    log: LogForm,
    #[serde(default)]
    webhook: WebhookForm,
    #[serde(default)]
    databases: BTreeMap<String, DatabaseForm>,
    #[serde(default)]
    sql: BTreeMap<String, SqlForm>,
    #[serde(default)]
    outboxes: BTreeMap<String, OutboxForm>,
    #[serde(default)]
    exec: BTreeMap<String, ExecForm>,
    #[serde(default)]
    publish: BTreeMap<String, PublishForm>,
    #[serde(default)]
    queues: BTreeMap<String, PolicyText>,
    #[serde(default)]
    watches: BTreeMap<String, WatchForm>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpForm {
    listen: Option<String>,
    public: Option<String>,
    public_streams: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinksForm {
    public_url: Option<String>,
    secrets: Option<Vec<String>>,
    secret_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsForm {
    keep: Option<Size>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockForm {
    source: Option<ClockWord>,
    max_forward_jump: Option<WrittenDuration>,
    max_downtime: Option<WrittenDuration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClockWord {
    Machine,
    Manual,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalForm {
    segment_size: Option<Size>,
    reserve: Option<usize>,
    keep: Option<Size>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogForm {
    format: Option<FormatWord>,
    level: Option<LevelWord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormatWord {
    Text,
    Json,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum LevelWord {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookForm {
    allow_private: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseForm {
    dsn: Option<String>,
    dsn_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlForm {
    database: String,
    steps: Vec<String>,
    applied: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutboxForm {
    database: String,
    table: Option<String>,
    period: Option<WrittenDuration>,
}

/// A size in bytes, as text or as a number.
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size is text such as \"64MiB\" or a number of bytes")]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(Size(bytes)),
            Written::Text(text) => size::parse(&text).map(Size).map_err(serde::de::Error::custom),
        }
    }
}

/// A segment holds the largest record (a full batch), and its offsets are 32 bits.
const SEGMENT_SIZES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;
/// Below 4 spare segments schedules are refused, so fewer could never serve.
const LEAST_RESERVE: usize = 5;
const MOST_RESERVE: usize = 1024;

/// What may be kept for those who listen, in bytes.
const EVENTS_KEPT: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 30;
/// Streams that one address may hold open at the public listener.
const PUBLIC_STREAMS: std::ops::RangeInclusive<usize> = 1..=100_000;
/// The shortest secret that links are signed with, in bytes: 128 bits as hexadecimal digits.
const SHORTEST_SECRET: usize = 32;

/// Fields of a policy that are inside its webhook target.
pub(super) const WEBHOOK_FIELDS: [&str; 4] = ["url", "secrets", "batch", "timeout"];

impl Typed {
    /// What is meant, or the first mistake.
    pub(super) fn mean(self, document: &Document<'_>) -> Result<Settings, BadConfig> {
        let mut settings = Settings::default();
        if let Some(data) = self.data {
            if data.as_os_str().is_empty() {
                return Err(document.complain(&["data"], "is empty; name a directory"));
            }
            settings.data = data;
        }
        if let Some(listen) = &self.http.listen {
            settings.http =
                address(listen, 7830).map_err(|why| document.complain(&["http", "listen"], why))?;
        }
        if let Some(public) = &self.http.public {
            settings.public = any_address(public, 7832)
                .map_err(|why| document.complain(&["http", "public"], why))?;
        }
        if let Some(streams) = self.http.public_streams {
            if !PUBLIC_STREAMS.contains(&streams) {
                let why = "is 1 to 100000 streams";
                return Err(document.complain(&["http", "public_streams"], why));
            }
            settings.public_streams = streams;
        }
        settings.redis =
            self.redis.mean().map_err(|(key, why)| document.complain(&["redis", key], why))?;
        settings.links =
            self.links.mean().map_err(|(key, why)| document.complain(&["links", key], why))?;
        if let Some(Size(keep)) = self.events.keep {
            if !EVENTS_KEPT.contains(&keep) {
                return Err(document.complain(&["events", "keep"], "is 64KiB to 4GiB"));
            }
            settings.events_keep = keep;
        }
        self.clock.mean(&mut settings, document)?;
        settings.journal = self.journal.mean(settings.journal, document)?;
        settings.log = self.log.mean(settings.log);
        settings.webhook_allow_private =
            self.webhook.allow_private.unwrap_or(settings.webhook_allow_private);
        for (name, form) in self.databases {
            let database = form
                .mean()
                .map_err(|(key, why)| document.complain(&["databases", &name, key], why))?;
            settings.databases.insert(name, database);
        }
        for (name, form) in self.sql {
            let action = form
                .mean(&name, &settings.databases)
                .map_err(|(key, why)| document.complain(&["sql", &name, key], why))?;
            settings.sql.insert(name, action);
        }
        for (name, form) in self.outboxes {
            let outbox = form
                .mean(&settings.databases)
                .map_err(|(key, why)| document.complain(&["outboxes", &name, key], why))?;
            settings.outboxes.insert(name, outbox);
        }
        for (name, form) in self.exec {
            let action =
                form.mean().map_err(|(key, why)| document.complain(&["exec", &name, key], why))?;
            settings.exec.insert(name, action);
        }
        for (name, form) in self.publish {
            let action = form
                .mean()
                .map_err(|(key, why)| document.complain(&["publish", &name, key], why))?;
            settings.publish.insert(name, action);
        }
        watches::mean(self.watches, &self.queues, &mut settings, document)?;
        let tables = settings.tables();
        for (name, form) in self.queues {
            let queue = QueueName::new(&name)
                .map_err(|why| document.complain(&["queues", &name], why.to_string()))?;
            let policy = form.over(&Policy::default()).map_err(|bad| {
                let why = format!("{}; {}", bad.why, bad.hint);
                let mut keys = vec!["queues", &name];
                if WEBHOOK_FIELDS.contains(&bad.field) {
                    keys.extend(["target", "webhook"]);
                }
                keys.push(bad.field);
                document.complain(&keys, why)
            })?;
            if let Some(table) = table_of(&policy.target).filter(|table| !tables.contains(table)) {
                let why = format!("there is no [{table}] in the configuration");
                return Err(document.complain(&["queues", &name, "target"], why));
            }
            // The queue of a watch is there already, with the watch's target.
            settings.queues.entry(queue).or_insert(policy);
        }
        settings.limits.auto_create_queues = settings.queues.is_empty();
        Ok(settings)
    }
}

/// How often an outbox is looked at.
const OUTBOX_PERIOD: Span = Span::from_secs(1);
/// It costs the database a query each time, and nobody waits for a row longer than this unasked.
const OUTBOX_PERIODS: std::ops::RangeInclusive<Span> = Span::from_millis(100)..=Span::from_mins(5);

impl OutboxForm {
    fn mean(self, databases: &BTreeMap<String, Database>) -> Result<Outbox, Wrong> {
        if !databases.contains_key(&self.database) {
            let why = format!("there is no [databases.{}] in the configuration", self.database);
            return Err(("database", why));
        }
        let table = self.table.unwrap_or_else(|| "duly_outbox".to_owned());
        if table.split('.').any(str::is_empty) || table.contains('\0') {
            return Err(("table", "is no name of a table".to_owned()));
        }
        let period = match self.period {
            Some(written) => written.span().map_err(|bad| ("period", bad.to_string()))?,
            None => OUTBOX_PERIOD,
        };
        if !OUTBOX_PERIODS.contains(&period) {
            let (least, most) = (OUTBOX_PERIODS.start(), OUTBOX_PERIODS.end());
            return Err(("period", format!("is {period}; it can be {least} to {most}")));
        }
        let period = Duration::from_millis(period.millis());
        Ok(Outbox { database: self.database, table, period })
    }
}

impl LinksForm {
    /// The secrets themselves are never repeated in a message.
    fn mean(self) -> Result<Links, Wrong> {
        let (key, secrets) = match (self.secrets, self.secret_file) {
            (None, None) => ("secrets", Vec::new()),
            (Some(_), Some(_)) => {
                return Err(("secret_file", "is given beside `secrets`; keep one".to_owned()));
            }
            (Some(secrets), None) if secrets.is_empty() => {
                return Err((
                    "secrets",
                    "names none; leave it out to use the directory's".to_owned(),
                ));
            }
            (Some(secrets), None) => ("secrets", secrets),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(&file).map_err(|error| {
                    ("secret_file", format!("cannot read {}: {error}", file.display()))
                })?;
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                let secrets: Vec<String> = lines.map(str::to_owned).collect();
                if secrets.is_empty() {
                    return Err(("secret_file", format!("{} is empty", file.display())));
                }
                ("secret_file", secrets)
            }
        };
        if secrets.iter().any(|secret| secret.len() < SHORTEST_SECRET) {
            let why =
                "holds a secret of fewer than 32 characters; `openssl rand -hex 32` makes one";
            return Err((key, why.to_owned()));
        }
        let public_url = self.public_url.map(|url| url.trim_end_matches('/').to_owned());
        let is_url = |url: &String| {
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            host.is_some_and(|host| !host.is_empty() && !host.contains([' ', '?', '#']))
        };
        if public_url.as_ref().is_some_and(|url| !is_url(url)) {
            let why = "is what links begin with, such as https://shop.example or https://shop.example/duly";
            return Err(("public_url", why.to_owned()));
        }
        Ok(Links { public_url, secrets })
    }
}

impl ClockForm {
    fn mean(self, settings: &mut Settings, document: &Document<'_>) -> Result<(), BadConfig> {
        match self.source {
            Some(ClockWord::Machine) => settings.clock = ClockSource::Machine,
            Some(ClockWord::Manual) => settings.clock = ClockSource::Manual,
            None => {}
        }
        let span = |key: &str, written: Option<WrittenDuration>, otherwise: Span| {
            let Some(written) = written else { return Ok(otherwise) };
            written.span().map_err(|bad| document.complain(&["clock", key], bad.to_string()))
        };
        let limits = &mut settings.limits;
        limits.max_forward_jump =
            span("max_forward_jump", self.max_forward_jump, limits.max_forward_jump)?;
        limits.max_downtime = span("max_downtime", self.max_downtime, limits.max_downtime)?;
        Ok(())
    }
}

impl JournalForm {
    fn mean(self, default: Journal, document: &Document<'_>) -> Result<Journal, BadConfig> {
        let segment_size = self.segment_size.map_or(default.segment_size, |size| size.0);
        if !SEGMENT_SIZES.contains(&segment_size) || !segment_size.is_multiple_of(4096) {
            let why = "is 1MiB to 1GiB, in steps of 4KiB";
            return Err(document.complain(&["journal", "segment_size"], why));
        }
        let reserve = self.reserve.unwrap_or(default.reserve);
        if !(LEAST_RESERVE..=MOST_RESERVE).contains(&reserve) {
            return Err(document.complain(&["journal", "reserve"], "is 5 to 1024 segments"));
        }
        let keep = self.keep.map_or(default.keep, |size| size.0);
        if keep < segment_size {
            return Err(document.complain(&["journal", "keep"], "is at least one segment"));
        }
        Ok(Journal { segment_size, reserve, keep })
    }
}

impl LogForm {
    fn mean(self, default: Log) -> Log {
        let format = match self.format {
            Some(FormatWord::Text) => LogFormat::Text,
            Some(FormatWord::Json) => LogFormat::Json,
            None => default.format,
        };
        let level = match self.level {
            Some(LevelWord::Error) => tracing::Level::ERROR,
            Some(LevelWord::Warn) => tracing::Level::WARN,
            Some(LevelWord::Info) => tracing::Level::INFO,
            Some(LevelWord::Debug) => tracing::Level::DEBUG,
            Some(LevelWord::Trace) => tracing::Level::TRACE,
            None => default.level,
        };
        Log { format, level }
    }
}

/// The key inside the table and what is wrong with it.
pub(super) type Wrong = (&'static str, String);

impl DatabaseForm {
    fn mean(self) -> Result<Database, Wrong> {
        let ca_file = self.ca_file;
        match (self.dsn, self.dsn_file) {
            (Some(dsn), None) => dsn::read(&dsn, ca_file).map_err(|why| ("dsn", why)),
            (None, Some(file)) => {
                let dsn = std::fs::read_to_string(&file).map_err(|error| {
                    ("dsn_file", format!("cannot read {}: {error}", file.display()))
                })?;
                dsn::read(dsn.trim(), ca_file).map_err(|why| ("dsn_file", why))
            }
            (None, None) => Err(("dsn", "is missing; write sqlite:///absolute/path".to_owned())),
            (Some(_), Some(_)) => Err(("dsn_file", "is given beside `dsn`; keep one".to_owned())),
        }
    }
}

impl SqlForm {
    fn mean(self, name: &str, databases: &BTreeMap<String, Database>) -> Result<SqlAction, Wrong> {
        if !databases.contains_key(&self.database) {
            let why = format!("there is no [databases.{}] in the configuration", self.database);
            return Err(("database", why));
        }
        if self.steps.is_empty() || self.steps.iter().any(|step| step.trim().is_empty()) {
            return Err(("steps", "has at least one statement, and none is empty".to_owned()));
        }
        Ok(SqlAction {
            place: format!("sql.{name}"),
            database: self.database,
            steps: self.steps,
            applied: self.applied,
        })
    }
}

/// Where to listen; `off` is nowhere. The port is the one that is usual there.
pub(super) fn address(text: &str, port: u16) -> Result<Option<SocketAddr>, String> {
    let Some(address) = any_address(text, port)? else { return Ok(None) };
    if address.ip().is_loopback() {
        return Ok(Some(address));
    }
    Err(format!(
        "{address} can be reached from other machines, and without API keys anybody could settle \
         orders; listen on 127.0.0.1"
    ))
}

/// The same where other machines may come from.
fn any_address(text: &str, port: u16) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let written = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address = written.as_deref().unwrap_or(text).parse().map_err(|_| {
        format!("{text:?} is not an address and a port; write 127.0.0.1:{port} or off")
    })?;
    Ok(Some(address))
}
