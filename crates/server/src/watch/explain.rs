//! Would the watch's questions search the whole table?
//!
//! The database is asked how it would answer, not made to answer. What counts is whether there is an
//! index that leads to the wanted rows, not whether the database would use it today: on a table of
//! ten rows none does. A question that no index helps is refused, with the `CREATE INDEX` to run,
//! unless the operator allows it.

use super::catalogue::{Catalogue, Wrong};
use super::task::Obstacle;
use crate::config::{Watch, WatchDue};
use crate::database::{Connection, Dialect, Fault, Row, Value};

/// Refuses a question that no index helps.
pub(super) async fn check(
    connection: &mut Connection,
    catalogue: &Catalogue,
    rules: &Watch,
    questions: &[(String, Vec<Value>)],
) -> Result<(), Obstacle> {
    if rules.allow_scan {
        return Ok(());
    }
    let mut unhelped = false;
    for (statement, values) in questions {
        let plan = plan(connection, catalogue.dialect, statement, values).await?;
        unhelped |= searches_all(catalogue.dialect, &plan);
    }
    if unhelped { Err(Obstacle::Wrong(advice(catalogue, rules))) } else { Ok(()) }
}

/// The database's own words about how it would answer.
async fn plan(
    connection: &mut Connection,
    dialect: Dialect,
    statement: &str,
    values: &[Value],
) -> Result<Vec<Row>, Fault> {
    match dialect {
        Dialect::Sqlite => {
            connection.query(&format!("EXPLAIN QUERY PLAN {statement}"), values).await
        }
        Dialect::Mysql => connection.query(&format!("EXPLAIN {statement}"), values).await,
        Dialect::Postgres => {
            // A small table is read from one end to the other whatever indexes it has: asked for a
            // plan without that, the database shows what it has.
            connection.begin().await?;
            connection.execute("SET LOCAL enable_seqscan = off", &[]).await?;
            let plan = connection.query(&format!("EXPLAIN {statement}"), values).await;
            connection.rollback().await?;
            plan
        }
    }
}

/// Does this plan read the whole table, because it has to?
fn searches_all(dialect: Dialect, plan: &[Row]) -> bool {
    let cell = |row: &Row, index: usize| row.get(index).cloned().flatten().unwrap_or_default();
    match dialect {
        // id, parent, notused, detail
        Dialect::Sqlite => plan.iter().any(|row| cell(row, 3).starts_with("SCAN ")),
        // id, select_type, table, type, possible_keys, …
        Dialect::Mysql => plan
            .iter()
            .any(|row| matches!(cell(row, 3).as_str(), "ALL" | "index") && cell(row, 4).is_empty()),
        Dialect::Postgres => !plan.iter().any(|row| cell(row, 0).contains("Index Cond:")),
    }
}

/// What to do about it.
fn advice(catalogue: &Catalogue, rules: &Watch) -> Wrong {
    let created = catalogue.quoted_column(&rules.created);
    let compared = words(&rules.open).into_iter().find_map(|word| catalogue.column(&word));
    let compared = compared.filter(|column| !column.name.eq_ignore_ascii_case(&rules.created));
    let columns = match compared {
        Some(column) => format!("{}, {created}", catalogue.dialect.quoted(&column.name)),
        None => created,
    };
    let name = catalogue.dialect.quoted(&format!("duly_{}", catalogue.table));
    let table = catalogue.quoted();
    let due = match &rules.due {
        WatchDue::After(_) => "",
        WatchDue::Column(_) => {
            " (rows are found by when they were created, not by when they are due)"
        }
    };
    let why = format!(
        "no index leads to the open rows, so every look would search the whole table{due}. Run \
         CREATE INDEX {name} ON {table} ({columns}); and see that {} is indexed. Or set it to true",
        catalogue.quoted_column(&rules.key)
    );
    ("allow_scan", why)
}

/// The words of a condition that may be names of columns.
fn words(condition: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in condition.split('\'').enumerate() {
        // What is between quotes is a value.
        if index % 2 == 0 {
            let names = part.split(|char: char| !(char.is_alphanumeric() || char == '_'));
            words.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(rows: &[&[&str]]) -> Vec<Row> {
        let cell = |cell: &&str| Some((*cell).to_owned()).filter(|cell| cell != "NULL");
        rows.iter().map(|row| row.iter().map(cell).collect()).collect()
    }

    #[test]
    fn a_search_of_everything_is_told_from_one_with_an_index() {
        for (dialect, row, all) in [
            (Dialect::Sqlite, ["5", "0", "0", "SCAN orders"].as_slice(), true),
            (Dialect::Sqlite, &["5", "0", "0", "SCAN orders USING INDEX by_id"], true),
            (Dialect::Sqlite, &["5", "0", "0", "SEARCH orders USING INDEX x (a=? AND b>?)"], false),
            (Dialect::Mysql, &["1", "SIMPLE", "orders", "ALL", "NULL"], true),
            (Dialect::Mysql, &["1", "SIMPLE", "orders", "index", "NULL"], true),
            (Dialect::Mysql, &["1", "SIMPLE", "orders", "ALL", "open_orders"], false),
            (Dialect::Mysql, &["1", "SIMPLE", "orders", "range", "open_orders"], false),
            (Dialect::Mysql, &["1", "SIMPLE", "NULL", "NULL", "NULL"], false),
            (Dialect::Postgres, &["Seq Scan on orders  (cost=1..2 rows=3 width=4)"], true),
            (Dialect::Postgres, &["  Filter: (status = 'unpaid'::text)"], true),
            (Dialect::Postgres, &["    Index Cond: (created >= '…'::timestamp)"], false),
        ] {
            assert_eq!(searches_all(dialect, &plan_of(&[row])), all, "{dialect:?} {row:?}");
        }
    }

    #[test]
    fn values_of_a_condition_are_not_taken_for_columns() {
        assert_eq!(words("status = 'a b' AND paid_at IS NULL")[0], "status");
        assert!(!words("status = 'created'").contains(&"created".to_owned()));
    }
}
