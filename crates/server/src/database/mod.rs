//! A connection to somebody's database.
//!
//! Three kinds, one file each, behind one way of asking: describe a statement, begin, execute,
//! query, commit. Values are always bound. Every wait has an end: what is not answered by then is
//! given up together with its connection, for nobody knows in which state that one is. Faults are
//! sorted into a few kinds ([`Trouble`]); nothing here asks a second time, and nothing here knows
//! what is asked or why.

mod dialect;
mod fault;
mod mysql;
mod postgres;
mod sqlite;
mod tls;
mod value;

use std::time::{Duration, Instant};

use tokio::time::timeout;

pub use self::dialect::Dialect;
pub use self::fault::{Fault, Trouble};
pub use self::value::Value;
use crate::clock;
use crate::config::Database;

/// How long a database may keep somebody waiting, so that the next one has a turn.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until there is a connection.
    pub connect: Duration,
    /// For what others hold locked.
    pub lock: Duration,
    /// For the statements of one transaction together, or for one statement outside of any.
    pub run: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: Duration::from_secs(5),
            lock: Duration::from_secs(5),
            run: Duration::from_secs(10),
        }
    }
}

/// What the database itself gets beyond its time, so that its own words come before ours.
const GRACE: Duration = Duration::from_secs(2);
/// Statements kept prepared in one connection.
const PREPARED: usize = 128;

/// A row of an answer: text, or none for NULL.
pub type Row = Vec<Option<String>>;

/// What a statement takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// How many values it takes.
    pub parameters: usize,
    /// The names of the columns it gives; none when it gives no rows.
    pub columns: Vec<String>,
}

/// Whether somebody wants to see the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Number,
    Rows,
}

/// What came of a statement.
#[derive(Debug, Default)]
struct Outcome {
    /// The rows it gave or, if it gives none, those it changed or found to be so already.
    number: u64,
    rows: Vec<Row>,
}

/// A connection.
pub struct Connection {
    session: Session,
    patience: Patience,
    /// When the transaction under way has to be over.
    until: Option<Instant>,
    is_open: bool,
    /// Whose name is in nobody's words.
    user: String,
}

enum Session {
    Sqlite(sqlite::Session),
    Mysql(Box<mysql::Session>),
    Postgres(Box<postgres::Session>),
}

impl Connection {
    /// Connects.
    pub async fn open(database: &Database, patience: Patience) -> Result<Connection, Fault> {
        let connecting = async {
            Ok::<Session, Fault>(match database {
                Database::Sqlite(path) => {
                    Session::Sqlite(sqlite::Session::open(path.clone(), patience).await?)
                }
                Database::Mysql(reach) => {
                    Session::Mysql(Box::new(mysql::Session::open(reach, patience).await?))
                }
                Database::Postgres(reach) => {
                    Session::Postgres(Box::new(postgres::Session::open(reach, patience).await?))
                }
            })
        };
        let user = match database {
            Database::Sqlite(_) => String::new(),
            Database::Mysql(reach) | Database::Postgres(reach) => reach.user.clone(),
        };
        match timeout(patience.connect, connecting).await {
            Ok(Ok(session)) => {
                Ok(Connection { session, patience, until: None, is_open: true, user })
            }
            Ok(Err(fault)) => Err(fault.without(&user)),
            Err(_) => Err(Fault::gone("no connection in time")),
        }
    }

    /// Can it be used any more? One that cannot is to be dropped.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// What a statement takes and gives. The database reads it and runs nothing.
    pub async fn describe(&mut self, statement: &str) -> Result<Described, Fault> {
        let limit = self.limit()?;
        let asked = async {
            match &mut self.session {
                Session::Sqlite(session) => session.describe(statement).await,
                Session::Mysql(session) => session.describe(statement).await,
                Session::Postgres(session) => session.describe(statement).await,
            }
        };
        let answer = timeout(limit, asked).await;
        self.heard(answer)
    }

    /// Begins a transaction, in which one may write. A connection that was kept may turn out to be
    /// [`Trouble::Gone`] here: then nothing has been done, and a new one may be tried at once.
    pub async fn begin(&mut self) -> Result<(), Fault> {
        self.until = Some(clock::stopwatch() + self.patience.run);
        let limit = self.limit()?;
        let asked = async {
            match &mut self.session {
                Session::Sqlite(session) => session.begin().await,
                Session::Mysql(session) => session.begin().await,
                Session::Postgres(session) => session.begin().await,
            }
        };
        let answer = timeout(limit, asked).await;
        self.heard(answer)
    }

    /// Runs a statement: how many rows it gave or, if it gives none, how many it met to change.
    pub async fn execute(&mut self, statement: &str, values: &[Value]) -> Result<u64, Fault> {
        Ok(self.run(statement, values, Want::Number).await?.number)
    }

    /// Runs a statement: the rows it gave, all of them, so let it be a bounded question. Columns that
    /// are neither text nor plain numbers are to be asked for as text ([`Dialect::as_text`]).
    pub async fn query(&mut self, statement: &str, values: &[Value]) -> Result<Vec<Row>, Fault> {
        Ok(self.run(statement, values, Want::Rows).await?.rows)
    }

    /// Makes the transaction last. [`Trouble::Gone`] and [`Trouble::Late`] leave open whether it does.
    pub async fn commit(&mut self) -> Result<(), Fault> {
        self.end(true).await
    }

    /// Undoes the transaction.
    pub async fn rollback(&mut self) -> Result<(), Fault> {
        self.end(false).await
    }

    async fn end(&mut self, commit: bool) -> Result<(), Fault> {
        let limit = self.limit()?;
        let asked = async {
            match &mut self.session {
                Session::Sqlite(session) => session.end(commit).await,
                Session::Mysql(session) => session.end(commit).await,
                Session::Postgres(session) => session.end(commit).await,
            }
        };
        let answer = timeout(limit, asked).await;
        self.until = None;
        self.heard(answer)
    }

    async fn run(
        &mut self,
        statement: &str,
        values: &[Value],
        want: Want,
    ) -> Result<Outcome, Fault> {
        let limit = self.limit()?;
        let asked = async {
            match &mut self.session {
                Session::Sqlite(session) => session.run(statement, values, want).await,
                Session::Mysql(session) => session.run(statement, values, want).await,
                Session::Postgres(session) => session.run(statement, values, want).await,
            }
        };
        let answer = timeout(limit, asked).await;
        self.heard(answer)
    }

    /// How long the next answer may take.
    fn limit(&self) -> Result<Duration, Fault> {
        if !self.is_open {
            return Err(Fault::gone("the connection was given up"));
        }
        Ok(match self.until {
            Some(until) => until.saturating_duration_since(clock::stopwatch()) + GRACE,
            None => self.patience.run + GRACE,
        })
    }

    /// An answer that did not come, or that says so, ends the connection.
    fn heard<T>(
        &mut self,
        answer: Result<Result<T, Fault>, tokio::time::error::Elapsed>,
    ) -> Result<T, Fault> {
        let answer = answer.unwrap_or_else(|_| {
            self.is_open = false;
            Err(Fault::late())
        });
        if answer.as_ref().is_err_and(|fault| fault.trouble == Trouble::Gone) {
            self.is_open = false;
        }
        answer.map_err(|fault| fault.without(&self.user))
    }
}
