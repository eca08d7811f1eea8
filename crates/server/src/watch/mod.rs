//! Table watches: the rows of somebody's table as deadlines, not one line of that somebody's code
//! changed.
//!
//! A shop has a table of orders. A row is *open* while a condition holds (`status = 'unpaid'`), was
//! created at some time and is due some time later. A watch reads new open rows and makes each of
//! them an ordinary deadline in the queue of its own name (it *arms* them). From then on everything
//! is as it is for deadlines that came over HTTP: they can be seen, extended and settled, they lapse
//! to the millisecond, and the queue's target acts: a guarded `UPDATE` in the same table, or a
//! webhook into the shop's own code.
//!
//! What makes that sound:
//!
//! - **The guard decides.** Between the last reading of a row and the action there is always a
//!   moment in which somebody may pay. The watch decides when to ask, never whether to cancel.
//! - **The deadline remembers.** Each carries a mark of its row: when it was created and when it is
//!   due. So nothing has to be remembered twice; a restart, a lost bookmark or a second reading of
//!   the same row cost time and change nothing, because arming a row again finds its deadline.
//! - **Late commits are looked for.** A transaction may commit a row that says it was created
//!   earlier than the last one seen. Every look goes back over an overlap, and a reconciliation
//!   finds what came later still.
//! - **The table's clock is not trusted.** Text without a zone, read in the wrong one, would make
//!   every order hours early. Nothing is armed until some row was seen at the time it says it was
//!   created, and rows that cannot be end that trust.
//! - **Too much is a sign.** More than `max_per_minute` is not done but told.
//!
//! Inside, a stepped `watcher` is told the time and what came back, and says what is next; it has no
//! connection and no clock, and its stories are tested without either. `look`, `recheck` and `sweep`
//! are its three duties, `compare` is the one judgement that they share, `stamp` reads times, `row`
//! is what passes between them. Around it `task` does what it says, over the one connection that
//! each watch has; `catalogue` and `table` know the database's words; `bookmark` is the little that
//! must outlive the process.
//!
//! It never meets a listener or a deliverer, it writes to no table, and it knows no column that the
//! operator has not named.

mod bookmark;
mod catalogue;
mod compare;
mod draft;
mod explain;
mod look;
mod observe;
mod pace;
mod preview;
mod recheck;
mod row;
mod stamp;
mod sweep;
mod table;
mod task;
#[cfg(test)]
mod tests;
mod trail;
mod watcher;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use duly_engine::id::QueueName;
use duly_engine::time::Time;
use tokio::task::JoinSet;

pub use self::preview::Preview;
use self::task::{Obstacle, Task, Way};
use self::watcher::Watcher;
use crate::config::{Database, Watch};
use crate::handle::Handle;
use crate::metrics::Metrics;
use crate::reconciliation::Desks;

/// A watch that cannot be started as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadWatch {
    /// Its place in the configuration: `watches.shop-orders.key`.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for BadWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

impl std::error::Error for BadWatch {}

/// What every watch would do, or why it could not; nothing is changed.
pub async fn preview(
    databases: &BTreeMap<String, Database>,
    watches: &BTreeMap<QueueName, Watch>,
    data: &Path,
    now: Time,
) -> Vec<(QueueName, Result<Preview, String>)> {
    let mut previews = Vec::new();
    for (name, rules) in watches {
        let found = match databases.get(&rules.database) {
            Some(database) => preview::preview(name, rules, database, data, now).await,
            None => Err(format!("there is no [databases.{}]", rules.database)),
        };
        previews.push((name.clone(), found));
    }
    previews
}

/// A configuration that watches this table, written after a look at it.
pub async fn draft(database: &Database, dsn: &str, table: &str) -> Result<String, String> {
    draft::draft(database, dsn, table).await
}

/// The watches at work. Dropping it ends them at once, which loses nothing.
pub struct Watches {
    tasks: JoinSet<()>,
    metrics: Metrics,
}

impl Watches {
    /// Looks at every table and begins to watch it. A database that cannot be reached yet is no
    /// error; one that says that a watch does not fit its table is.
    pub async fn start(
        handle: &Handle,
        data: &Path,
        databases: &BTreeMap<String, Database>,
        watches: &BTreeMap<QueueName, Watch>,
        metrics: &Metrics,
        desks: &Desks,
    ) -> anyhow::Result<Watches> {
        let mut tasks = JoinSet::new();
        for (name, rules) in watches {
            let database = databases.get(&rules.database).ok_or_else(|| BadWatch {
                key: format!("watches.{name}.database"),
                why: format!("there is no [databases.{}]", rules.database),
            })?;
            let way = match Way::open(database, rules).await {
                Ok(way) => Some(way),
                Err(Obstacle::Wrong((key, why))) => {
                    return Err(BadWatch { key: format!("watches.{name}.{key}"), why }.into());
                }
                Err(Obstacle::Fault(fault)) => {
                    tracing::warn!(
                        watch = name.as_str(),
                        error = %fault,
                        "the database of a watch cannot be used yet; it is tried again until it can"
                    );
                    None
                }
            };
            let note = bookmark::note_of(data, name);
            let bookmark = bookmark::read(&note, rules).map_err(|error| {
                anyhow::Error::from(error).context(format!("cannot read {}", note.path().display()))
            })?;
            let mut stepped = Watcher::new(name.clone(), rules.clone(), bookmark);
            if let Some(way) = &way {
                stepped.read_in(way.table.zones(rules));
            }
            let task = Task {
                handle: handle.clone(),
                watcher: stepped,
                database: database.clone(),
                rules: rules.clone(),
                note: Arc::new(note),
                metrics: metrics.clone(),
                desk: desks.desk(name).expect("every watch has a desk").clone(),
                way,
            };
            tasks.spawn(task.run());
        }
        Ok(Watches { tasks, metrics: metrics.clone() })
    }

    /// Ends them all; what they were about to do they do after the next start.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        for (name, observed) in self.metrics.watches().observed() {
            observe::say(&name, &observed);
        }
    }
}
