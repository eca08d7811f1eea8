//! The archive: every final record, in a database that anybody may open.
//!
//! When a deadline is settled or its delivery has ended, its record leaves memory for `archive.db`.
//! The journal stays the truth until the archive says how far it has come: the sequence it has applied
//! is in the same transaction as the records. Giving it the same records twice changes nothing.
//!
//! One [`Writer`], as many [`Reader`]s as there are threads that look things up, and a [`Filter`] that
//! answers most look-ups without any disk. Tables and views are documented in `docs/archive.md`.
//!
//! It decides nothing about deadlines, and knows no time but what it is told.

mod examine;
mod filter;
mod query;
mod retain;
mod row;
pub mod timeline;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::Error;

pub use examine::{Examined, examine};
pub use filter::Filter;
pub use query::{Page, Reader};
pub use retain::Swept;
pub use row::kept;
pub use write::{FilterBuild, Item, Writer};

/// The version of the tables; [`Error::NewerFormat`] when a file has a later one.
const VERSION: u32 = 1;

/// Marks the file as ours for whoever asks `file`: "duly".
const APPLICATION_ID: u32 = 0x6475_6c79;

const SCHEMA: &str = include_str!("schema.sql");

/// How long somebody else's transaction may keep this process waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the archive is, and how its faults are told.
#[derive(Clone, Debug)]
struct Home {
    path: PathBuf,
}

impl Home {
    /// Makes an [`Error`] of what SQLite says.
    fn fault(&self, what: &'static str) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                self.corrupt(0, error.to_string())
            }
            Some(ErrorCode::DiskFull) => Error::Full { path: self.path.clone(), wanted: None },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Error::Locked { path: self.path.clone() }
            }
            _ => Error::Io { what, path: self.path.clone(), source: io::Error::other(error) },
        }
    }

    /// `row` is where: the archive counts in rows, not bytes.
    fn corrupt(&self, row: u64, detail: String) -> Error {
        Error::Corrupt { file: self.path.clone(), offset: row, detail }
    }
}

/// A connection for writing; makes the tables if the file is new.
fn connect_to_write(path: &Path) -> Result<(Home, Connection), Error> {
    let home = Home { path: path.to_owned() };
    let fault = home.fault("open the archive");
    let connection = Connection::open(path).map_err(&fault)?;
    connection.busy_timeout(PATIENCE).map_err(&fault)?;
    let version: u32 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(&fault)?;
    if version > VERSION {
        return Err(Error::NewerFormat { file: home.path.clone(), found: version, known: VERSION });
    }
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = 65536;
             PRAGMA cache_size = -65536;
             PRAGMA temp_store = MEMORY;",
        )
        .map_err(&fault)?;
    if version == 0 {
        let create = format!(
            "BEGIN IMMEDIATE; {SCHEMA}
             PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
        );
        connection.execute_batch(&create).map_err(&fault)?;
    }
    drop(fault);
    Ok((home, connection))
}

/// A connection that can only read.
fn connect_to_read(home: &Home) -> Result<Connection, Error> {
    let fault = home.fault("open the archive");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&home.path, flags).map_err(&fault)?;
    connection.busy_timeout(PATIENCE).map_err(&fault)?;
    connection.execute_batch("PRAGMA cache_size = -16384;").map_err(&fault)?;
    Ok(connection)
}
