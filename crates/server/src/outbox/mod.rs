//! Outboxes: tables that an application writes in its own transaction, and that Duly empties.
//!
//! An order is placed and its deadline is wished for in one commit, whatever becomes of the network,
//! of Duly and of the process in between: the row is there or the order is not. A row is a line of
//! `POST /v1/batch` in columns. Duly reads the rows in their order, carries them out as that call
//! does, and lets them go; what was refused stays, with the answer in its last column. A crash
//! between carrying out and letting go repeats the row and not what it did (`round`).
//!
//! One task an outbox: it looks once a period, and at once again while there is more. A database that
//! does not answer is asked again, ever more seldom; nothing is lost meanwhile, for it lies there.
//! What a line means is the business of whoever carries it out ([`Perform`]), so this file knows
//! neither the engine nor a protocol.

mod round;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::round::{Bound, Fate, Garbled, Round, Row};
use self::table::{ROWS, Table};
use crate::config::{Database, Outbox};
use crate::database::{Connection, Dialect, Fault, Patience};
use crate::metrics::{OutboxFigures, Outboxes as Figures};
use crate::note::Note;

/// Carries out the lines of a batch and gives their answers, line for line; nothing when the server
/// has stopped.
pub type Perform =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Option<String>> + Send>> + Send + Sync>;

/// Waits after failures: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A table that cannot be an outbox: the setting and the database's words.
#[derive(Debug, PartialEq, Eq)]
pub struct NoOutbox {
    /// Where it is named: `outboxes.shop.table`.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for NoOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

impl std::error::Error for NoOutbox {}

/// The outboxes at work.
pub struct Outboxes(JoinSet<()>);

impl Outboxes {
    /// Checks every table, as far as its database can be reached, and begins to empty it. They end
    /// by themselves when the server stops, each after the round that it is in.
    pub async fn start(
        settings: &BTreeMap<String, Outbox>,
        databases: &BTreeMap<String, Database>,
        data: &Path,
        perform: &Perform,
        figures: &Figures,
        stopping: &watch::Receiver<bool>,
    ) -> Result<Outboxes, NoOutbox> {
        let mut all = JoinSet::new();
        for (name, outbox) in settings {
            let database = databases[&outbox.database].clone();
            let table = Table::new(&outbox.table, Dialect::of(&database));
            let mut drain = Drain {
                name: name.clone(),
                note: Note::of(data, "outboxes", name),
                connection: None,
                perform: Arc::clone(perform),
                figures: OutboxFigures::default(),
                bound: None,
                database,
                table,
            };
            drain.prepare().await?;
            let (period, figures) = (outbox.period, figures.clone());
            all.spawn(drain.run(period, figures, stopping.clone()));
        }
        Ok(Outboxes(all))
    }

    /// Waits until every round under way has ended.
    pub async fn stopped(mut self) {
        while let Some(ended) = self.0.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "an outbox did not stop in order");
            }
        }
    }
}

/// One outbox being emptied.
struct Drain {
    name: String,
    database: Database,
    table: Table,
    note: Note<Bound>,
    connection: Option<Connection>,
    perform: Perform,
    figures: OutboxFigures,
    /// What the note says, once it has been read.
    bound: Option<Bound>,
}

/// Why a round ended early. Whatever it had done, the next one finds out.
enum Broken {
    Database(Fault),
    Note(io::Error),
    Answers,
    /// The server has stopped.
    Stopped,
}

/// What a round found.
enum Found {
    /// There may be more.
    More,
    /// That was all for now.
    Nothing,
}

impl Drain {
    /// Lets the database read the statements. One that cannot be reached is no error.
    async fn prepare(&mut self) -> Result<(), NoOutbox> {
        let checked = async {
            let connection = connected(&mut self.connection, &self.database).await?;
            for statement in self.table.statements() {
                connection.describe(statement).await?;
            }
            Ok(())
        };
        match checked.await {
            Err(Fault { trouble, words }) if trouble.is_of_the_text() => {
                Err(NoOutbox { key: format!("outboxes.{}.table", self.name), why: words })
            }
            // The first round says what is wrong.
            Err(_) | Ok(()) => Ok(()),
        }
    }

    async fn run(
        mut self,
        period: Duration,
        figures: Figures,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut backoff = BACKOFF.0;
        loop {
            let wait = match self.round().await {
                Ok(found) => {
                    if self.figures.trouble.take().is_some() {
                        tracing::info!(outbox = self.name, "the outbox is being emptied again");
                    }
                    backoff = BACKOFF.0;
                    if matches!(found, Found::More) { Duration::ZERO } else { period }
                }
                Err(Broken::Stopped) => return,
                Err(broken) => {
                    self.trouble(&broken);
                    backoff = (backoff * 2).min(BACKOFF.1);
                    backoff / 2
                }
            };
            figures.set(&self.name, &self.figures);
            // A sender that is gone has stopped, too.
            let stop = stopping.wait_for(|stopping| *stopping);
            if timeout(wait, stop).await.is_ok() {
                return;
            }
        }
    }

    fn trouble(&mut self, broken: &Broken) {
        let words = match broken {
            Broken::Database(fault) => format!("the database cannot be asked: {fault}"),
            Broken::Note(error) => {
                format!("{} cannot be used: {error}", self.note.path().display())
            }
            Broken::Answers => "the answers do not fit the rows; this is a bug in Duly".to_owned(),
            Broken::Stopped => return,
        };
        if self.figures.trouble.as_ref() != Some(&words) {
            tracing::warn!(outbox = self.name, "{words}");
        }
        self.figures.trouble = Some(words);
        self.connection = None;
    }

    async fn round(&mut self) -> Result<Found, Broken> {
        let connection = connected(&mut self.connection, &self.database).await?;
        let rows = self.table.waiting(connection).await?;
        let waiting = rows.len();
        self.figures.waiting = waiting as u64;
        let mut round = Round::of(rows);
        if round.is_empty() {
            return Ok(Found::Nothing);
        }
        let answers = (self.perform)(round.questions()).await.ok_or(Broken::Stopped)?;
        let before = match &self.bound {
            Some(before) => before,
            None => self.bound.insert(self.note.read()?.unwrap_or_default()),
        };
        let bound = round.bind(&answers, before)?;
        self.keep(bound)?;
        let answers = (self.perform)(round.wishes()).await.ok_or(Broken::Stopped)?;
        let fates = round.fates(&answers)?;
        let connection = connected(&mut self.connection, &self.database).await?;
        self.table.clear(connection, &fates).await?;
        let bound = self.bound.clone().unwrap_or_default();
        self.keep(round::still_bound(bound, &fates))?;
        let gone = self.count(&fates);
        // Of a deadline with several rows, a round takes only the first.
        let is_more = waiting == ROWS || fates.len() < waiting;
        Ok(if gone > 0 && is_more { Found::More } else { Found::Nothing })
    }

    /// How many of the rows need not come again.
    fn count(&mut self, fates: &[(Row, Fate)]) -> usize {
        let number = |is: fn(&Fate) -> bool| fates.iter().filter(|(_, fate)| is(fate)).count();
        let done = number(|fate| *fate == Fate::Done);
        let refused = number(|fate| matches!(fate, Fate::Refused(_)));
        self.figures.done += done as u64;
        self.figures.refused += refused as u64;
        done + refused
    }

    /// Makes it durable, unless it says so already.
    fn keep(&mut self, bound: Bound) -> io::Result<()> {
        if self.bound.as_ref() != Some(&bound) {
            self.note.write(&bound)?;
            self.bound = Some(bound);
        }
        Ok(())
    }
}

/// A connection that can be used: the one that is there, or a new one.
async fn connected<'a>(
    held: &'a mut Option<Connection>,
    database: &Database,
) -> Result<&'a mut Connection, Fault> {
    if !held.as_ref().is_some_and(Connection::is_open) {
        *held = Some(Connection::open(database, Patience::default()).await?);
    }
    Ok(held.as_mut().expect("it was there or has just been made"))
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Broken {
        Broken::Database(fault)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Note(error)
    }
}

impl From<Garbled> for Broken {
    fn from(Garbled: Garbled) -> Broken {
        Broken::Answers
    }
}
