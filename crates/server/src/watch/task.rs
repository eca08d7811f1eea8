//! One watch at work: does what the watcher says and brings back what came of it.
//!
//! Here is everything that the watcher must not have: the connection, the way to the engine, the
//! file of the bookmark, the waiting. A database that cannot be used is told to the watcher and
//! tried again when it says; a bookmark that cannot be
//! written holds the watch up in the same way.

use std::sync::Arc;
use std::time::Duration;

use duly_engine::answer::Answer;
use duly_engine::command::Command;
use duly_engine::id::QueueName;
use duly_engine::time::{Span, Time};

use super::bookmark::Bookmark;
use super::catalogue::{Catalogue, Wrong};
use super::explain;
use super::observe;
use super::table::{self, Table};
use super::watcher::{Act, Query, Watcher};
use crate::config::{Database, Watch};
use crate::database::{Connection, Dialect, Fault, Patience};
use crate::handle::{Handle, Stopped};
use crate::metrics::{Metrics, Trouble};
use crate::note::Note;
use crate::reconciliation::Desk;

/// With a clock that is moved by hand nobody says when: it is looked at this often.
const MANUAL: Duration = Duration::from_millis(20);
/// What a watch has observed is shown anew this often.
const SHOWN_EVERY: Span = Span::from_millis(500);
/// And said in the log.
const LOGGED_EVERY: Span = Span::from_hours(1);

/// What stands between a watch and its table.
pub(super) enum Obstacle {
    /// The database cannot be used now.
    Fault(Fault),
    /// The configuration does not fit the table.
    Wrong(Wrong),
}

impl From<Fault> for Obstacle {
    fn from(fault: Fault) -> Obstacle {
        Obstacle::Fault(fault)
    }
}

/// A connection with the table that is asked over it.
pub(super) struct Way {
    pub(super) connection: Connection,
    pub(super) table: Table,
}

impl Way {
    /// Connects, and has the database read every question once.
    pub(super) async fn open(database: &Database, rules: &Watch) -> Result<Way, Obstacle> {
        let mut connection = Connection::open(database, Patience::default()).await?;
        let dialect = Dialect::of(database);
        let catalogue = Catalogue::read(&mut connection, dialect, &rules.table).await?;
        catalogue.check(rules).map_err(Obstacle::Wrong)?;
        let table = Table::new(catalogue, rules);
        let questions = table.examples();
        for (statement, _) in &questions {
            if let Err(fault) = connection.describe(statement).await {
                return Err(if fault.trouble.is_of_the_text() {
                    Obstacle::Wrong(("open", format!("cannot be asked: {fault}")))
                } else {
                    Obstacle::Fault(fault)
                });
            }
        }
        explain::check(&mut connection, table.catalogue(), rules, &questions).await?;
        Ok(Way { connection, table })
    }

    /// Asks one question.
    pub(super) async fn ask(&mut self, query: &Query) -> Result<Vec<super::row::Row>, String> {
        let Some((statement, values)) = self.table.statement(query) else {
            return Ok(Vec::new());
        };
        let answer = self.connection.query(&statement, &values).await;
        let answer = answer.map_err(|fault| fault.to_string())?;
        answer.into_iter().map(table::read).collect()
    }
}

/// One watch with its surroundings.
pub(super) struct Task {
    pub(super) handle: Handle,
    pub(super) watcher: Watcher,
    pub(super) database: Database,
    pub(super) rules: Watch,
    pub(super) note: Arc<Note<Bookmark>>,
    pub(super) metrics: Metrics,
    pub(super) way: Option<Way>,
    pub(super) desk: Desk,
}

impl Task {
    /// Works until the driver stops.
    pub(super) async fn run(mut self) {
        let name = self.watcher.queue.clone();
        let mut trouble = None;
        let mut account = Account::default();
        loop {
            self.metrics.watches().set(name.as_str(), self.watcher.figures());
            tell(name.as_str(), &mut trouble, self.watcher.figures().trouble.as_ref());
            let Ok(now) = self.now().await else { return };
            account.tell(&name, &self.watcher, &self.metrics, now);
            // First what has come of the last wish, or it would be taken for a new one.
            if let Some(reconciliation) = self.watcher.reconciled() {
                self.desk.put(reconciliation);
            }
            if let Some(wish) = self.desk.wish() {
                self.watcher.reconcile(now, wish);
            }
            match self.watcher.next(now) {
                Act::Wait(until) => self.wait(now, until).await,
                Act::Keep(bookmark) => {
                    let note = Arc::clone(&self.note);
                    let path = note.path().display().to_string();
                    let written = tokio::task::spawn_blocking(move || note.write(&bookmark)).await;
                    match written {
                        Ok(Ok(())) => self.watcher.kept(),
                        Ok(Err(error)) => {
                            let why = format!("{path} cannot be written: {error}");
                            self.watcher.failed(now, why);
                        }
                        // The runtime is going down.
                        Err(_) => return,
                    }
                }
                Act::Tell(commands) => {
                    let Ok(answers) = self.handle.ask_all(commands).await else { return };
                    let Ok(now) = self.now().await else { return };
                    self.watcher.told(now, answers);
                }
                Act::Query(query) => {
                    let answer = self.ask(&query).await;
                    let Ok(now) = self.now().await else { return };
                    match answer {
                        Ok(rows) => self.watcher.rows(now, &rows),
                        Err(why) => self.watcher.failed(now, why),
                    }
                }
            }
        }
    }

    /// What time it is for the engine: the same clock decides when a deadline is due.
    async fn now(&self) -> Result<Time, Stopped> {
        match self.handle.ask(Command::GetClock).await? {
            Answer::Clock(clock) => Ok(clock.now),
            other => unreachable!("a question for the clock was answered with {other:?}"),
        }
    }

    async fn wait(&self, now: Time, until: Time) {
        let span = Duration::from_millis(until.since(now).millis());
        let span = if self.handle.clock_is_manual() { span.min(MANUAL) } else { span };
        tokio::select! {
            () = tokio::time::sleep(span) => {}
            () = self.desk.wished() => {}
        }
    }

    async fn ask(&mut self, query: &Query) -> Result<Vec<super::row::Row>, String> {
        if self.way.as_ref().is_none_or(|way| !way.connection.is_open()) {
            self.way = None;
            let way =
                Way::open(&self.database, &self.rules).await.map_err(
                    |obstacle| match obstacle {
                        Obstacle::Fault(fault) => fault.to_string(),
                        Obstacle::Wrong((key, why)) => {
                            format!("watches.{}.{key}: {why}", self.watcher.queue)
                        }
                    },
                )?;
            self.watcher.read_in(way.table.zones(&self.rules));
            self.way = Some(way);
        }
        let way = self.way.as_mut().expect("it was just opened");
        let answer = way.ask(query).await;
        if answer.is_err() {
            // Whatever ails it is not carried on.
            self.way = None;
        }
        answer
    }
}

/// When the account of a watch that only observes was last told.
#[derive(Debug, Default)]
struct Account {
    shown: Time,
    looks: u64,
    logged: Option<Time>,
}

impl Account {
    /// Shows it to whoever asks, and says it in the log once an hour.
    fn tell(&mut self, name: &QueueName, watcher: &Watcher, metrics: &Metrics, now: Time) {
        // A clock that is moved by hand may stand still while much is seen.
        if now.since(self.shown) < SHOWN_EVERY && watcher.looks() == self.looks {
            return;
        }
        let Some(observed) = watcher.observed(now) else { return };
        (self.shown, self.looks) = (now, watcher.looks());
        let logged = *self.logged.get_or_insert(now);
        if now.since(logged) >= LOGGED_EVERY {
            self.logged = Some(now);
            observe::say(name.as_str(), &observed);
        }
        metrics.watches().report(name.as_str(), observed);
    }
}

/// Says it in the log when something begins or ends to keep the watch from its work.
fn tell(watch: &str, before: &mut Option<&'static str>, now: Option<&Trouble>) {
    let code = now.map(Trouble::code);
    if code == *before {
        return;
    }
    *before = code;
    let Some(trouble) = now else {
        tracing::info!(watch, "a watch goes on");
        return;
    };
    let why = trouble.sentence();
    tracing::warn!(watch, code = trouble.code(), why, "a watch is held up");
}
