//! `MySQL` and `MariaDB`.
//!
//! Values are bound as text in the binary protocol: no quoting of ours, so no `sql_mode` and no
//! character set can turn a value into a statement, and a text column keeps its index. Rows are
//! counted as found, not as changed. The session keeps UTC and its own limits on locks and
//! statements; how strict it is with values stays as the shop has it, with one exception: these
//! servers take `42abc` for 42 where a number is looked for, and `abc` for 0. They only warn of it;
//! here it is a fault, or a key would meet another order than its own.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{
    Conn, DriverError, Error, IoError, Opts, OptsBuilder, Params, ServerError, SslOpts,
};

use super::{Described, Fault, Outcome, PREPARED, Patience, Trouble, Value, Want, tls};
use crate::config::{Place, Reach, Tls};

/// When a connection without a word is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The number of the warning that a text was read as a number that it is not.
const MISREAD: u16 = 1292;

/// A connection; the library keeps its prepared statements.
pub(super) struct Session {
    connection: Conn,
}

impl Session {
    pub(super) async fn open(reach: &Reach, patience: Patience) -> Result<Session, Fault> {
        if reach.tls != Tls::Off {
            // The library says less of a file of authorities that it cannot use.
            tls::config(reach)?;
        }
        let connection = match connect(reach, reach.tls != Tls::Off).await {
            Err(Error::Driver(DriverError::NoClientSslFlagFromServer))
                if reach.tls == Tls::Preferred =>
            {
                connect(reach, false).await
            }
            connected => connected,
        };
        let mut session = Session { connection: connection.map_err(|error| refused(&error))? };
        session.set_up(patience).await.map_err(|error| fault(&error))?;
        Ok(session)
    }

    async fn set_up(&mut self, patience: Patience) -> Result<(), Error> {
        let about: Option<(String, Option<String>)> =
            self.connection.query_first("SELECT VERSION(), @@binlog_format").await?;
        let (version, binlog) = about.unwrap_or_default();
        let lock = patience.lock.as_secs().max(1);
        let settings = format!(
            "SET SESSION autocommit = 1, time_zone = '+00:00', innodb_lock_wait_timeout = {lock}, \
             lock_wait_timeout = {lock}"
        );
        self.connection.query_drop(settings).await?;
        if version.contains("MariaDB") {
            let limit = patience.run.as_secs_f64();
            let limit = format!("SET SESSION max_statement_time = {limit}");
            self.connection.query_drop(limit).await?;
        }
        // The guard sees what is committed under either isolation; this one locks fewer rows. A
        // server that logs statements could not write under it.
        if !binlog.is_some_and(|format| format.eq_ignore_ascii_case("STATEMENT")) {
            let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
            self.connection.query_drop(isolation).await?;
        }
        Ok(())
    }

    pub(super) async fn describe(&mut self, statement: &str) -> Result<Described, Fault> {
        let prepared = self.connection.prep(statement).await.map_err(|error| fault(&error))?;
        Ok(Described {
            parameters: usize::from(prepared.num_params()),
            columns: prepared.columns().iter().map(|c| c.name_str().into_owned()).collect(),
        })
    }

    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        let begun = self.connection.query_drop("START TRANSACTION").await;
        begun.map_err(|error| fault(&error))
    }

    pub(super) async fn end(&mut self, commit: bool) -> Result<(), Fault> {
        let statement = if commit { "COMMIT" } else { "ROLLBACK" };
        self.connection.query_drop(statement).await.map_err(|error| fault(&error))
    }

    pub(super) async fn run(
        &mut self,
        statement: &str,
        values: &[Value],
        want: Want,
    ) -> Result<Outcome, Fault> {
        let outcome = self.run_plainly(statement, values, want).await;
        let outcome = outcome.map_err(|error| fault(&error))?;
        match self.misread().await.map_err(|error| fault(&error))? {
            Some(words) => Err(Fault::new(Trouble::Value, words)),
            None => Ok(outcome),
        }
    }

    /// What the server said of a text in the last statement that it could only read in part.
    async fn misread(&mut self) -> Result<Option<String>, Error> {
        if self.connection.get_warnings() == 0 {
            return Ok(None);
        }
        let warnings: Vec<(String, u16, String)> = self.connection.query("SHOW WARNINGS").await?;
        let is_misread = |(level, number, _): &(String, u16, String)| {
            *number == MISREAD && level.as_str() != "Note"
        };
        Ok(warnings.into_iter().find(is_misread).map(|(_, _, words)| words))
    }

    async fn run_plainly(
        &mut self,
        statement: &str,
        values: &[Value],
        want: Want,
    ) -> Result<Outcome, Error> {
        let prepared = self.connection.prep(statement).await?;
        let values = if values.is_empty() {
            Params::Empty
        } else {
            Params::Positional(values.iter().map(|value| value.text().into()).collect())
        };
        let mut answer = self.connection.exec_iter(prepared, values).await?;
        let mut outcome = Outcome { number: answer.affected_rows(), rows: Vec::new() };
        if !answer.columns_ref().is_empty() {
            outcome.number = 0;
            while let Some(row) = answer.next().await? {
                outcome.number += 1;
                if want == Want::Rows {
                    let values = row.unwrap_raw().into_iter();
                    outcome.rows.push(values.map(|value| value.and_then(text)).collect());
                }
            }
        }
        answer.drop_result().await?;
        Ok(outcome)
    }
}

async fn connect(reach: &Reach, encrypted: bool) -> Result<Conn, Error> {
    let mut options = OptsBuilder::default()
        .user(Some(&reach.user))
        .pass(Some(reach.password.reveal()))
        .db_name(Some(&reach.name))
        .prefer_socket(false)
        .client_found_rows(true)
        .stmt_cache_size(PREPARED)
        .tcp_keepalive(Some(KEEP_ALIVE));
    options = match &reach.place {
        Place::Socket(path) => options.socket(Some(path.to_string_lossy().into_owned())),
        Place::Address { host, port } => options.ip_or_hostname(host).tcp_port(*port),
    };
    if encrypted {
        let authorities = reach.ca_file.iter().map(|path| path.clone().into()).collect();
        options = options.ssl_opts(SslOpts::default().with_root_certs(authorities));
    }
    Conn::new(Opts::from(options)).await
}

/// A value as the server would write it.
fn text(value: mysql_async::Value) -> Option<String> {
    use mysql_async::Value as Given;
    let fraction = |micros: u32| match micros {
        0 => String::new(),
        micros => format!(".{micros:06}"),
    };
    Some(match value {
        Given::NULL => return None,
        Given::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Given::Int(number) => number.to_string(),
        Given::UInt(number) => number.to_string(),
        Given::Float(number) => number.to_string(),
        Given::Double(number) => number.to_string(),
        Given::Date(year, month, day, hour, minute, second, micros) => format!(
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{}",
            fraction(micros)
        ),
        Given::Time(is_negative, days, hours, minutes, seconds, micros) => format!(
            "{}{:02}:{minutes:02}:{seconds:02}{}",
            if is_negative { "-" } else { "" },
            days * 24 + u32::from(hours),
            fraction(micros)
        ),
    })
}

/// Why there is no session. The server's words name users and hosts.
fn refused(error: &Error) -> Fault {
    match error {
        Error::Server(said) => {
            let words = match said.code {
                1044 | 1045 | 1130 | 1251 | 1698 | 1820 | 1862 | 3118 | 4151 => {
                    "it refuses the login".to_owned()
                }
                1049 => "it has no database of that name".to_owned(),
                _ => words(&said.message),
            };
            Fault::new(Trouble::Unavailable, words)
        }
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            Fault::gone("no connection: tls: the server does not offer it")
        }
        other => Fault::gone(format!("no connection: {}", of_connection(other))),
    }
}

/// Whose fault is it?
fn fault(error: &Error) -> Fault {
    match error {
        Error::Server(said) => Fault::new(trouble(said), words(&said.message)),
        Error::Driver(DriverError::PacketTooLarge) => {
            Fault::new(Trouble::Value, "a value is longer than the server takes")
        }
        Error::Driver(
            DriverError::MixedParams
            | DriverError::StmtParamsMismatch { .. }
            | DriverError::LocalInfile(_),
        ) => Fault::new(Trouble::Statement, error.to_string()),
        other => Fault::gone(format!("the connection was lost: {}", of_connection(other))),
    }
}

fn of_connection(error: &Error) -> String {
    match error {
        Error::Io(IoError::Io(error)) => tls::words(error),
        Error::Io(IoError::Tls(error)) => tls::words(error),
        Error::Driver(error) => error.to_string(),
        other => tls::words(other),
    }
}

/// The server's words without the names of users and hosts: `'user'@'host'`.
fn words(message: &str) -> String {
    let mut words = message.to_owned();
    while let Some(at) = words.find("'@'") {
        let begin = words[..at].rfind('\'').unwrap_or(at);
        let end = words[at + 3..].find('\'').map_or(words.len(), |end| at + 3 + end + 1);
        words.replace_range(begin..end, "of Duly");
    }
    words
}

/// The troubles by the server's number.
const TROUBLES: [(Trouble, &[u16]); 7] = [
    // Shutting down, killed, idle for too long.
    (Trouble::Gone, &[1053, 1077, 1079, 1080, 1184, 1927, 4031]),
    // Read-only, full, out of connections, out of memory, a cluster that is not ready.
    (
        Trouble::Unavailable,
        &[
            1021, 1037, 1038, 1040, 1041, 1047, 1114, 1129, 1135, 1203, 1226, 1290, 1637, 1792,
            1836, 3100, 3101,
        ],
    ),
    // Lock wait, deadlock, serialization failure, a table that changed under the statement.
    (Trouble::Passing, &[1020, 1205, 1213, 1317, 1412, 1613, 1614, 1615, 1689, 3572]),
    (Trouble::Late, &[1969, 3024]),
    // A database, table, column, index, function, or a view on what is not there.
    (Trouble::Missing, &[1049, 1054, 1109, 1146, 1176, 1305, 1356, 1932]),
    // A statement or a permission, where the state says something else.
    (Trouble::Statement, &[1044, 1045, 1142, 1143, 1227, 1295, 1370]),
    // Values that are too long, out of range, no JSON, or that a trigger does not take.
    (
        Trouble::Value,
        &[
            1048, 1062, 1153, 1242, 1264, 1265, 1292, 1364, 1365, 1366, 1367, 1406, 1411, 1451,
            1452, 1525, 1644, 1690, 3140, 3141, 3156, 3157, 3819, 4025, 4037, 4038, 4161,
        ],
    ),
];

fn trouble(said: &ServerError) -> Trouble {
    let by_number = TROUBLES.iter().find(|(_, numbers)| numbers.contains(&said.code));
    if let Some((trouble, _)) = by_number {
        return *trouble;
    }
    match said.state.get(..2) {
        Some("08") => Trouble::Gone,
        Some("42") => Trouble::Statement,
        Some("21" | "22" | "23" | "45") => Trouble::Value,
        _ => Trouble::Passing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_sorted_by_the_servers_number_and_else_by_its_state() {
        for (code, state, expected) in [
            (1053, "08S01", Trouble::Gone),
            (1927, "70100", Trouble::Gone),
            (4031, "HY000", Trouble::Gone),
            (1040, "08004", Trouble::Unavailable),
            (1226, "42000", Trouble::Unavailable),
            (1290, "HY000", Trouble::Unavailable),
            (1792, "25006", Trouble::Unavailable),
            (1836, "HY000", Trouble::Unavailable),
            (1205, "HY000", Trouble::Passing),
            (1213, "40001", Trouble::Passing),
            (1317, "70100", Trouble::Passing),
            (1020, "HY000", Trouble::Passing),
            (1969, "70100", Trouble::Late),
            (3024, "HY000", Trouble::Late),
            (1146, "42S02", Trouble::Missing),
            (1054, "42S22", Trouble::Missing),
            (1064, "42000", Trouble::Statement),
            (1142, "42000", Trouble::Statement),
            (1143, "42000", Trouble::Statement),
            (1044, "42000", Trouble::Statement),
            (1048, "23000", Trouble::Value),
            (1062, "23000", Trouble::Value),
            (1292, "22007", Trouble::Value),
            (1366, "HY000", Trouble::Value),
            (1406, "22001", Trouble::Value),
            (1452, "23000", Trouble::Value),
            (1644, "45000", Trouble::Value),
            (3819, "HY000", Trouble::Value),
            (4025, "23000", Trouble::Value),
            // What a later version invents.
            (9999, "HY000", Trouble::Passing),
            (9999, "42000", Trouble::Statement),
            (9999, "23000", Trouble::Value),
            (9999, "08S01", Trouble::Gone),
            (9999, "", Trouble::Passing),
        ] {
            let said = ServerError { code, state: state.to_owned(), message: String::new() };
            assert_eq!(trouble(&said), expected, "{code} {state}");
        }
    }

    #[test]
    fn words_name_nobody() {
        for (message, expected) in [
            (
                "UPDATE command denied to user 'duly'@'10.0.0.7' for table `shop`.`stock`",
                "UPDATE command denied to user of Duly for table `shop`.`stock`",
            ),
            ("a 'x'@'y' b 'z'@'w'", "a of Duly b of Duly"),
            ("cut off 'duly'@'10.0", "cut off of Duly"),
            ("'@'", "of Duly"),
            ("Duplicate entry 'a@b' for key 'PRIMARY'", "Duplicate entry 'a@b' for key 'PRIMARY'"),
        ] {
            assert_eq!(words(message), expected);
        }
    }

    #[test]
    fn values_are_shown_as_the_server_writes_them() {
        use mysql_async::Value as Given;
        for (value, expected) in [
            (Given::NULL, None),
            (Given::Bytes(b"caf\xc3\xa9".to_vec()), Some("café")),
            (Given::Int(-5), Some("-5")),
            (Given::UInt(u64::MAX), Some("18446744073709551615")),
            (Given::Date(2026, 1, 2, 3, 4, 5, 0), Some("2026-01-02 03:04:05")),
            (Given::Date(2026, 1, 2, 3, 4, 5, 60), Some("2026-01-02 03:04:05.000060")),
            (Given::Time(true, 1, 2, 3, 4, 0), Some("-26:03:04")),
        ] {
            assert_eq!(text(value).as_deref(), expected);
        }
    }
}
