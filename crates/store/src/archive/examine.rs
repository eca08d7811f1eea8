//! Looking over a whole archive without changing it.
//!
//! Everything is read: SQLite checks its pages and that every index holds what its table holds and
//! nothing else, every row is checked against its checksums, and the counts of each day against the
//! rows that are left of it. Nothing is written, not even a file beside the archive.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use duly_engine::id::{QueueName, Seq};
use rusqlite::{Connection, OpenFlags};

use super::row::{COLUMNS, Row, number};
use super::{Home, VERSION, timeline};
use crate::{Directory, Error};

/// The tables there are.
const TABLES: [&str; 4] = ["records", "queues", "daily_totals", "progress"];

/// Rows between two words about how far it is.
const PROGRESS_ROWS: u64 = 100_000;

/// More faults than this are counted and not told.
const MOST_FAULTS: usize = 100;

/// What was found.
#[derive(Debug, Default)]
pub struct Examined {
    /// Records there are.
    pub rows: u64,
    /// Everything final up to this fact is there.
    pub applied_seq: Seq,
    /// What is wrong; at most a hundred things are told.
    pub faults: Vec<Error>,
    /// How many things are wrong.
    pub faults_count: u64,
}

/// Looks over the archive of a directory; none if there is no archive. `last_seq` is where the
/// journal ends, if that is known; `progress` is told in a few words how far it is.
pub fn examine(
    path: &Path,
    directory: &Directory,
    last_seq: Option<Seq>,
    progress: &mut dyn FnMut(&str),
) -> Result<Option<Examined>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let home = Home { path: path.to_owned() };
    let Some(connection) = look(&home)? else { return Ok(None) };
    let mut examination =
        Examination { home: &home, connection: &connection, examined: Examined::default() };
    examination.whose(directory, last_seq)?;
    for table in TABLES {
        progress(&format!("table {table} and its indexes"));
        examination.pages(table)?;
    }
    examination.rows(progress)?;
    Ok(Some(examination.examined))
}

/// A connection that leaves no trace; none if nothing is there yet. Without a write-ahead file there is nothing but the file
/// itself to be read; with one, its index is read as it was left, or else built in memory.
fn look(home: &Home) -> Result<Option<Connection>, Error> {
    let beside = |suffix: &str| {
        let mut path = home.path.clone().into_os_string();
        path.push(suffix);
        std::fs::metadata(path).map_or(0, |found| found.len())
    };
    let how = match (beside("-wal"), beside("-shm")) {
        (0, _) => "immutable=1",
        (_, 0) => "",
        _ => "readonly_shm=1",
    };
    let mut uri = "file:".to_owned();
    for byte in home.path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => write!(uri, "%{byte:02X}").expect("a string takes everything"),
        }
    }
    write!(uri, "?mode=ro&{how}").expect("a string takes everything");
    let fault = home.fault("open the archive");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(&uri, flags).map_err(&fault)?;
    let version: u32 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(&fault)?;
    if version > VERSION {
        return Err(Error::NewerFormat { file: home.path.clone(), found: version, known: VERSION });
    }
    let tables: u32 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(&fault)?;
    drop(fault);
    // Somebody may have died while it was being made.
    Ok((tables > 0).then_some(connection))
}

struct Examination<'a> {
    home: &'a Home,
    connection: &'a Connection,
    examined: Examined,
}

/// Day, queue, and whether it lapsed.
type Daily = BTreeMap<(i64, i64, bool), i64>;

impl Examination<'_> {
    fn wrong(&mut self, row: u64, detail: String) {
        self.examined.faults_count += 1;
        if self.examined.faults.len() < MOST_FAULTS {
            self.examined.faults.push(self.home.corrupt(row, detail));
        }
    }

    /// Does it belong to this directory and to this journal?
    fn whose(&mut self, directory: &Directory, last_seq: Option<Seq>) -> Result<(), Error> {
        let fault = self.home.fault("read the archive's progress");
        let read =
            self.connection.query_row("SELECT directory, applied_seq FROM progress", [], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?))
            });
        let (owner, applied) = read.map_err(&fault)?;
        let applied = applied.unsigned_abs();
        self.examined.applied_seq = applied;
        if owner != directory.id() {
            self.wrong(0, "the archive belongs to another data directory".to_owned());
        }
        if let Some(last_seq) = last_seq.filter(|last_seq| *last_seq < applied) {
            let detail = format!(
                "the archive has seen sequence {applied}, but the journal ends at {last_seq}"
            );
            self.wrong(0, detail);
        }
        Ok(())
    }

    /// The pages of a table and of its indexes, and whether they agree.
    fn pages(&mut self, table: &str) -> Result<(), Error> {
        let fault = self.home.fault("check the archive");
        let check = || -> rusqlite::Result<Vec<String>> {
            let mut statement =
                self.connection.prepare(&format!("PRAGMA integrity_check({table})"))?;
            let said = statement.query_map([], |row| row.get(0))?;
            said.collect()
        };
        match check() {
            Ok(said) => {
                for line in said.into_iter().filter(|line| line != "ok") {
                    self.wrong(0, line);
                }
                Ok(())
            }
            Err(error) => match fault(error) {
                Error::Corrupt { detail, .. } => {
                    self.wrong(0, detail);
                    Ok(())
                }
                other => Err(other),
            },
        }
    }

    /// Every record against its checksums, and all of them against the counts of their days.
    fn rows(&mut self, progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let fault = self.home.fault("read the archive");
        let mut daily = Daily::new();
        match self.read_rows(&mut daily, progress) {
            Ok(()) => {}
            Err(error) => match fault(error) {
                Error::Corrupt { detail, .. } => {
                    self.wrong(0, detail);
                    return Ok(());
                }
                other => return Err(other),
            },
        }
        match self.read_totals(&mut daily) {
            Ok(()) => {}
            Err(error) => match fault(error) {
                Error::Corrupt { detail, .. } => self.wrong(0, detail),
                other => return Err(other),
            },
        }
        for ((day, queue, lapsed), more) in daily {
            if more > 0 {
                let what = if lapsed { "lapsed" } else { "settled" };
                self.wrong(
                    0,
                    format!(
                        "day {day} of queue {queue} has {more} {what} records more than it counts"
                    ),
                );
            }
        }
        Ok(())
    }

    fn read_rows(
        &mut self,
        daily: &mut Daily,
        progress: &mut dyn FnMut(&str),
    ) -> rusqlite::Result<()> {
        let columns = COLUMNS.replace(", ", ", r.");
        // By the table alone: a lost index entry must not hide a row.
        let sql = format!(
            "SELECT r.row, q.name, r.{columns} FROM records AS r NOT INDEXED
             LEFT JOIN queues AS q ON q.no = r.queue_no ORDER BY r.row"
        );
        let connection = self.connection;
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(found) = rows.next()? {
            let place: i64 = found.get(0)?;
            self.examined.rows += 1;
            if self.examined.rows.is_multiple_of(PROGRESS_ROWS) {
                progress(&format!("{} records", self.examined.rows));
            }
            let name = found.get::<_, Option<String>>(1);
            let checked = match Row::read(found, 2) {
                // What SQLite gave is no row of ours.
                Err(error) if error.sqlite_error_code().is_none() => Err(error.to_string()),
                row => row?.map_err(str::to_owned),
            };
            let whole = checked.and_then(|row| {
                let (key, counted) = ((row.day(), row.queue_no, row.has_lapsed()), row.seq());
                let name = name.map_err(|error| error.to_string())?.unwrap_or_default();
                let queue = QueueName::new(&name)
                    .map_err(|_| "it is in a queue without a name".to_owned())?;
                let told = timeline::read(connection, row.timeline());
                let told = told.map_err(|error| error.to_string())?.map_err(str::to_owned)?;
                row.into_deadline(&queue, told).map_err(str::to_owned)?;
                Ok((key, counted))
            });
            match whole {
                Ok((key, seq)) => {
                    *daily.entry(key).or_default() += 1;
                    if seq > number(self.examined.applied_seq) {
                        let detail = format!("row {place} of the records is ahead of the progress");
                        self.wrong(place.unsigned_abs(), detail);
                    }
                }
                Err(detail) => {
                    let detail = format!("row {place} of the records: {detail}");
                    self.wrong(place.unsigned_abs(), detail);
                }
            }
        }
        Ok(())
    }

    /// Takes what is counted from what is there: retention and erasing make it less, nothing more.
    fn read_totals(&self, daily: &mut Daily) -> rusqlite::Result<()> {
        let mut statement = self
            .connection
            .prepare("SELECT day, queue_no, ending <> 1, count FROM daily_totals")?;
        let mut totals = statement.query([])?;
        while let Some(total) = totals.next()? {
            let key = (total.get(0)?, total.get(1)?, total.get(2)?);
            *daily.entry(key).or_default() -= total.get::<_, i64>(3)?;
        }
        Ok(())
    }
}
