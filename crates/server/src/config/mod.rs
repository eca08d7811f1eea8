//! What the operator wants, as the rest of the program understands it.
//!
//! Two stages: `document` and `typed` hold what was typed (file, environment, flags); [`Settings`]
//! is what is meant, whole and consistent. The commented file `default.toml` is the reference: it
//! holds every key, and a test keeps it equal to [`Settings::default`]. A mistake is one message
//! that names where it was typed. This is also the only place that reads the environment.

mod document;
mod dsn;
mod environment;
mod exec;
mod publish;
mod redis;
mod size;
#[cfg(test)]
mod tests;
mod typed;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use duly_engine::id::QueueName;
use duly_engine::limits::Limits;
use duly_engine::queue::{Policy, Target};

pub use environment::Environment;
pub use exec::{ExecAction, ExecLimits};
pub use publish::{
    AmqpDestination, PublishAction, PublishDestination, RedisDestination, RedisEntry,
};
pub use redis::Redis;
pub use watches::{Watch, WatchDue, WatchReport, WatchStart};

use document::{Document, Override};
use typed::Typed;

/// The commented default file.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

/// Everything that may be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data directory.
    pub data: PathBuf,
    /// Where the HTTP API listens; always an address of this machine; none for nowhere.
    pub http: Option<SocketAddr>,
    /// Where watch links alone are served, also to other machines; none for nowhere.
    pub public: Option<SocketAddr>,
    /// Streams that one address may hold open there.
    pub public_streams: usize,
    /// How the Redis protocol is spoken.
    pub redis: Redis,
    /// How watch links are signed and written.
    pub links: Links,
    /// So much of what has happened lately is kept in memory for those who listen, in bytes.
    pub events_keep: u64,
    /// Which clock decides.
    pub clock: ClockSource,
    /// What the engine is told about the operator's wishes.
    pub limits: Limits,
    /// How the journal lies on the disk.
    pub journal: Journal,
    /// What is logged, and how.
    pub log: Log,
    /// Whether webhooks may call private networks. Loopback is another matter: it is allowed while
    /// Duly listens on loopback only.
    pub webhook_allow_private: bool,
    /// Databases by name.
    pub databases: BTreeMap<String, Database>,
    /// Named `sql` actions.
    pub sql: BTreeMap<String, SqlAction>,
    /// Tables that applications write and Duly empties, by name.
    pub outboxes: BTreeMap<String, Outbox>,
    /// Named commands of `exec` targets.
    pub exec: BTreeMap<String, ExecAction>,
    /// Places in brokers for `publish` targets, by name.
    pub publish: BTreeMap<String, PublishAction>,
    /// Queues declared in the configuration, those of the watches among them.
    pub queues: BTreeMap<QueueName, Policy>,
    /// Tables that are watched, by the name of the queue that their rows are in.
    pub watches: BTreeMap<QueueName, Watch>,
}

/// How watch links are signed and written.
#[derive(Clone, Default)]
pub struct Links {
    /// What every link begins with, without a slash at its end; a path alone if there is none.
    pub public_url: Option<String>,
    /// Secrets that links are signed with: the first signs, all are accepted. None: the data
    /// directory's own.
    pub secrets: Vec<String>,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets = self.secrets.len();
        f.debug_struct("Links")
            .field("public_url", &self.public_url)
            .field("secrets", &secrets)
            .finish()
    }
}

/// Which clock decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// The machine's.
    Machine,
    /// One that is moved over the API.
    Manual,
}

/// How the journal lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The length of one segment, in bytes.
    pub segment_size: u64,
    /// Empty segments kept ready.
    pub reserve: usize,
    /// The journal may grow to this, or to three times what is live, before it is cleaned, in bytes.
    pub keep: u64,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// The least notable thing that is logged.
    pub level: tracing::Level,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A database of the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// An `SQLite` file, by its absolute path.
    Sqlite(PathBuf),
    /// A `MySQL` or `MariaDB` server.
    Mysql(Reach),
    /// A `PostgreSQL` server.
    Postgres(Reach),
}

/// How a database server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Where it listens.
    pub place: Place,
    /// Who asks.
    pub user: String,
    /// How that is proven.
    pub password: Secret,
    /// The database on that server.
    pub name: String,
    /// Whether the way there is encrypted.
    pub tls: Tls,
    /// Authorities trusted besides those of the web, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// TCP.
    Address {
        /// A name or an address; certificates are verified against it.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket (`MySQL`), or the folder it lies in (`PostgreSQL`), by its absolute path.
    Socket(PathBuf),
}

/// Whether the way to a server is encrypted. Where it is, certificate and name are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Off,
    /// If the server can.
    Preferred,
    /// Or not at all.
    Required,
}

/// A word that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    pub fn new(word: String) -> Secret {
        Secret(word)
    }

    /// The word itself, for the one who asks for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(kept secret)")
    }
}

/// What a lapse does in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlAction {
    /// Where it stands in the configuration: `sql.cancel-order`.
    pub place: String,
    /// The name of the database, which is one of [`Settings::databases`].
    pub database: String,
    /// Statements of one transaction, at least one; the first is the guard.
    pub steps: Vec<String>,
    /// Whether an earlier attempt was committed.
    pub applied: Option<String>,
}

/// A table that an application writes in its own transaction, and that Duly empties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbox {
    /// The name of the database, which is one of [`Settings::databases`].
    pub database: String,
    /// The table, perhaps with its schema: `shop.duly_outbox`.
    pub table: String,
    /// How often it is looked at.
    pub period: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            data: PathBuf::from("./duly-data"),
            http: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7830))),
            public: None,
            public_streams: 64,
            redis: Redis::default(),
            links: Links::default(),
            events_keep: 32 << 20,
            clock: ClockSource::Machine,
            limits: Limits::default(),
            journal: Journal { segment_size: 64 << 20, reserve: 6, keep: 1 << 30 },
            log: Log { format: LogFormat::Text, level: tracing::Level::INFO },
            webhook_allow_private: false,
            databases: BTreeMap::new(),
            sql: BTreeMap::new(),
            outboxes: BTreeMap::new(),
            exec: BTreeMap::new(),
            publish: BTreeMap::new(),
            queues: BTreeMap::new(),
            watches: BTreeMap::new(),
        }
    }
}

/// A mistake in the configuration, as one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadConfig {
    /// File and line, or the variable or flag.
    place: String,
    /// The dotted key; empty where the file cannot be read at all.
    key: String,
    /// What is wrong with it.
    why: String,
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.why)
    }
}

impl std::error::Error for BadConfig {}

/// A setting said by a flag.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag, as it is typed: `--data`.
    pub name: &'static str,
    /// The dotted key it stands for.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

/// The keys that the environment may set, and whether a number or a truth value may stand there.
const SCALARS: [(&str, bool); 23] = [
    ("data", false),
    ("http.listen", false),
    ("http.public", false),
    ("http.public_streams", true),
    ("redis.listen", false),
    ("redis.unix", false),
    ("redis.unix_mode", false),
    ("redis.connections", true),
    ("redis.idle", false),
    ("redis.strip_prefix", false),
    ("redis.score", false),
    ("links.public_url", false),
    ("links.secret_file", false),
    ("events.keep", true),
    ("clock.source", false),
    ("clock.max_forward_jump", true),
    ("clock.max_downtime", true),
    ("journal.segment_size", true),
    ("journal.reserve", true),
    ("journal.keep", true),
    ("log.format", false),
    ("log.level", false),
    ("webhook.allow_private", true),
];

/// Variables that are ours but stand for no key.
const OTHER_VARIABLES: [&str; 2] = ["DULY_CONFIG", "DULY_URL"];

/// The variable that stands for a key.
fn variable_of(key: &str) -> String {
    format!("DULY_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The table of the configuration that a target leads to, such as `sql.cancel-order`; none where the
/// target says everything itself.
pub fn table_of(target: &Target) -> Option<String> {
    match target {
        Target::Pull | Target::None | Target::Webhook(_) => None,
        Target::Sql { name, .. } => Some(format!("sql.{name}")),
        Target::Exec { command } => Some(format!("exec.{command}")),
        Target::Publish { to, .. } => Some(format!("publish.{to}")),
    }
}

impl Settings {
    /// The tables that targets may lead to.
    pub fn tables(&self) -> BTreeSet<String> {
        let sql = self.sql.keys().map(|name| format!("sql.{name}"));
        let exec = self.exec.keys().map(|name| format!("exec.{name}"));
        let publish = self.publish.keys().map(|name| format!("publish.{name}"));
        sql.chain(exec).chain(publish).collect()
    }

    /// Puts together the file (`--config`, else `DULY_CONFIG`, else none), the environment and the flags.
    pub fn load(
        file: Option<&Path>,
        environment: &Environment,
        flags: &[Flag],
    ) -> Result<Settings, BadConfig> {
        let file = file.or_else(|| environment.get("DULY_CONFIG").map(Path::new));
        let Some(path) = file else {
            return Settings::parse("configuration", "", environment, flags);
        };
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Settings::parse(&name, &text, environment, flags),
            Err(error) => Err(BadConfig {
                place: name,
                key: String::new(),
                why: format!("cannot read the configuration file: {error}"),
            }),
        }
    }

    /// The same for a file that has been read; `name` is what messages call it.
    pub fn parse(
        name: &str,
        text: &str,
        environment: &Environment,
        flags: &[Flag],
    ) -> Result<Settings, BadConfig> {
        let mut overrides: Vec<Override> = Vec::new();
        for (key, is_literal) in SCALARS {
            let variable = variable_of(key);
            if let Some(value) = environment.get(&variable) {
                let value = value.to_owned();
                overrides.push(Override { said_by: variable, key, value, is_literal });
            }
        }
        overrides.extend(flags.iter().map(|flag| Override {
            said_by: flag.name.to_owned(),
            key: flag.key,
            value: flag.value.clone(),
            is_literal: false,
        }));
        let variable = |name: &str| environment.get(name).map(str::to_owned);
        let document = Document::parse(name, text, &overrides, &variable)?;
        document.read::<Typed>()?.mean(&document)
    }
}

/// Variables that look like settings but are none, for a warning: a misspelt one must not pass in silence.
pub fn unknown_variables(environment: &Environment) -> Vec<String> {
    let known: Vec<String> = SCALARS.iter().map(|(key, _)| variable_of(key)).collect();
    environment
        .ours()
        .filter(|name| !OTHER_VARIABLES.contains(name) && !known.iter().any(|key| key == name))
        .map(str::to_owned)
        .collect()
}
