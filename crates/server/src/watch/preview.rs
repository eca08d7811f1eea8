//! What a watch would do, without doing it: reads the open rows once and counts.
//!
//! The same statements and the same reading of times as the watch itself, so that what is counted is
//! what would be armed. It changes nothing, neither in the table nor in the data directory, and may
//! be asked while a server watches the same table.

use std::path::Path;

use duly_engine::id::QueueName;
use duly_engine::time::Time;

use super::bookmark::{self, Bookmark};
use super::row::{Row, Zones};
use super::stamp::{self, Form};
use super::task::{Obstacle, Way};
use super::watcher::{PAGE, Query, TOLERANCE};
use crate::config::{Database, Watch};
use crate::database::Value;

/// Rows counted at most: more than that is said to be more.
const MOST: usize = 1_000_000;

/// What a watch would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Rows that are open.
    pub open: usize,
    /// Of these, due already.
    pub overdue: usize,
    /// Of these, that a deadline cannot be made of, and why the first of them.
    pub unreadable: (usize, Option<String>),
    /// Of these, created in the future.
    pub ahead: usize,
    /// Open rows that have or would get a deadline; the others were created before the watch's start.
    pub armed: usize,
    /// When the newest of them was created.
    pub newest: Option<Time>,
    /// Rows created before this are left alone.
    pub start: Time,
    /// Whether the watch has been started before.
    pub has_begun: bool,
    /// There were more rows than are counted.
    pub is_cut: bool,
}

/// Reads the table once; or says what is in the way, with the key of the configuration if that is it.
pub(super) async fn preview(
    name: &QueueName,
    rules: &Watch,
    database: &Database,
    data: &Path,
    now: Time,
) -> Result<Preview, String> {
    let mut way = Way::open(database, rules).await.map_err(|obstacle| match obstacle {
        Obstacle::Fault(fault) => fault.to_string(),
        Obstacle::Wrong((key, why)) => format!("watches.{name}.{key}: {why}"),
    })?;
    let known =
        bookmark::read(&bookmark::note_of(data, name), rules).map_err(|error| error.to_string())?;
    let has_begun = known.is_some();
    let start = known.unwrap_or_else(|| Bookmark::first(rules, now)).start;
    let mut preview = Preview { start, has_begun, ..Preview::default() };
    let sample = way.ask(&Query::Sample).await?;
    let Some(form) = sample.first().and_then(|row| Form::of(&row.created)) else {
        return Ok(preview);
    };
    let zones = way.table.zones(rules);
    let from: Value = stamp::bound(Time::ZERO, form, &zones.created);
    let mut after = None;
    loop {
        let query = Query::Open { from: from.clone(), after, limit: PAGE };
        let rows = way.ask(&query).await?;
        for row in &rows {
            preview.count(row, rules, &zones, now);
        }
        after = rows.last().map(Row::cursor);
        preview.is_cut = preview.open >= MOST;
        if rows.len() < PAGE || preview.is_cut {
            return Ok(preview);
        }
    }
}

impl Preview {
    fn count(&mut self, row: &Row, rules: &Watch, zones: &Zones, now: Time) {
        self.open += 1;
        let reading = match row.read(&rules.due, zones) {
            Ok(reading) => reading,
            Err(why) => {
                self.unreadable.0 += 1;
                self.unreadable.1.get_or_insert(why);
                return;
            }
        };
        let mark = reading.mark(now.plus(TOLERANCE));
        self.overdue += usize::from(mark.due <= now);
        self.ahead += usize::from(mark.created > now.plus(TOLERANCE));
        self.armed += usize::from(mark.created >= self.start);
        self.newest = self.newest.max(Some(mark.created));
    }
}
