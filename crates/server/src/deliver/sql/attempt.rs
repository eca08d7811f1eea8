//! One attempt: a transaction for all its lapses or, if that fails for the sake of one, a
//! transaction for each.
//!
//! The guard decides in the same transaction as everything that follows from it, so a payment that
//! commits at the same moment comes wholly before or wholly after. Nothing is done twice: what was
//! done by an attempt whose answer was lost is found by `applied`. Nothing here repeats what a
//! database refused; a database that cannot be used at all is everybody's retry.

use std::slice;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use duly_engine::command::Verdict;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::value::values;
use super::{Action, Statement};
use crate::clock;
use crate::config::Database;
use crate::database::{Connection, Fault, Patience, Trouble};
use crate::deliver::Delivery;
use crate::deliver::failure::{dead, retry};

/// How long an attempt may wait for its turn; work nobody waits for is not begun.
const TURN: Duration = Duration::from_secs(30);
/// A transaction that begins later than this after the attempt's turn came is left to the next one.
const LAST_BEGINNING: Duration = Duration::from_secs(30);
/// Connections to one server. A file has one: it has one writer.
const CONNECTIONS: usize = 4;
/// How long a connection is kept without work. Its other end may have gone without a word.
const KEPT: Duration = Duration::from_mins(1);

/// Where attempts at one database wait for their turn and for a connection.
pub(super) struct Desk {
    name: String,
    database: Database,
    patience: Patience,
    pub(super) turns: Semaphore,
    /// Connections without work, with the time since when.
    idle: Mutex<Vec<(Connection, Instant)>>,
}

/// Why a transaction failed.
enum Failure {
    /// Not for the sake of a delivery: the next one would fare the same.
    Everybody(String),
    /// For the sake of one of its deliveries; the verdict on it if it was alone.
    One(Verdict),
}

impl Desk {
    pub(super) fn new(name: &str, database: Database, patience: Patience) -> Desk {
        let connections = match database {
            Database::Sqlite(_) => 1,
            Database::Mysql(_) | Database::Postgres(_) => CONNECTIONS,
        };
        Desk {
            name: name.to_owned(),
            database,
            patience,
            turns: Semaphore::new(connections),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// One verdict each, in their order.
    pub(super) async fn attempt(&self, action: &Action, deliveries: &[Delivery]) -> Vec<Verdict> {
        let Ok(turn) = timeout(TURN, self.turns.acquire()).await else {
            return vec![
                retry("timeout: the database did not answer within 30s");
                deliveries.len()
            ];
        };
        let mut held = self.kept();
        let verdicts = self.verdicts(&mut held, action, deliveries).await;
        if let Some(connection) = held.filter(Connection::is_open) {
            self.idle().push((connection, clock::stopwatch()));
        }
        drop(turn);
        verdicts
    }

    async fn verdicts(
        &self,
        held: &mut Option<Connection>,
        action: &Action,
        deliveries: &[Delivery],
    ) -> Vec<Verdict> {
        let began = clock::stopwatch();
        match self.transaction(held, action, deliveries).await {
            Ok(verdicts) => return verdicts,
            Err(Failure::Everybody(error)) => return vec![retry(&error); deliveries.len()],
            Err(Failure::One(verdict)) if deliveries.len() == 1 => return vec![verdict],
            Err(Failure::One(_)) => {}
        }
        // Each in a transaction of its own, so that one that cannot be done hinders no other.
        let mut verdicts = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            if began.elapsed() > LAST_BEGINNING {
                let error = "timeout: the others of its batch took all the time";
                verdicts.resize(deliveries.len(), retry(error));
                break;
            }
            match self.transaction(held, action, slice::from_ref(delivery)).await {
                Ok(mut done) => verdicts.append(&mut done),
                Err(Failure::One(verdict)) => verdicts.push(verdict),
                Err(Failure::Everybody(error)) => {
                    verdicts.resize(deliveries.len(), retry(&error));
                    break;
                }
            }
        }
        verdicts
    }

    /// All deliveries, or none.
    async fn transaction(
        &self,
        held: &mut Option<Connection>,
        action: &Action,
        deliveries: &[Delivery],
    ) -> Result<Vec<Verdict>, Failure> {
        let connection = self.begun(held).await.map_err(|fault| self.everybodys(&fault.words))?;
        let done = all(connection, action, deliveries).await;
        let failure = match done {
            Ok(verdicts) => return Ok(verdicts),
            Err(Broken::Payload(error)) => Failure::One(dead(&error)),
            Err(Broken::Database(setting, fault)) => self.failure(setting, &fault),
        };
        // Whatever ails this connection is not carried on when everybody is concerned.
        let keep = matches!(failure, Failure::One(_)) && connection.is_open();
        if !(keep && connection.rollback().await.is_ok()) {
            *held = None;
        }
        Err(failure)
    }

    /// A connection in which a transaction has begun. One that was kept may have been lost meanwhile:
    /// then nothing has been done, and another is made.
    async fn begun<'a>(
        &self,
        held: &'a mut Option<Connection>,
    ) -> Result<&'a mut Connection, Fault> {
        if let Some(connection) = held {
            match connection.begin().await {
                Err(fault) if fault.trouble == Trouble::Gone => *held = None,
                Err(fault) => {
                    *held = None;
                    return Err(fault);
                }
                Ok(()) => {}
            }
        }
        if held.is_none() {
            let mut connection = Connection::open(&self.database, self.patience).await?;
            connection.begin().await?;
            *held = Some(connection);
        }
        Ok(held.as_mut().expect("it was there or has just been made"))
    }

    /// Whom a fault concerns, and the verdict. `setting` names the statement, none is the commit.
    fn failure(&self, setting: Option<&str>, fault: &Fault) -> Failure {
        let Some(setting) = setting else {
            return match fault.trouble {
                // A constraint that is looked at last.
                Trouble::Value => Failure::One(dead(&fault.words)),
                // It may have happened: the next attempt asks `applied`, this one must not go on.
                _ => self.everybodys(&fault.words),
            };
        };
        let words = format!("{setting}: {}", fault.words);
        match fault.trouble {
            Trouble::Gone | Trouble::Unavailable => self.everybodys(&fault.words),
            // The tables are being changed, or the configuration must be: the deliveries can wait.
            Trouble::Missing => self.everybodys(&words),
            Trouble::Passing => Failure::One(retry(&format!("database: {}: {words}", self.name))),
            Trouble::Late => Failure::One(retry(&format!("timeout: {}", fault.words))),
            Trouble::Statement | Trouble::Value => Failure::One(dead(&words)),
        }
    }

    fn everybodys(&self, words: &str) -> Failure {
        Failure::Everybody(format!("database: {}: {words}", self.name))
    }

    /// A connection that has been used lately, if one is without work.
    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(|(_, since)| since.elapsed() < KEPT);
        idle.pop().map(|(connection, _)| connection)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().expect("putting a connection aside does not panic")
    }
}

/// Why something could not be done.
enum Broken<'a> {
    /// The payload cannot be read.
    Payload(String),
    /// The database, at the statement of this setting or at the commit.
    Database(Option<&'a str>, Fault),
}

async fn all<'a>(
    connection: &mut Connection,
    action: &'a Action,
    deliveries: &[Delivery],
) -> Result<Vec<Verdict>, Broken<'a>> {
    let mut verdicts = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        verdicts.push(act(connection, action, delivery).await?);
    }
    connection.commit().await.map_err(|fault| Broken::Database(None, fault))?;
    Ok(verdicts)
}

/// The steps for one delivery.
async fn act<'a>(
    connection: &mut Connection,
    action: &'a Action,
    delivery: &Delivery,
) -> Result<Verdict, Broken<'a>> {
    let (guard, rest) = action.steps.split_first().expect("an action has a guard");
    if rows(connection, guard, delivery).await? > 0 {
        for step in rest {
            rows(connection, step, delivery).await?;
        }
        return Ok(Verdict::Done);
    }
    // An earlier attempt may have acted without its answer being heard.
    match &action.applied {
        Some(applied)
            if delivery.leased.attempt > 1 && rows(connection, applied, delivery).await? > 0 =>
        {
            Ok(Verdict::Done)
        }
        _ => Ok(Verdict::Superseded),
    }
}

/// Runs one statement: the rows it gives, or those it meets to change.
async fn rows<'a>(
    connection: &mut Connection,
    statement: &'a Statement,
    delivery: &Delivery,
) -> Result<u64, Broken<'a>> {
    let values = values(&statement.parameters, delivery).map_err(Broken::Payload)?;
    let rows = connection.execute(&statement.text, &values).await;
    rows.map_err(|fault| Broken::Database(Some(&statement.setting), fault))
}
