//! How each database writes what the others write in another way.
//!
//! Names are quoted here and nowhere else. What a statement's text means (its strings, its comments)
//! is read by whoever takes statements apart.

use crate::config::Database;

/// The language of a kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `SQLite`.
    Sqlite,
    /// `MySQL` and `MariaDB`.
    Mysql,
    /// `PostgreSQL`.
    Postgres,
}

impl Dialect {
    /// The language of this database.
    pub fn of(database: &Database) -> Dialect {
        match database {
            Database::Sqlite(_) => Dialect::Sqlite,
            Database::Mysql(_) => Dialect::Mysql,
            Database::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Where the value of this index goes, counted from 0; values stand in the order of their places.
    pub fn place(self, index: usize) -> String {
        match self {
            Dialect::Sqlite => format!("?{}", index + 1),
            Dialect::Mysql => "?".to_owned(),
            Dialect::Postgres => format!("${}", index + 1),
        }
    }

    /// A name (of a table, of a column) that stays one name whatever it contains.
    pub fn quoted(self, name: &str) -> String {
        let mark = match self {
            Dialect::Mysql => "`",
            Dialect::Sqlite | Dialect::Postgres => "\"",
        };
        format!("{mark}{}{mark}", name.replace(mark, &mark.repeat(2)))
    }

    /// An expression's value as text: the only kind of column that every database can be asked for.
    pub fn as_text(self, expression: &str) -> String {
        let kind = if self == Dialect::Mysql { "CHAR" } else { "TEXT" };
        format!("CAST({expression} AS {kind})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_name() {
        for (dialect, quoted) in [
            (Dialect::Sqlite, "\"a\"\"; DROP TABLE `b`\""),
            (Dialect::Mysql, "`a\"; DROP TABLE ``b```"),
            (Dialect::Postgres, "\"a\"\"; DROP TABLE `b`\""),
        ] {
            assert_eq!(dialect.quoted("a\"; DROP TABLE `b`"), quoted);
        }
    }
}
