//! `SQLite`: one thread a connection, which ends and undoes what is open when nobody asks any more.
//!
//! The write lock is taken when a transaction begins, so a payment that commits at the same moment
//! comes wholly before or wholly after. The file is never created: a path that leads nowhere is a
//! fault, not an empty database in which every order would look paid.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, params_from_iter};
use tokio::sync::{mpsc, oneshot};

use super::{Described, Fault, Outcome, PREPARED, Patience, Row, Trouble, Value, Want};
use crate::clock;

/// Steps of `SQLite`'s machine between two looks at the time.
const LOOK_EVERY: i32 = 10_000;

/// What the thread is asked, with the way back.
enum Ask {
    Describe(String, oneshot::Sender<Result<Described, Fault>>),
    Begin(oneshot::Sender<Result<(), Fault>>),
    Run(String, Vec<Value>, Want, oneshot::Sender<Result<Outcome, Fault>>),
    End(bool, oneshot::Sender<Result<(), Fault>>),
}

/// The way to the thread.
pub(super) struct Session {
    asks: mpsc::Sender<Ask>,
}

impl Session {
    pub(super) async fn open(path: PathBuf, patience: Patience) -> Result<Session, Fault> {
        // One asks at a time and waits for the answer.
        let (asks, asked) = mpsc::channel(1);
        let (ready, opened) = oneshot::channel();
        let thread = thread::Builder::new().name("sqlite".to_owned());
        thread
            .spawn(move || match Open::new(path, patience) {
                Ok(open) => {
                    if ready.send(Ok(())).is_ok() {
                        open.serve(asked);
                    }
                }
                // Nobody may be waiting any more.
                Err(fault) => ready.send(Err(fault)).unwrap_or_default(),
            })
            .map_err(|error| Fault::new(Trouble::Unavailable, error.to_string()))?;
        opened.await.unwrap_or_else(|_| Err(stopped()))?;
        Ok(Session { asks })
    }

    pub(super) async fn describe(&self, statement: &str) -> Result<Described, Fault> {
        self.ask(|reply| Ask::Describe(statement.to_owned(), reply)).await
    }

    pub(super) async fn begin(&self) -> Result<(), Fault> {
        self.ask(Ask::Begin).await
    }

    pub(super) async fn run(
        &self,
        statement: &str,
        values: &[Value],
        want: Want,
    ) -> Result<Outcome, Fault> {
        self.ask(|reply| Ask::Run(statement.to_owned(), values.to_vec(), want, reply)).await
    }

    pub(super) async fn end(&self, commit: bool) -> Result<(), Fault> {
        self.ask(|reply| Ask::End(commit, reply)).await
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, Fault>>) -> Ask,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

fn stopped() -> Fault {
    Fault::gone("its worker has stopped")
}

/// The thread's own.
struct Open {
    connection: Connection,
    path: PathBuf,
    /// Device and number of the file: a path may come to lead to another one.
    file: (u64, u64),
    /// When the present transaction began, or the present statement outside of any.
    began: Arc<Mutex<Instant>>,
}

impl Open {
    fn new(path: PathBuf, patience: Patience) -> Result<Open, Fault> {
        let file = file(&path)?;
        let connect = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(patience.lock)?;
            connection.set_prepared_statement_cache_capacity(PREPARED);
            // `done` is told only of what is on the disk, and rows keep their relations.
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            let began = Arc::new(Mutex::new(clock::stopwatch()));
            let limit = Arc::clone(&began);
            let late = move || limit.lock().is_ok_and(|began| began.elapsed() > patience.run);
            connection.progress_handler(LOOK_EVERY, Some(late))?;
            Ok((connection, began))
        };
        let (connection, began) = connect().map_err(|error| fault(&error))?;
        Ok(Open { connection, path, file, began })
    }

    /// Answers until nobody can ask any more, or nobody waits for an answer: whoever asked has given
    /// up, and what was begun is undone with the connection.
    fn serve(self, mut asked: mpsc::Receiver<Ask>) {
        while let Some(ask) = asked.blocking_recv() {
            let is_heard = match ask {
                Ask::Describe(statement, reply) => reply.send(self.describe(&statement)).is_ok(),
                Ask::Begin(reply) => reply.send(self.begin()).is_ok(),
                Ask::Run(statement, values, want, reply) => {
                    reply.send(self.run(&statement, &values, want)).is_ok()
                }
                Ask::End(commit, reply) => reply.send(self.end(commit)).is_ok(),
            };
            if !is_heard {
                return;
            }
        }
    }

    fn describe(&self, statement: &str) -> Result<Described, Fault> {
        let prepared = self.connection.prepare_cached(statement);
        let prepared = prepared.map_err(|error| unprepared(&error))?;
        Ok(Described {
            parameters: prepared.parameter_count(),
            columns: prepared.column_names().map(str::to_owned).collect(),
        })
    }

    fn begin(&self) -> Result<(), Fault> {
        if file(&self.path)? != self.file {
            return Err(Fault::gone("its file was replaced"));
        }
        self.watch();
        self.execute("BEGIN IMMEDIATE")
    }

    fn end(&self, commit: bool) -> Result<(), Fault> {
        // Some faults undo the whole transaction by themselves.
        if !commit && self.connection.is_autocommit() {
            return Ok(());
        }
        self.execute(if commit { "COMMIT" } else { "ROLLBACK" })
    }

    fn execute(&self, statement: &str) -> Result<(), Fault> {
        self.connection.execute_batch(statement).map_err(|error| fault(&error))
    }

    /// The time that may be taken begins now.
    fn watch(&self) {
        *self.began.lock().expect("a look at the time does not panic") = clock::stopwatch();
    }

    fn run(&self, statement: &str, values: &[Value], want: Want) -> Result<Outcome, Fault> {
        if self.connection.is_autocommit() {
            self.watch();
        }
        let prepared = self.connection.prepare_cached(statement);
        let mut prepared = prepared.map_err(|error| unprepared(&error))?;
        let outcome = if prepared.column_count() == 0 {
            prepared.execute(params_from_iter(values)).map(|changed| Outcome {
                number: u64::try_from(changed).unwrap_or(u64::MAX),
                rows: Vec::new(),
            })
        } else {
            prepared.query(params_from_iter(values)).and_then(|rows| collect(rows, want))
        };
        outcome.map_err(|error| {
            prepared.discard();
            if is_plain_error(&error) {
                // SQLite prepares anew by itself when the tables have changed, and says no more
                // than "error": preparing it here tells a statement that no longer fits from a
                // bad value.
                if let Err(error) = self.connection.prepare(statement) {
                    return unprepared(&error);
                }
            }
            fault(&error)
        })
    }
}

fn collect(mut rows: rusqlite::Rows<'_>, want: Want) -> rusqlite::Result<Outcome> {
    let columns = rows.as_ref().map_or(0, rusqlite::Statement::column_count);
    let mut outcome = Outcome::default();
    while let Some(row) = rows.next()? {
        outcome.number += 1;
        if want == Want::Rows {
            let row = (0..columns).map(|column| row.get_ref(column).map(text));
            outcome.rows.push(row.collect::<rusqlite::Result<Row>>()?);
        }
    }
    Ok(outcome)
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(integer) => Some(integer.to_string()),
        ValueRef::Real(real) => Some(real.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

/// Device and number of the file that a path leads to.
fn file(path: &Path) -> Result<(u64, u64), Fault> {
    let file = fs::metadata(path);
    file.map(|file| (file.dev(), file.ino()))
        .map_err(|error| Fault::gone(format!("its file cannot be found: {}", error.kind())))
}

/// A statement that could not be prepared.
fn unprepared(error: &rusqlite::Error) -> Fault {
    let Fault { trouble, words } = fault(error);
    if !is_plain_error(error) {
        return Fault { trouble, words };
    }
    let is_missing = MISSING.iter().any(|part| words.contains(part));
    Fault::new(if is_missing { Trouble::Missing } else { Trouble::Statement }, words)
}

/// What `SQLite` says of names that it does not know; it has no codes for them.
const MISSING: [&str; 5] =
    ["no such ", "has no column named", "unknown database", "values were supplied", "values for "];

/// Whose fault is it?
fn fault(error: &rusqlite::Error) -> Fault {
    let trouble = match error.sqlite_error_code() {
        Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::Unknown,
        ) => Trouble::Value,
        Some(ErrorCode::OperationInterrupted) => return Fault::late(),
        _ => Trouble::Unavailable,
    };
    Fault::new(trouble, words(error))
}

/// Is it `SQLite`'s plain "error": a statement that cannot be, or that a value makes impossible?
fn is_plain_error(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::SqlInputError { .. }
            | rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error { code: ErrorCode::Unknown, .. },
                _
            )
            | rusqlite::Error::MultipleStatement
    )
}

/// The database's words, without the path of its file and without the statement.
fn words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, _) if code.code == ErrorCode::CannotOpen => {
            "its file cannot be opened".to_owned()
        }
        rusqlite::Error::SqliteFailure(_, Some(words)) => words.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(integer) => ValueRef::Integer(*integer),
            Value::Real(real) => ValueRef::Real(*real),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}
