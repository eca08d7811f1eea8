//! The table's statements, in the language of its database.
//!
//! The columns are fixed (`id`, `op`, `queue`, `deadline_key`, `body`, `answer`); only the table's
//! name is the operator's, and it stays a name whatever it contains.

use super::round::{Fate, Row};
use crate::database::{Connection, Dialect, Fault, Value};

/// Rows of one round at most.
pub(super) const ROWS: usize = 200;

/// A table and how it is asked.
#[derive(Debug)]
pub(super) struct Table {
    waiting: String,
    remove: String,
    answer: String,
}

impl Table {
    /// The table of this name, perhaps with its schema before a dot.
    pub(super) fn new(name: &str, dialect: Dialect) -> Table {
        let table: Vec<String> = name.split('.').map(|part| dialect.quoted(part)).collect();
        let table = table.join(".");
        let column = |name: &str| dialect.quoted(name);
        let shown = ["id", "op", "queue", "deadline_key", "body"]
            .map(|name| dialect.as_text(&column(name)))
            .join(", ");
        let (id, answer) = (column("id"), column("answer"));
        let place = |index| dialect.place(index);
        Table {
            waiting: format!(
                "SELECT {shown} FROM {table} WHERE {answer} IS NULL ORDER BY {table}.{id} LIMIT {ROWS}"
            ),
            remove: format!("DELETE FROM {table} WHERE {id} = {}", place(0)),
            answer: format!("UPDATE {table} SET {answer} = {} WHERE {id} = {}", place(0), place(1)),
        }
    }

    /// Its statements, for the database to read before anything is asked.
    pub(super) fn statements(&self) -> [&str; 3] {
        [&self.waiting, &self.remove, &self.answer]
    }

    /// The rows that wait, oldest first.
    pub(super) async fn waiting(&self, connection: &mut Connection) -> Result<Vec<Row>, Fault> {
        let rows = connection.query(&self.waiting, &[]).await?;
        let text = |column: Option<String>| column.unwrap_or_default();
        Ok(rows
            .into_iter()
            .filter_map(|columns| {
                let [id, op, queue, key, body] = <[_; 5]>::try_from(columns).ok()?;
                Some(Row {
                    id: id?,
                    op: text(op),
                    queue: text(queue),
                    key: text(key),
                    body: body.filter(|body| !body.is_empty()).unwrap_or_else(|| "{}".to_owned()),
                })
            })
            .collect())
    }

    /// Lets the rows go that are done, and answers those that were refused; all of it or nothing.
    pub(super) async fn clear(
        &self,
        connection: &mut Connection,
        fates: &[(Row, Fate)],
    ) -> Result<(), Fault> {
        if fates.iter().all(|(_, fate)| *fate == Fate::Later) {
            return Ok(());
        }
        connection.begin().await?;
        for (row, fate) in fates {
            let id = Value::from(row.id.as_str());
            match fate {
                Fate::Done => connection.execute(&self.remove, &[id]).await?,
                Fate::Refused(answer) => {
                    let answer = Value::from(answer.as_str());
                    connection.execute(&self.answer, &[answer, id]).await?
                }
                Fate::Later => continue,
            };
        }
        connection.commit().await
    }
}
