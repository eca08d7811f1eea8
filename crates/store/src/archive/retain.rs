//! Letting go of old records, queue by queue, a slice at a time.
//!
//! Payloads go first, then whole records; the totals of their days stay for ever. The caller knows the
//! policies and the time, and comes again as long as there was something to do.

use duly_engine::id::QueueName;
use duly_engine::time::{Span, Time};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};

use super::row::{DROPPED, dropped_crc, number};
use super::write::Writer;
use crate::Error;

/// What one slice of retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Records deleted.
    pub records: usize,
    /// Payloads dropped.
    pub payloads: usize,
    /// True when nothing old enough is left.
    pub is_done: bool,
}

impl Writer {
    /// The names of all queues that ever had a record here. One that no longer exists still has to be
    /// swept, by whatever policy is the default.
    pub fn queues(&self) -> Result<Vec<QueueName>, Error> {
        let fault = self.home.fault("read the archive's queues");
        let mut statement =
            self.connection.prepare_cached("SELECT DISTINCT name FROM queues").map_err(&fault)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(&fault)?;
        let names: Vec<String> = rows.collect::<rusqlite::Result<_>>().map_err(&fault)?;
        names
            .iter()
            .map(|name| {
                QueueName::new(name)
                    .map_err(|_| self.home.corrupt(0, format!("{name:?} is no queue's name")))
            })
            .collect()
    }

    /// Deletes the records of a queue that ended more than `retention` before `now`, and drops the
    /// payloads of those that ended more than `payload_retention` before; at most about `limit` of
    /// each. Errors as with [`Writer::apply`].
    pub fn sweep(
        &mut self,
        queue: &QueueName,
        now: Time,
        retention: Span,
        payload_retention: Span,
        limit: usize,
    ) -> Result<Swept, Error> {
        let fault = self.home.fault("let go of old records");
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&fault)?;
        let records_before = number(now.minus(retention).millis());
        let payloads_before = number(now.minus(payload_retention).millis());
        let limit = number(limit as u64);
        let mut swept = Swept { is_done: true, ..Swept::default() };
        let mut dropped = Vec::new();
        for no in numbers(&transaction, queue).map_err(&fault)? {
            let deleted =
                delete_records(&transaction, no, records_before, limit).map_err(&fault)?;
            let (payloads, until) =
                drop_payloads(&transaction, no, payloads_before, limit).map_err(&fault)?;
            swept.records += deleted;
            swept.payloads += payloads;
            swept.is_done &= number(deleted as u64) < limit && number(payloads as u64) < limit;
            dropped.push((no, until));
        }
        transaction.commit().map_err(&fault)?;
        drop(fault);
        self.queues.extend(dropped);
        Ok(swept)
    }

    /// Brings the write-ahead file back into the database and cuts it, as far as nobody reads in it.
    /// For quiet times: it may take a while.
    pub fn tidy(&mut self) -> Result<(), Error> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(self.home.fault("tidy the archive"))
    }
}

/// The numbers a queue of this name has had: one removed and created again has several.
fn numbers(transaction: &Transaction<'_>, queue: &QueueName) -> rusqlite::Result<Vec<i64>> {
    transaction
        .prepare_cached("SELECT no FROM queues WHERE name = ?1")?
        .query_map([queue.as_str()], |row| row.get(0))?
        .collect()
}

fn delete_records(
    transaction: &Transaction<'_>,
    no: i64,
    before: i64,
    limit: i64,
) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(
            "DELETE FROM records WHERE row IN (SELECT row FROM records
             WHERE queue_no = ?1 AND finished_at < ?2 ORDER BY finished_at LIMIT ?3)",
        )?
        .execute([no, before, limit])
}

/// Drops a slice of payloads and returns how many rows it went over, and up to which end all are
/// dropped now.
fn drop_payloads(
    transaction: &Transaction<'_>,
    no: i64,
    before: i64,
    limit: i64,
) -> rusqlite::Result<(usize, i64)> {
    let after: i64 = transaction
        .prepare_cached("SELECT payloads_dropped FROM queues WHERE no = ?1")?
        .query_row([no], |row| row.get(0))?;
    // A slice ends between two milliseconds, however many records ended within one.
    let last: Option<i64> = transaction
        .prepare_cached(
            "SELECT finished_at FROM records WHERE queue_no = ?1 AND finished_at > ?2
             AND finished_at < ?3 ORDER BY finished_at LIMIT 1 OFFSET ?4",
        )?
        .query_row([no, after, before, limit - 1], |row| row.get(0))
        .optional()?;
    let until = last.unwrap_or(before - 1).max(after);
    if until == after {
        return Ok((0, after));
    }
    let payloads = transaction
        .prepare_cached(
            "UPDATE records SET payload = NULL, payload_kind = ?4, payload_crc = ?5
             WHERE queue_no = ?1 AND finished_at > ?2 AND finished_at <= ?3
             AND payload_kind IN (1, 2)",
        )?
        .execute(params![no, after, until, DROPPED, dropped_crc()])?;
    transaction
        .prepare_cached("UPDATE queues SET payloads_dropped = ?2 WHERE no = ?1")?
        .execute([no, until])?;
    // Rows without a payload count too: the slice may have ended at its limit with none dropped.
    let went_over =
        if last.is_some() { usize::try_from(limit).unwrap_or(usize::MAX) } else { payloads };
    Ok((went_over, until))
}
