//! What the database says about a table: its columns and their types.
//!
//! Names that the operator wrote are looked up here before they are put into any statement, so a
//! misspelt one is a sentence at the start, with the names there are, and never a statement of its
//! own. Nothing here looks at a row.

use jiff::tz::TimeZone;

use crate::config::{Watch, WatchDue};
use crate::database::{Connection, Dialect, Fault, Value};

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// Its name, as the database writes it.
    pub(super) name: String,
    /// Its type, in the database's words and in lower case.
    pub(super) kind: String,
}

/// A table and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Catalogue {
    pub(super) dialect: Dialect,
    /// The schema, if the operator named one.
    pub(super) schema: Option<String>,
    pub(super) table: String,
    pub(super) columns: Vec<Column>,
}

/// Whether a column says by itself which instants it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// It does: a number since 1970, or a type with a zone.
    Carried,
    /// It holds local times, and somebody must say where.
    Needed,
}

/// What is wrong with a watch, by the key of its table in the configuration.
pub(super) type Wrong = (&'static str, String);

impl Catalogue {
    /// Reads what the database says. A table that is not there has no columns.
    pub(super) async fn read(
        connection: &mut Connection,
        dialect: Dialect,
        written: &str,
    ) -> Result<Catalogue, Fault> {
        let (schema, table) = match written.split_once('.') {
            Some((schema, table)) => (Some(schema.to_owned()), table.to_owned()),
            None => (None, written.to_owned()),
        };
        let asked_schema = schema.as_deref().map_or(Value::Null, Value::from);
        let name = Value::from(table.as_str());
        let place = |index| dialect.place(index);
        let (statement, values) = match dialect {
            Dialect::Sqlite => (
                format!("SELECT name, type FROM pragma_table_info({}) ORDER BY cid", place(0)),
                vec![name],
            ),
            Dialect::Mysql => (
                format!(
                    "SELECT CAST(column_name AS CHAR), CAST(data_type AS CHAR) \
                     FROM information_schema.columns \
                     WHERE table_schema = COALESCE({}, DATABASE()) AND table_name = {} \
                     ORDER BY ordinal_position",
                    place(0),
                    place(1)
                ),
                vec![asked_schema, name],
            ),
            Dialect::Postgres => (
                format!(
                    "SELECT CAST(column_name AS TEXT), CAST(data_type AS TEXT) \
                     FROM information_schema.columns \
                     WHERE table_schema = COALESCE(CAST({} AS TEXT), ( \
                       SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                       WHERE c.relname = {} AND n.nspname = ANY (current_schemas(false)) \
                       ORDER BY array_position(current_schemas(false), n.nspname) LIMIT 1)) \
                     AND table_name = {} ORDER BY ordinal_position",
                    place(0),
                    place(1),
                    place(2)
                ),
                vec![asked_schema, name.clone(), name],
            ),
        };
        let rows = connection.query(&statement, &values).await?;
        let columns = rows.into_iter().filter_map(|row| {
            let [name, kind] = <[Option<String>; 2]>::try_from(row).ok()?;
            Some(Column { name: name?, kind: kind.unwrap_or_default().to_ascii_lowercase() })
        });
        Ok(Catalogue { dialect, schema, table, columns: columns.collect() })
    }

    /// The column of this name; databases fold the case of names, and so does this.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        let exact = self.columns.iter().find(|column| column.name == name);
        exact.or_else(|| self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
    }

    /// Finds what the table says against the watch.
    pub(super) fn check(&self, rules: &Watch) -> Result<(), Wrong> {
        if self.columns.is_empty() {
            return Err((
                "table",
                format!("there is no table {:?}, or it may not be read", rules.table),
            ));
        }
        let due = match &rules.due {
            WatchDue::After(_) => None,
            WatchDue::Column(name) => Some(name),
        };
        let wanted = [
            ("key", Some(&rules.key)),
            ("created", Some(&rules.created)),
            ("due", due),
            ("outcome", rules.outcome.as_ref()),
            ("report.changed", rules.report.changed.as_ref()),
        ];
        for (key, name) in wanted {
            let Some(name) = name else { continue };
            let Some(column) = self.column(name) else {
                let names: Vec<&str> = self.columns.iter().map(|it| it.name.as_str()).collect();
                let why =
                    format!("{} has no column {name:?}; it has {}", rules.table, names.join(", "));
                return Err((key, why));
            };
            let holds_times = matches!(key, "created" | "due" | "report.changed");
            if holds_times && self.zone_of(column) == Zone::Needed && !rules.names_zone {
                let why = format!(
                    "is missing: {name} ({}) carries no zone; write the one that the shop writes its \
                     times in, such as \"UTC\" or \"Europe/Berlin\"",
                    column.kind
                );
                return Err(("time_zone", why));
            }
        }
        Ok(())
    }

    /// Does the column say by itself which instants it means?
    pub(super) fn zone_of(&self, column: &Column) -> Zone {
        let kind = column.kind.as_str();
        let is_zoned = match self.dialect {
            Dialect::Sqlite => false,
            Dialect::Mysql => kind == "timestamp",
            Dialect::Postgres => kind == "timestamp with time zone",
        };
        if is_zoned || is_number(kind) { Zone::Carried } else { Zone::Needed }
    }

    /// The zone in which a column's values are read: those of a type with a zone come in UTC, whatever
    /// the watch's zone is.
    pub(super) fn zone_to_read(&self, name: &str, otherwise: &TimeZone) -> TimeZone {
        let column = self.column(name);
        let carries = |it: &Column| !is_number(&it.kind) && self.zone_of(it) == Zone::Carried;
        if column.is_some_and(carries) { TimeZone::UTC } else { otherwise.clone() }
    }

    /// The table's name for a statement.
    pub(super) fn quoted(&self) -> String {
        let table = self.dialect.quoted(&self.table);
        match &self.schema {
            Some(schema) => format!("{}.{table}", self.dialect.quoted(schema)),
            None => table,
        }
    }

    /// A column's name for a statement.
    pub(super) fn quoted_column(&self, name: &str) -> String {
        let name = self.column(name).map_or(name, |column| &column.name);
        self.dialect.quoted(name)
    }

    /// A value that the column could hold, where any will do.
    pub(super) fn example_of(&self, name: &str) -> Value {
        let kind = self.column(name).map_or("", |column| column.kind.as_str());
        match kind {
            kind if is_number(kind) => Value::Integer(1_795_348_800),
            "uuid" => Value::from("00000000-0000-4000-8000-000000000000"),
            _ => Value::from("2026-11-22 12:00:00"),
        }
    }

    /// What keys are, so that one that cannot be there is not asked for.
    pub(super) fn can_be_key(&self, name: &str, key: &str) -> bool {
        let kind = self.column(name).map_or("", |column| column.kind.as_str());
        if self.dialect == Dialect::Sqlite {
            return true;
        }
        if is_number(kind) {
            return key.parse::<i64>().is_ok_and(|number| number.to_string() == key);
        }
        if kind == "uuid" {
            let is_digit = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
            return key.len() == 36 && key.bytes().all(is_digit);
        }
        true
    }
}

/// Is it a type of numbers, in any of the databases' words?
fn is_number(kind: &str) -> bool {
    let kind = kind.split('(').next().unwrap_or_default().trim();
    kind.contains("int") && kind != "interval" && kind != "point"
        || matches!(
            kind,
            "numeric" | "decimal" | "real" | "float" | "double" | "double precision" | "serial"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(dialect: Dialect, columns: &[(&str, &str)]) -> Catalogue {
        let column = |(name, kind): &(&str, &str)| Column {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
        };
        Catalogue {
            dialect,
            schema: None,
            table: "orders".to_owned(),
            columns: columns.iter().map(column).collect(),
        }
    }

    #[test]
    fn a_column_says_by_its_type_whether_a_zone_must_be_named() {
        for (dialect, kind, zone) in [
            (Dialect::Sqlite, "text", Zone::Needed),
            (Dialect::Sqlite, "integer", Zone::Carried),
            (Dialect::Sqlite, "datetime", Zone::Needed),
            (Dialect::Mysql, "datetime", Zone::Needed),
            (Dialect::Mysql, "timestamp", Zone::Carried),
            (Dialect::Mysql, "bigint", Zone::Carried),
            (Dialect::Postgres, "timestamp without time zone", Zone::Needed),
            (Dialect::Postgres, "timestamp with time zone", Zone::Carried),
            (Dialect::Postgres, "interval", Zone::Needed),
        ] {
            let catalogue = catalogue(dialect, &[("at", kind)]);
            assert_eq!(catalogue.zone_of(&catalogue.columns[0]), zone, "{dialect:?} {kind}");
        }
    }

    #[test]
    fn each_column_is_read_in_the_zone_of_its_own_type() {
        let berlin = crate::units::time_zone("Europe/Berlin").expect("it is known");
        for (dialect, zoned, local) in [
            (Dialect::Mysql, "timestamp", "datetime"),
            (Dialect::Postgres, "timestamp with time zone", "timestamp without time zone"),
        ] {
            let catalogue = catalogue(dialect, &[("created", zoned), ("due", local)]);
            assert_eq!(catalogue.zone_to_read("created", &berlin), TimeZone::UTC, "{zoned}");
            assert_eq!(catalogue.zone_to_read("due", &berlin), berlin, "{local}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_in_the_column_is_not_asked_for() {
        let numbers = catalogue(Dialect::Postgres, &[("id", "bigint"), ("uid", "uuid")]);
        assert!(numbers.can_be_key("id", "42"));
        for key in ["042", "x", "", "1e3", "9223372036854775808"] {
            assert!(!numbers.can_be_key("id", key), "{key}");
        }
        assert!(numbers.can_be_key("uid", "9f8b7c6d-0000-4000-8000-1234567890ab"));
        assert!(!numbers.can_be_key("uid", "'; DROP TABLE orders; --"));
    }
}
