//! The rules of the architecture as data: who may import whom, who may depend on what, which words
//! are not ours. To change the architecture, change this file and ARCHITECTURE.md together.
//!
//! It holds no logic. A module or crate that is missing here is refused, so that a new one says
//! where it stands before it exists.

/// The longest a source may be.
pub(super) const MOST_LINES: usize = 700;

/// Names that say nothing about what is inside.
pub(super) const DRAWERS: [&str; 8] =
    ["core", "common", "types", "utils", "util", "helpers", "misc", "models"];

/// Words of other systems; they are spoken only where those systems' protocols are.
pub(super) const FOREIGN_WORDS: [&str; 8] =
    ["tube", "tubes", "ttr", "bury", "buried", "job", "jobs", "kick"];

/// The one place where foreign words are at home.
pub(super) const FOREIGN_HOME: &str = "crates/wire/";

/// Marks of unfinished work, in two halves so that this file does not carry them.
pub(super) const LEFTOVERS: [&str; 3] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// Modules that everybody above may use; among themselves they keep to the table.
pub(super) const GROUND: [&str; 7] =
    ["clock", "config", "json", "log", "metrics", "policy", "units"];

/// For each module at the root of the server: what it may import besides itself and the ground.
///
/// `main → cli → run → {listen, deliver, watch, dashboard} → handle → driver`; only `run` opens the
/// driver, everybody else asks through `Handle`. The command line starts the server or the demonstration
/// and otherwise speaks HTTP through `client`, as the demonstration shop does. A connection to
/// somebody's database (`database`) knows none of those who ask it.
pub(super) const SERVER: [(&str, &[&str]); 23] = [
    ("main", &["cli"]),
    ("cli", &["run", "demo", "client"]),
    (
        "run",
        &[
            "listen",
            "deliver",
            "watch",
            "outbox",
            "dashboard",
            "handle",
            "driver",
            "reconciliation",
        ],
    ),
    ("listen", &["handle", "reconciliation"]),
    ("deliver", &["handle", "database"]),
    ("watch", &["handle", "database", "note", "reconciliation"]),
    ("outbox", &["database", "note"]),
    ("note", &[]),
    ("reconciliation", &[]),
    ("database", &[]),
    ("demo", &["client"]),
    ("client", &[]),
    ("dashboard", &[]),
    ("handle", &["driver"]),
    ("driver", &[]),
    ("sys", &[]),
    ("clock", &["sys"]),
    ("config", &["policy", "units"]),
    ("log", &["config"]),
    ("metrics", &[]),
    ("json", &[]),
    ("policy", &["units"]),
    ("units", &[]),
];

/// Folders whose members are alternatives: they share their folder's `mod.rs`, never each other.
pub(super) const ALTERNATIVES: [(&str, &[&str]); 3] = [
    ("listen", &["http", "redis"]),
    ("deliver", &["webhook", "sql", "exec", "publish", "pull"]),
    ("database", &["sqlite", "mysql", "postgres"]),
];

/// What only one module of the server may name, as the end of a path: (path, its home, why).
pub(super) const PRIVILEGES: [(&[&str], &str, &str); 7] = [
    (&["duly_engine", "Engine"], "driver", "one thread owns the engine; ask it through `Handle`"),
    (&["SystemTime", "now"], "clock", "time is read in `clock` and passed on"),
    (&["Instant", "now"], "clock", "time is read in `clock` and passed on"),
    (&["Timestamp", "now"], "clock", "time is read in `clock` and passed on"),
    (&["Zoned", "now"], "clock", "time is read in `clock` and passed on"),
    (&["std", "env"], "config", "the environment is read in `config` and passed on"),
    (&["env", "var"], "config", "the environment is read in `config` and passed on"),
];

/// Uses of a privileged path that read nothing: a temporary folder is not a setting.
pub(super) const HARMLESS: [&[&str]; 2] =
    [&["std", "env", "temp_dir"], &["std", "env", "current_exe"]];

/// For each crate: which of our own it may depend on, and which libraries it may not.
pub(super) const CRATES: [(&str, &[&str], Libraries); 6] = [
    ("duly-engine", &[], Libraries::None),
    ("duly-wire", &["duly-engine"], Libraries::AllBut(&NETWORK)),
    ("duly-store", &["duly-engine"], Libraries::AllBut(&NETWORK)),
    ("duly", &["duly-engine", "duly-store", "duly-wire"], Libraries::All),
    ("duly-costs", &["duly-engine", "duly-store", "duly-wire", "duly"], Libraries::All),
    ("duly-sim", &["duly-engine", "duly-store", "duly-wire", "duly"], Libraries::All),
];

/// Libraries that open sockets or bring a runtime.
const NETWORK: [&str; 10] = [
    "async-std",
    "axum",
    "hyper",
    "hyper-util",
    "mio",
    "reqwest",
    "smol",
    "socket2",
    "tokio",
    "ureq",
];

/// Which libraries from the registry a crate may use.
pub(super) enum Libraries {
    /// None at all.
    None,
    /// Any except these.
    AllBut(&'static [&'static str]),
    /// Any that the licence check lets in.
    All,
}
