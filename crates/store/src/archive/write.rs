//! Taking final records in: one writer, large transactions, never the same record twice.
//!
//! Records and the sequence up to which they are complete become durable together. What has been
//! applied is skipped when it comes again, so that a replay neither brings back what was erased nor
//! counts a day twice.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use duly_engine::deadline::Final;
use duly_engine::id::{DeadlineId, QueueName, QueueNo, Seq};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::filter::Filter;
use super::query::Reader;
use super::row::{COLUMNS, Ending, Row, number};
use super::{Home, connect_to_read, connect_to_write};
use crate::{Directory, Error};

/// Outcome labels counted apart on one day in one queue; the others are counted as `other`.
const OUTCOMES_A_DAY: i64 = 64;

/// What is counted together once labels are too many.
const OTHER: &str = "other";

/// Keys that one step of [`FilterBuild`] reads.
const BUILD_STEP: usize = 20_000;

/// One thing for the archive to do, in the order of the facts.
#[derive(Clone, Debug)]
pub enum Item {
    /// Keep a final record. Its payload is here, none or gone, never still in the journal.
    Keep(Box<Final>),
    /// Forget all generations of a deadline. The totals of its days stay.
    Erase {
        /// The fact that says so.
        seq: Seq,
        /// Which.
        id: DeadlineId,
    },
}

impl Item {
    /// The fact it comes from.
    pub fn seq(&self) -> Seq {
        match self {
            Item::Keep(record) => record.seq,
            Item::Erase { seq, .. } => *seq,
        }
    }
}

/// The one writer of the archive.
pub struct Writer {
    pub(super) home: Home,
    pub(super) connection: Connection,
    filter: Arc<Filter>,
    applied_seq: Seq,
    /// The queues that are in the archive, and up to which end their payloads are dropped.
    pub(super) queues: HashMap<i64, i64>,
}

/// Count and summed milliseconds of one kind of ending on one day.
type Totals = BTreeMap<(i64, i64, i64, String), (i64, i64)>;

impl Writer {
    /// Opens the archive of a data directory, or makes one. An archive that belongs to another
    /// directory is [`Error::Corrupt`].
    pub fn open(path: &Path, directory: &Directory) -> Result<Writer, Error> {
        let (home, connection) = connect_to_write(path)?;
        let fault = home.fault("read the archive's progress");
        connection
            .execute("INSERT OR IGNORE INTO progress VALUES (1, ?1, 0)", [directory.id()])
            .map_err(&fault)?;
        let (owner, applied_seq): (Vec<u8>, i64) = connection
            .query_row("SELECT directory, applied_seq FROM progress", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .map_err(&fault)?;
        let applied_seq = applied_seq.unsigned_abs();
        if owner != directory.id() {
            let detail = "the archive belongs to another data directory".to_owned();
            return Err(home.corrupt(0, detail));
        }
        let expected = expected_rows(&connection).map_err(&fault)?;
        drop(fault);
        let mut writer = Writer {
            filter: Arc::new(Filter::new(directory.hash_seed(), expected)),
            home,
            connection,
            applied_seq,
            queues: HashMap::new(),
        };
        writer.read_queues()?;
        Ok(writer)
    }

    /// Compares the archive with its journal, which ends at `last_seq`. One that is ahead is
    /// [`Error::Corrupt`]: it would take facts to come for facts it has seen, and leave them out.
    pub fn check_journal(&self, last_seq: Seq) -> Result<(), Error> {
        if self.applied_seq <= last_seq {
            return Ok(());
        }
        let applied = self.applied_seq;
        let detail =
            format!("the archive has seen sequence {applied}, but the journal ends at {last_seq}");
        Err(self.home.corrupt(0, detail))
    }

    /// Everything final up to this sequence is durably in the archive.
    pub fn applied_seq(&self) -> Seq {
        self.applied_seq
    }

    /// What the archive surely does not hold. It says yes to everything until a [`FilterBuild`] is
    /// done.
    pub fn filter(&self) -> Arc<Filter> {
        Arc::clone(&self.filter)
    }

    /// Another connection, to look things up from another thread.
    pub fn reader(&self) -> Result<Reader, Error> {
        Reader::open(self.home.clone())
    }

    /// Fills the filter from what the archive holds, step by step, on any thread.
    pub fn filter_build(&self) -> Result<FilterBuild, Error> {
        Ok(FilterBuild {
            connection: connect_to_read(&self.home)?,
            home: self.home.clone(),
            filter: Arc::clone(&self.filter),
            after: (-1, String::new()),
            name: (-1, String::new()),
        })
    }

    /// Applies items in one transaction, after which everything final up to `through` is durable.
    /// The items are in the order of their sequences; those already applied are skipped.
    ///
    /// [`Error::Full`] and [`Error::Locked`] change nothing and are worth another try; any other
    /// error is a fault of the disk.
    pub fn apply(&mut self, items: &[Item], through: Seq) -> Result<(), Error> {
        if through <= self.applied_seq {
            return Ok(());
        }
        let applied = self.applied_seq;
        let fresh = items.iter().filter(|item| item.seq() > applied);
        let fault = self.home.fault("write to the archive");
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&fault)?;
        let queues = apply_all(&transaction, fresh, &self.queues).map_err(&fault)?;
        transaction
            .prepare_cached("UPDATE progress SET applied_seq = ?1")
            .and_then(|mut statement| statement.execute([number(through)]))
            .map_err(&fault)?;
        // Before it can be found in the archive it must not be denied.
        for item in items {
            if let Item::Keep(record) = item {
                let deadline = &record.deadline;
                self.filter.insert(deadline.queue.as_str(), deadline.key.as_str());
            }
        }
        transaction.commit().map_err(&fault)?;
        drop(fault);
        self.queues.extend(queues);
        self.applied_seq = through;
        Ok(())
    }

    fn read_queues(&mut self) -> Result<(), Error> {
        let fault = self.home.fault("read the archive's queues");
        let mut statement =
            self.connection.prepare("SELECT no, payloads_dropped FROM queues").map_err(&fault)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(&fault)?;
        self.queues = rows.collect::<rusqlite::Result<_>>().map_err(&fault)?;
        Ok(())
    }
}

/// About how many records there are, without counting them: the filter grows if it is too few.
fn expected_rows(connection: &Connection) -> rusqlite::Result<u64> {
    /// What a record takes at least, with its share of the indexes.
    const ROW_BYTES: i64 = 300;
    let rows: i64 = connection.query_row(
        "SELECT coalesce(max(row) - min(row) + 1, 0) FROM records",
        [],
        |row| row.get(0),
    )?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let bytes = (pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?;
    Ok(rows.min(bytes / ROW_BYTES).unsigned_abs())
}

/// Writes the items and returns what has become of the queues they touch.
fn apply_all<'a>(
    transaction: &Transaction<'_>,
    items: impl Iterator<Item = &'a Item>,
    known: &HashMap<i64, i64>,
) -> rusqlite::Result<HashMap<i64, i64>> {
    let insert = format!(
        "INSERT INTO records ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, \
         ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23) ON CONFLICT DO NOTHING"
    );
    let mut insert = transaction.prepare_cached(&insert)?;
    let mut queues = HashMap::new();
    let mut totals = Totals::new();
    for item in items {
        match item {
            Item::Erase { id, .. } => erase(transaction, *id)?,
            Item::Keep(record) => {
                let row = Row::of(record);
                let deadline = &record.deadline;
                let dropped = queues.get(&row.queue_no).or_else(|| known.get(&row.queue_no));
                let dropped = match dropped {
                    Some(dropped) => *dropped,
                    None => add_queue(transaction, deadline.queue_no, &deadline.queue)?,
                };
                // A straggler from before the last sweep is seen by the next one.
                let kept = dropped.min(row.finished_at - 1);
                if kept < dropped {
                    transaction
                        .prepare_cached("UPDATE queues SET payloads_dropped = ?2 WHERE no = ?1")?
                        .execute([row.queue_no, kept])?;
                }
                queues.insert(row.queue_no, kept);
                if row.insert(&mut insert)? {
                    let outcome = row.outcome.clone().unwrap_or_default();
                    let total = totals.entry((row.day(), row.queue_no, row.ending, outcome));
                    let (count, took) = total.or_default();
                    *count += 1;
                    *took += row.took_ms();
                }
            }
        }
    }
    add_totals(transaction, totals)?;
    Ok(queues)
}

fn add_queue(
    transaction: &Transaction<'_>,
    no: QueueNo,
    name: &QueueName,
) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO queues (no, name) VALUES (?1, ?2)")?
        .execute(params![no.0, name.as_str()])?;
    Ok(0)
}

/// Erasing is for personal data: what is deleted is overwritten, not only unlinked.
fn erase(transaction: &Transaction<'_>, id: DeadlineId) -> rusqlite::Result<()> {
    transaction.pragma_update(None, "secure_delete", true)?;
    let erased =
        transaction.prepare_cached("DELETE FROM records WHERE id = ?1")?.execute([number(id.0)]);
    transaction.pragma_update(None, "secure_delete", false)?;
    erased.map(|_| ())
}

fn add_totals(transaction: &Transaction<'_>, totals: Totals) -> rusqlite::Result<()> {
    let mut update = transaction.prepare_cached(
        "UPDATE daily_totals SET count = count + ?5, total_ms = total_ms + ?6
         WHERE day = ?1 AND queue_no = ?2 AND ending = ?3 AND outcome = ?4",
    )?;
    let mut labels = transaction.prepare_cached(
        "SELECT count(*) FROM daily_totals WHERE day = ?1 AND queue_no = ?2 AND ending = ?3",
    )?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO daily_totals VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET count = count + ?5, total_ms = total_ms + ?6",
    )?;
    for ((day, queue, ending, mut outcome), (count, took)) in totals {
        if update.execute(params![day, queue, ending, outcome, count, took])? > 0 {
            continue;
        }
        if ending == Ending::Settled as i64 {
            let counted: i64 = labels.query_row([day, queue, ending], |row| row.get(0))?;
            if counted >= OUTCOMES_A_DAY {
                OTHER.clone_into(&mut outcome);
            }
        }
        insert.execute(params![day, queue, ending, outcome, count, took])?;
    }
    Ok(())
}

/// Fills the filter with what was archived before the start.
pub struct FilterBuild {
    home: Home,
    connection: Connection,
    filter: Arc<Filter>,
    /// The last (queue number, key) that was read.
    after: (i64, String),
    /// The queue the last key was in, by number and name.
    name: (i64, String),
}

impl FilterBuild {
    /// Reads some keys; true when all are in the filter, which can say no from then on.
    pub fn step(&mut self) -> Result<bool, Error> {
        let read = self.read_keys().map_err(self.home.fault("fill the archive's filter"))?;
        let is_done = read < BUILD_STEP;
        if is_done {
            self.filter.complete();
        }
        Ok(is_done)
    }

    fn read_keys(&mut self) -> rusqlite::Result<usize> {
        let mut statement = self.connection.prepare_cached(
            "SELECT queue_no, key FROM records WHERE (queue_no, key) > (?1, ?2)
             ORDER BY queue_no, key LIMIT ?3",
        )?;
        let limit = number(BUILD_STEP as u64);
        let mut rows = statement.query(params![self.after.0, self.after.1, limit])?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            let (no, key): (i64, String) = (row.get(0)?, row.get(1)?);
            if no != self.name.0 {
                let name = self
                    .connection
                    .prepare_cached("SELECT name FROM queues WHERE no = ?1")?
                    .query_row([no], |row| row.get(0))
                    .optional()?;
                self.name = (no, name.unwrap_or_default());
            }
            self.filter.insert(&self.name.1, &key);
            self.after = (no, key);
            read += 1;
        }
        Ok(read)
    }
}
