//! The watch's questions in the database's words, and its answers as rows.
//!
//! Eight columns always: key, created, due, whether the row is open, how it was closed, and for the
//! report of a watch that only observes whether it was cancelled, whether it was paid and when it was
//! changed. Names
//! come from the catalogue and are quoted, values are bound, and the operator's own condition stands
//! in parentheses of its own. Searches go along (created, key), so that an index on `created`, or one
//! that begins with what the condition compares, is all they need.

use super::catalogue::Catalogue;
use super::row::{Row, Zones};
use super::watcher::Query;
use crate::config::{Watch, WatchDue, WatchReport};
use crate::database::{Dialect, Row as Answer, Value};

/// How one table is asked.
#[derive(Clone, Debug)]
pub(super) struct Table {
    catalogue: Catalogue,
    table: String,
    key_name: String,
    created_name: String,
    key: String,
    created: String,
    open: String,
    /// The columns, and the same where every row is open.
    columns: [String; 2],
}

impl Table {
    /// The table of a watch that its catalogue has nothing against.
    pub(super) fn new(catalogue: Catalogue, rules: &Watch) -> Table {
        let dialect = catalogue.dialect;
        let column = |name: &str| catalogue.quoted_column(name);
        let text = |name: &str| dialect.as_text(&column(name));
        let none = || dialect.as_text("NULL");
        let due = match &rules.due {
            WatchDue::After(_) => none(),
            WatchDue::Column(name) => text(name),
        };
        let outcome = rules.outcome.as_deref().map_or_else(none, text);
        // On a line of its own: a comment in the condition ends with it.
        let condition = |words: &str| format!("(\n{words}\n)");
        let open = condition(&rules.open);
        let holds = |condition: &str| format!("CASE WHEN {condition} THEN 1 ELSE 0 END");
        let report = if rules.acts { &WatchReport::default() } else { &rules.report };
        let told = |words: Option<&String>| {
            words.map_or_else(|| "0".to_owned(), |words| holds(&condition(words)))
        };
        let changed = report.changed.as_deref().map_or_else(none, text);
        let columns = |is_open: &str, cancelled: &str, paid: &str, changed: &str| {
            let (key, created) = (text(&rules.key), text(&rules.created));
            format!("{key}, {created}, {due}, {is_open}, {outcome}, {cancelled}, {paid}, {changed}")
        };
        let (cancelled, paid) = (told(report.cancelled.as_ref()), told(report.paid.as_ref()));
        let columns =
            [columns(&holds(&open), &cancelled, &paid, &changed), columns("1", "0", "0", &none())];
        Table {
            table: catalogue.quoted(),
            key_name: rules.key.clone(),
            created_name: rules.created.clone(),
            key: column(&rules.key),
            created: column(&rules.created),
            open,
            columns,
            catalogue,
        }
    }

    /// What the database said about the table.
    pub(super) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The zones that this table's columns are read in, each by its own type.
    pub(super) fn zones(&self, rules: &Watch) -> Zones {
        let zone = |column: &str| self.catalogue.zone_to_read(column, &rules.time_zone);
        let due = match &rules.due {
            WatchDue::After(_) => rules.time_zone.clone(),
            WatchDue::Column(column) => zone(column),
        };
        let changed = rules.report.changed.as_deref().map_or_else(|| due.clone(), zone);
        Zones { created: zone(&rules.created), due, changed }
    }

    /// A question as a statement and its values; none if it needs no asking.
    pub(super) fn statement(&self, query: &Query) -> Option<(String, Vec<Value>)> {
        let Table { table, key, created, open, columns, catalogue, .. } = self;
        let [any, opened] = columns;
        let place = |index| catalogue.dialect.place(index);
        Some(match query {
            Query::Sample => {
                let from = format!("FROM {table} WHERE {created} IS NOT NULL LIMIT 1");
                (format!("SELECT {opened} {from}"), Vec::new())
            }
            Query::Newest(from) => (
                format!(
                    "SELECT {opened} FROM {table} WHERE {created} >= {} AND {open} \
                     ORDER BY {created} DESC LIMIT 1",
                    place(0)
                ),
                vec![from.clone()],
            ),
            Query::Open { from, after: None, limit } => (
                format!(
                    "SELECT {opened} FROM {table} WHERE {created} >= {} AND {open} \
                     ORDER BY {created}, {key} LIMIT {limit}",
                    place(0)
                ),
                vec![from.clone()],
            ),
            Query::Open { after: Some(after), limit, .. } => (
                format!(
                    "SELECT {opened} FROM {table} WHERE {created} >= {} \
                     AND NOT ({created} = {} AND {key} <= {}) AND {open} \
                     ORDER BY {created}, {key} LIMIT {limit}",
                    place(0),
                    place(1),
                    place(2)
                ),
                vec![after.created.clone(), after.created.clone(), after.key.clone()],
            ),
            Query::Keys(keys) => {
                let possible = |key: &&str| catalogue.can_be_key(&self.key_name, key);
                let keys = keys.iter().map(duly_engine::id::Key::as_str).filter(possible);
                let mut values: Vec<Value> = keys.map(|key| self.key_value(key)).collect();
                let last = values.last()?.clone();
                // Few lengths, so that there are few statements to prepare.
                values.resize(values.len().next_power_of_two(), last);
                let places: Vec<String> = (0..values.len()).map(place).collect();
                let places = places.join(", ");
                (format!("SELECT {any} FROM {table} WHERE {key} IN ({places})"), values)
            }
        })
    }

    /// All forms of questions, to be read by the database and explained.
    pub(super) fn examples(&self) -> Vec<(String, Vec<Value>)> {
        let created = self.catalogue.example_of(&self.created_name);
        let key = self.catalogue.example_of(&self.key_name);
        let cursor = super::row::Cursor { created: created.clone(), key };
        let open = |after| Query::Open { from: created.clone(), after, limit: 1 };
        let queries = [Query::Newest(created.clone()), open(None), open(Some(cursor))];
        let one = super::row::key_of(&Value::Integer(1)).expect("a number is a key");
        let keys = self.statement(&Query::Keys(vec![one]));
        queries.iter().filter_map(|query| self.statement(query)).chain(keys).collect()
    }

    fn key_value(&self, key: &str) -> Value {
        match self.catalogue.dialect {
            // A number beside a column of text is compared as text there, and the other way round.
            Dialect::Sqlite => number_or_text(key.to_owned()),
            Dialect::Mysql | Dialect::Postgres => Value::Text(key.to_owned()),
        }
    }
}

/// A row of an answer, read.
pub(super) fn read(answer: Answer) -> Result<Row, String> {
    let [key, created, due, is_open, outcome, is_cancelled, is_paid, changed] =
        <[Option<String>; 8]>::try_from(answer).map_err(|row| {
            format!("the database gave {} columns where 8 were asked for", row.len())
        })?;
    let holds = |flag: Option<String>| flag.as_deref() == Some("1");
    Ok(Row {
        key: value(key),
        created: value(created),
        due: Some(value(due)),
        is_open: holds(is_open),
        outcome: outcome.map(Value::Text),
        is_cancelled: holds(is_cancelled),
        is_paid: holds(is_paid),
        changed: changed.map(number_or_text),
    })
}

/// A text from the database as the value that it compares equal to.
fn value(text: Option<String>) -> Value {
    text.map_or(Value::Null, number_or_text)
}

fn number_or_text(text: String) -> Value {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => Value::Integer(number),
        _ => Value::Text(text),
    }
}
