//! Looking things up in the archive: by key, by number, and page by page.
//!
//! Every reader has its own connection and sees a consistent state that includes everything applied
//! before it asks. Every row is checked against its checksums; a row that fails is an error, never an
//! answer. No call walks more than a bounded number of rows.

use std::path::Path;

use duly_engine::answer::{Known, Wanted};
use duly_engine::command::{Address, Filter};
use duly_engine::deadline::Deadline;
use duly_engine::id::{DeadlineId, Generation, QueueName};
use duly_engine::time::Time;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::row::{COLUMNS, Ending, Row, number};
use super::{Home, connect_to_read, timeline};
use crate::Error;

/// Rows that one slice of a filtered list walks over.
const SLICE_ROWS: i64 = 5_000;

/// Slices of one page: a filter that matches almost nothing gives a short page, not a long wait.
const SLICES: usize = 20;

/// A page of a list, in order of (due, id).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The records; perhaps fewer than asked for although there are more.
    pub deadlines: Vec<Deadline>,
    /// Where to go on; none at the end.
    pub next: Option<(Time, DeadlineId)>,
}

/// A way to look into the archive, for one thread.
pub struct Reader {
    home: Home,
    connection: Connection,
}

impl Reader {
    /// Looks into an archive that is there, whoever writes it.
    pub fn at(path: &Path) -> Result<Reader, Error> {
        Reader::open(Home { path: path.to_owned() })
    }

    pub(super) fn open(home: Home) -> Result<Reader, Error> {
        Ok(Reader { connection: connect_to_read(&home)?, home })
    }

    /// What the engine wants to know before it decides.
    pub fn look_up(&self, wanted: &Wanted) -> Result<Known, Error> {
        let found = match wanted {
            Wanted::Key(address) => self.latest(address)?,
            Wanted::Id(id, generation) => self.by_id(*id, *generation)?,
        };
        Ok(found.map_or(Known::Absent, |deadline| Known::Archived(Box::new(deadline))))
    }

    /// The latest generation under a key.
    pub fn latest(&self, address: &Address) -> Result<Option<Deadline>, Error> {
        let condition = "r.queue_no IN (SELECT no FROM queues WHERE name = ?1) AND r.key = ?2
             ORDER BY r.id DESC, r.generation DESC LIMIT 1";
        let texts = [address.queue.as_str(), address.key.as_str()];
        let values = texts.map(|text| Value::Text(text.to_owned()));
        Ok(self.select(condition, &values)?.pop())
    }

    /// One generation of a deadline.
    pub fn by_id(&self, id: DeadlineId, generation: Generation) -> Result<Option<Deadline>, Error> {
        let condition = "r.id = ?1 AND r.generation = ?2";
        let values = [Value::Integer(number(id.0)), Value::Integer(i64::from(generation.0))];
        Ok(self.select(condition, &values)?.pop())
    }

    /// Records of a queue after (due, id), in that order.
    pub fn page(
        &self,
        queue: &QueueName,
        filter: &Filter,
        after: Option<(Time, DeadlineId)>,
        limit: usize,
    ) -> Result<Page, Error> {
        let endings: Vec<Ending> = Ending::ALL
            .into_iter()
            .filter(|ending| filter.state.is_none_or(|state| state == ending.state()))
            .filter(|ending| filter.delivery.is_none_or(|one| Some(one) == ending.delivery()))
            .collect();
        let mut pages = Vec::new();
        if !endings.is_empty() && limit > 0 {
            for no in self.numbers(queue)? {
                let walk = Walk { reader: self, no, filter, endings: &endings, limit };
                pages.push(walk.page(after)?);
            }
        }
        Ok(merge(pages, limit))
    }

    /// The numbers a queue of this name has had.
    fn numbers(&self, queue: &QueueName) -> Result<Vec<i64>, Error> {
        let fault = self.home.fault("look into the archive");
        let mut statement = self
            .connection
            .prepare_cached("SELECT no FROM queues WHERE name = ?1")
            .map_err(&fault)?;
        let rows = statement.query_map([queue.as_str()], |row| row.get(0)).map_err(&fault)?;
        rows.collect::<rusqlite::Result<_>>().map_err(&fault)
    }

    /// The records that meet a condition on `r`, every one checked.
    fn select(&self, condition: &str, values: &[Value]) -> Result<Vec<Deadline>, Error> {
        let fault = self.home.fault("look into the archive");
        let columns = COLUMNS.replace(", ", ", r.");
        let sql = format!(
            "SELECT r.row, q.name, r.{columns} FROM records AS r
             JOIN queues AS q ON q.no = r.queue_no WHERE {condition}"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(&fault)?;
        let mut rows = statement.query(params_from_iter(values)).map_err(&fault)?;
        let mut found = Vec::new();
        while let Some(sql_row) = rows.next().map_err(&fault)? {
            let place: i64 = sql_row.get(0).map_err(&fault)?;
            let corrupt = |detail: &str| {
                let detail = format!("row {place} of the records: {detail}");
                self.home.corrupt(place.unsigned_abs(), detail)
            };
            let name: String = sql_row.get(1).map_err(&fault)?;
            let queue =
                QueueName::new(&name).map_err(|_| corrupt("it is in a queue without a name"))?;
            let row = match Row::read(sql_row, 2) {
                Err(error) if error.sqlite_error_code().is_none() => {
                    return Err(corrupt(&error.to_string()));
                }
                row => row.map_err(&fault)?.map_err(corrupt)?,
            };
            let timeline = timeline::read(&self.connection, row.timeline());
            let timeline = timeline.map_err(&fault)?.map_err(corrupt)?;
            found.push(row.into_deadline(&queue, timeline).map_err(corrupt)?);
        }
        Ok(found)
    }

    /// The first column of one row, if there is one.
    fn number(&self, sql: &str, values: &[Value]) -> Result<Option<(i64, i64)>, Error> {
        let fault = self.home.fault("look into the archive");
        let mut statement = self.connection.prepare_cached(sql).map_err(&fault)?;
        let mut rows = statement.query(params_from_iter(values)).map_err(&fault)?;
        match rows.next().map_err(&fault)? {
            Some(row) => Ok(Some((row.get(0).map_err(&fault)?, row.get(1).map_err(&fault)?))),
            None => Ok(None),
        }
    }
}

/// One page out of one queue.
struct Walk<'a> {
    reader: &'a Reader,
    no: i64,
    filter: &'a Filter,
    endings: &'a [Ending],
    limit: usize,
}

impl Walk<'_> {
    fn page(&self, after: Option<(Time, DeadlineId)>) -> Result<Page, Error> {
        let mut from = match after {
            Some((due, id)) => (number(due.millis()), number(id.0)),
            None => (-1, -1),
        };
        if let Some(due_from) = self.filter.due_from {
            from = from.max((number(due_from.millis()), -1));
        }
        let picks = self.endings.len() < Ending::ALL.len() || self.filter.key_prefix.is_some();
        if !picks || self.has_few_keys()? {
            let deadlines = self.between(from, None)?;
            return Ok(self.ended(deadlines, None));
        }
        // What is picked may be rare: walk in slices, and give up for this page after some.
        let mut deadlines = Vec::new();
        for _ in 0..SLICES {
            let end = self.end_of_slice(from)?;
            deadlines.extend(self.between(from, end)?);
            match end {
                Some(end) if deadlines.len() < self.limit => from = end,
                _ => return Ok(self.ended(deadlines, None)),
            }
        }
        Ok(self.ended(deadlines, Some(from)))
    }

    /// The page of these records; `reached` is how far the walk came if it was given up.
    fn ended(&self, mut deadlines: Vec<Deadline>, reached: Option<(i64, i64)>) -> Page {
        let is_full = deadlines.len() >= self.limit;
        if is_full {
            let (due, id) = (deadlines[self.limit - 1].due, deadlines[self.limit - 1].id);
            // All generations of the last one: the next page begins behind them.
            let last = deadlines.iter().rposition(|one| (one.due, one.id) == (due, id));
            deadlines.truncate(last.map_or(self.limit, |last| last + 1));
        }
        let last = deadlines.last().map(|last| (last.due, last.id)).filter(|_| is_full);
        let reached = reached.map(|(due, id)| {
            (Time::from_millis(due.unsigned_abs()), DeadlineId(id.unsigned_abs()))
        });
        Page { deadlines, next: last.or(reached) }
    }

    /// Where a slice of rows ends; `None` when it is the last.
    fn end_of_slice(&self, from: (i64, i64)) -> Result<Option<(i64, i64)>, Error> {
        let sql =
            "SELECT due, id FROM records WHERE queue_no = ?1 AND (due, id) > (?2, ?3) AND due < ?4
             ORDER BY due, id LIMIT 1 OFFSET ?5";
        let values = [self.no, from.0, from.1, self.due_to(), SLICE_ROWS - 1];
        self.reader.number(sql, &values.map(Value::Integer))
    }

    /// Whether so few keys have the prefix that sorting them is cheaper than any walk.
    fn has_few_keys(&self) -> Result<bool, Error> {
        let Some((first, end)) = self.keys() else { return Ok(false) };
        let sql = "SELECT count(*), 0 FROM (SELECT 1 FROM records INDEXED BY records_by_key
             WHERE queue_no = ?1 AND key >= ?2 AND key < ?3 LIMIT ?4)";
        let values = [Value::Integer(self.no), first, end, Value::Integer(SLICE_ROWS)];
        let found = self.reader.number(sql, &values)?;
        Ok(found.is_some_and(|(count, _)| count < SLICE_ROWS))
    }

    /// What matches behind `from` and up to `to`, as many as the page takes, and all generations of
    /// the last.
    fn between(&self, from: (i64, i64), to: Option<(i64, i64)>) -> Result<Vec<Deadline>, Error> {
        let to = to.unwrap_or((i64::MAX, i64::MAX));
        let codes: Vec<String> =
            self.endings.iter().map(|ending| (*ending as i64).to_string()).collect();
        let mut condition = format!(
            "r.queue_no = ?1 AND (r.due, r.id) > (?2, ?3) AND (r.due, r.id) <= (?4, ?5)
             AND r.due < ?6 AND r.ending IN ({})",
            codes.join(", ")
        );
        let mut values: Vec<Value> =
            [self.no, from.0, from.1, to.0, to.1, self.due_to()].map(Value::Integer).into();
        if let Some((first, end)) = self.keys() {
            condition.push_str(" AND r.key >= ?7 AND r.key < ?8");
            values.extend([first, end]);
        }
        let limited =
            format!("{condition} ORDER BY r.due, r.id, r.generation LIMIT {}", self.limit);
        let mut found = self.reader.select(&limited, &values)?;
        if let Some(last) = found.last().filter(|_| found.len() == self.limit) {
            let rest = format!(
                "{condition} AND r.due = {} AND r.id = {} AND r.generation > {} ORDER BY r.generation",
                last.due.millis(),
                last.id.0,
                last.generation.0
            );
            found.extend(self.reader.select(&rest, &values)?);
        }
        Ok(found)
    }

    fn due_to(&self) -> i64 {
        self.filter.due_to.map_or(i64::MAX, |due_to| number(due_to.millis()))
    }

    /// The first text with the prefix, and the first after all of them.
    fn keys(&self) -> Option<(Value, Value)> {
        let prefix = self.filter.key_prefix.as_ref()?;
        let end = match text_after(prefix) {
            Some(end) => Value::Text(end),
            // Any blob sorts after any text.
            None => Value::Blob(Vec::new()),
        };
        Some((Value::Text(prefix.clone()), end))
    }
}

/// The smallest text that is greater than every text with this prefix.
fn text_after(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

/// One page out of those of several queues.
fn merge(mut pages: Vec<Page>, limit: usize) -> Page {
    if pages.len() == 1 {
        return pages.remove(0);
    }
    // Nothing behind the first place where one of them stopped can be shown yet.
    let stop = pages.iter().filter_map(|page| page.next).min();
    let mut deadlines: Vec<Deadline> = pages.into_iter().flat_map(|page| page.deadlines).collect();
    deadlines.retain(|one| stop.is_none_or(|stop| (one.due, one.id) <= stop));
    deadlines.sort_by_key(|one| (one.due, one.id, one.generation));
    let mut next = stop;
    if deadlines.len() > limit {
        let last = (deadlines[limit - 1].due, deadlines[limit - 1].id);
        deadlines.retain(|one| (one.due, one.id) <= last);
        next = Some(last);
    }
    Page { deadlines, next }
}
