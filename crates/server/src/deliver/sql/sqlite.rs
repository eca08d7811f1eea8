//! `SQLite`: one thread a database, one transaction an attempt.
//!
//! The write lock is taken before the guard is asked, so a payment that commits at the same moment
//! comes wholly before or wholly after. A batch that fails for the sake of one delivery is rolled
//! back and done one by one; a database that cannot be used at all is everybody's retry. The file is
//! never created: a path that leads nowhere is an error, not an empty database in which every order
//! would look paid.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::slice;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use duly_engine::command::Verdict;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{
    CachedStatement, Connection, ErrorCode, OpenFlags, ToSql, TransactionBehavior, params_from_iter,
};
use tokio::sync::mpsc;

use super::value::{Value, values};
use super::{Action, Request, Statement, WAITING};
use crate::clock;
use crate::deliver::failure::{dead, retry};
use crate::deliver::{BadSetting, Delivery};

/// How long a database may keep an attempt waiting, so that the next one has its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// With another writer.
    pub(super) busy: Duration,
    /// With the statements of one transaction.
    pub(super) run: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { busy: Duration::from_secs(5), run: Duration::from_secs(10) }
    }
}

/// Steps of `SQLite`'s machine between two looks at the time.
const LOOK_EVERY: i32 = 10_000;
/// Statements kept prepared.
const PREPARED: usize = 128;

/// Why a transaction failed.
enum Fault {
    /// Not for the sake of a delivery: the next one would fare the same.
    Database(String),
    /// For the sake of one of its deliveries; the verdict on it if it was alone.
    Delivery(Verdict),
}

/// The thread's own.
struct Worker {
    name: String,
    path: PathBuf,
    patience: Patience,
    open: Option<Open>,
}

/// A connection to a file.
struct Open {
    connection: Connection,
    /// Device and number of the file: a path may come to lead to another one.
    file: (u64, u64),
    /// When the present transaction began.
    began: Arc<Mutex<Instant>>,
}

/// Connects, prepares every statement of `actions` once, and starts the thread. A database that
/// cannot be used now is retried by every attempt.
pub(super) fn start(
    name: &str,
    path: PathBuf,
    patience: Patience,
    actions: &[&Action],
) -> Result<mpsc::Sender<Request>, BadSetting> {
    let mut worker = Worker { name: name.to_owned(), path, patience, open: None };
    match worker.open() {
        Ok(open) => {
            for statement in actions.iter().flat_map(|action| action.statements()) {
                match open.prepare(statement) {
                    Ok(_) => {}
                    Err(error) if is_statements_own(&error) => {
                        let why = words(&error);
                        return Err(BadSetting { key: statement.setting.clone(), why });
                    }
                    Err(error) => tracing::warn!(
                        database = name,
                        setting = statement.setting,
                        error = words(&error),
                        "a statement could not be checked now"
                    ),
                }
            }
            if let Some(applied) = actions
                .iter()
                .filter_map(|action| action.applied.as_ref())
                .find(|applied| open.prepare(applied).is_ok_and(|statement| !statement.readonly()))
            {
                let why = "changes rows; it must only ask".to_owned();
                return Err(BadSetting { key: applied.setting.clone(), why });
            }
        }
        Err(error) => tracing::warn!(
            database = name,
            error,
            "the database cannot be used yet; its deliveries are retried until it can"
        ),
    }
    let (requests, waiting) = mpsc::channel(WAITING);
    thread::Builder::new()
        .name(format!("sql {name}"))
        .spawn(move || worker.run(waiting))
        .map_err(|error| BadSetting { key: format!("databases.{name}"), why: error.to_string() })?;
    Ok(requests)
}

impl Action {
    fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.steps.iter().chain(&self.applied)
    }
}

impl Worker {
    /// Works until nobody can ask any more.
    fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        while let Some(request) = waiting.blocking_recv() {
            if request.reply.is_closed() {
                // Its time ran out before its turn came: the next attempt is the one that counts.
                continue;
            }
            let verdicts = catch_unwind(AssertUnwindSafe(|| self.attempt(&request)));
            let verdicts = verdicts.unwrap_or_else(|_| {
                self.open = None;
                vec![retry("broken_attempt: a bug in Duly; see its log"); request.deliveries.len()]
            });
            // Nobody may be waiting any more; `applied` tells the next attempt what became of it.
            drop(request.reply.send(verdicts));
        }
    }

    fn attempt(&mut self, request: &Request) -> Vec<Verdict> {
        let deliveries = &request.deliveries;
        match self.transaction(&request.action, deliveries) {
            Ok(verdicts) => verdicts,
            Err(Fault::Database(error)) => vec![retry(&error); deliveries.len()],
            Err(Fault::Delivery(verdict)) if deliveries.len() == 1 => vec![verdict],
            Err(Fault::Delivery(_)) => self.one_by_one(request),
        }
    }

    /// Each in a transaction of its own, so that one that cannot be done hinders no other.
    fn one_by_one(&mut self, request: &Request) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(request.deliveries.len());
        for delivery in &request.deliveries {
            match self.transaction(&request.action, slice::from_ref(delivery)) {
                _ if request.reply.is_closed() => break,
                Ok(mut done) => verdicts.append(&mut done),
                Err(Fault::Delivery(verdict)) => verdicts.push(verdict),
                Err(Fault::Database(error)) => {
                    verdicts.resize(request.deliveries.len(), retry(&error));
                    break;
                }
            }
        }
        verdicts
    }

    fn transaction(
        &mut self,
        action: &Action,
        deliveries: &[Delivery],
    ) -> Result<Vec<Verdict>, Fault> {
        let name = self.name.clone();
        let broken = |error: String| Fault::Database(format!("database: {name}: {error}"));
        let outcome = self.open().map_err(broken).and_then(|open| {
            open.transaction(action, deliveries).map_err(|fault| match fault {
                Fault::Database(error) => broken(error),
                fault @ Fault::Delivery(_) => fault,
            })
        });
        if matches!(outcome, Err(Fault::Database(_))) {
            // Begin with a fresh connection: whatever ails this one is not carried on.
            self.open = None;
        }
        outcome
    }

    /// The connection, made anew when there is none or when the path leads to another file.
    fn open(&mut self) -> Result<&mut Open, String> {
        let file = fs::metadata(&self.path)
            .map(|file| (file.dev(), file.ino()))
            .map_err(|error| format!("its file cannot be found: {}", error.kind()))?;
        if self.open.as_ref().is_none_or(|open| open.file != file) {
            self.open = None;
            let open = Open::new(&self.path, file, self.patience);
            self.open = Some(open.map_err(|error| words(&error))?);
        }
        Ok(self.open.as_mut().expect("it has just been made"))
    }
}

impl Open {
    fn new(path: &PathBuf, file: (u64, u64), patience: Patience) -> rusqlite::Result<Open> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(patience.busy)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        // `done` is told only of what is on the disk, and rows keep their relations.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let began = Arc::new(Mutex::new(clock::stopwatch()));
        let limit = Arc::clone(&began);
        let late = move || limit.lock().is_ok_and(|began| began.elapsed() > patience.run);
        connection.progress_handler(LOOK_EVERY, Some(late))?;
        Ok(Open { connection, file, began })
    }

    /// All deliveries, or none.
    fn transaction(
        &mut self,
        action: &Action,
        deliveries: &[Delivery],
    ) -> Result<Vec<Verdict>, Fault> {
        *self.began.lock().expect("a look at the time does not panic") = clock::stopwatch();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| fault(&error))?;
        let verdicts = deliveries
            .iter()
            .map(|delivery| act(&transaction, action, delivery))
            .collect::<Result<Vec<Verdict>, Fault>>()?;
        transaction.commit().map_err(|error| fault(&error))?;
        Ok(verdicts)
    }

    fn prepare(&self, statement: &Statement) -> rusqlite::Result<CachedStatement<'_>> {
        prepare(&self.connection, statement)
    }
}

/// The steps for one delivery.
fn act(connection: &Connection, action: &Action, delivery: &Delivery) -> Result<Verdict, Fault> {
    let (guard, rest) = action.steps.split_first().expect("an action has a guard");
    if rows(connection, guard, delivery)? > 0 {
        for step in rest {
            rows(connection, step, delivery)?;
        }
        return Ok(Verdict::Done);
    }
    // An earlier attempt may have acted without its answer being heard.
    match &action.applied {
        Some(applied)
            if delivery.leased.attempt > 1 && rows(connection, applied, delivery)? > 0 =>
        {
            Ok(Verdict::Done)
        }
        _ => Ok(Verdict::Superseded),
    }
}

/// Runs one statement: the rows it gives, or those it changed.
fn rows(
    connection: &Connection,
    statement: &Statement,
    delivery: &Delivery,
) -> Result<usize, Fault> {
    let values = values(&statement.template.parameters, delivery)
        .map_err(|error| Fault::Delivery(dead(&error)))?;
    let mut prepared =
        prepare(connection, statement).map_err(|error| unprepared(statement, &error))?;
    let rows = if prepared.column_count() == 0 {
        prepared.execute(params_from_iter(values))
    } else {
        prepared.query(params_from_iter(values)).and_then(|mut rows| {
            let mut number = 0;
            while rows.next()?.is_some() {
                number += 1;
            }
            Ok(number)
        })
    };
    rows.map_err(|error| {
        prepared.discard();
        if is_statements_own(&error) {
            // SQLite prepares anew by itself when the tables have changed, and says no more than
            // "error": preparing it here tells a statement that no longer fits from a bad value.
            if let Err(error) = prepare(connection, statement) {
                return unprepared(statement, &error);
            }
        }
        match fault(&error) {
            Fault::Delivery(Verdict::Dead { error }) => {
                Fault::Delivery(dead(&format!("{}: {error}", statement.setting)))
            }
            fault => fault,
        }
    })
}

fn prepare<'a>(
    connection: &'a Connection,
    statement: &Statement,
) -> rusqlite::Result<CachedStatement<'a>> {
    connection.prepare_cached(&statement.template.render(|index| format!("?{}", index + 1)))
}

/// A statement that was good at the start and does not fit the tables now: they are being changed,
/// or the configuration must be. Either way the deliveries can wait for it.
fn unprepared(statement: &Statement, error: &rusqlite::Error) -> Fault {
    Fault::Database(format!("{}: {}", statement.setting, words(error)))
}

/// Whose fault is it?
fn fault(error: &rusqlite::Error) -> Fault {
    let words = words(error);
    match error.sqlite_error_code() {
        Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::Unknown,
        ) => Fault::Delivery(dead(&words)),
        Some(ErrorCode::OperationInterrupted) => {
            Fault::Delivery(retry("timeout: the statements ran for too long and were stopped"))
        }
        _ => Fault::Database(words),
    }
}

/// Is it `SQLite`'s plain "error": a statement that cannot be, or that a value makes impossible?
fn is_statements_own(error: &rusqlite::Error) -> bool {
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
