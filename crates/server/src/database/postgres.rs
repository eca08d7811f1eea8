//! `PostgreSQL`.
//!
//! Values go in text form, untyped, so that the server reads `42` as whatever the column is. A
//! statement is prepared once a connection. The session keeps UTC, its own limits on locks and
//! statements, and strings as the standard has them.

use std::collections::HashMap;
use std::error::Error as _;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, WrongType, to_sql_checked};
use tokio_postgres::{Client, Config, Error, NoTls, Statement};
use tokio_rustls::TlsConnector;

use super::{Described, Fault, Outcome, PREPARED, Patience, Row, Trouble, Value, Want, tls};
use crate::config::{Place, Reach, Tls};

/// A connection, and the statements that it knows.
pub(super) struct Session {
    client: Client,
    prepared: HashMap<String, Statement>,
}

impl Session {
    pub(super) async fn open(reach: &Reach, patience: Patience) -> Result<Session, Fault> {
        let mut config = Config::new();
        config.user(&reach.user).dbname(&reach.name).application_name("duly").ssl_mode(match reach
            .tls
        {
            Tls::Off => SslMode::Disable,
            Tls::Preferred => SslMode::Prefer,
            Tls::Required => SslMode::Require,
        });
        if !reach.password.reveal().is_empty() {
            config.password(reach.password.reveal());
        }
        let client = match &reach.place {
            Place::Socket(path) => {
                // Nobody listens in on a socket of this machine, and it has no name to verify.
                config.ssl_mode(SslMode::Disable);
                let stream = UnixStream::connect(socket(path)).await.map_err(|e| unreached(&e))?;
                let connected = config.connect_raw(stream, NoTls).await;
                serve(connected.map_err(|error| refused(&error))?)
            }
            Place::Address { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.map_err(|error| unreached(&error))?;
                // Small requests, answered at once: waiting to fill a packet only adds delay.
                stream.set_nodelay(true).map_err(|error| unreached(&error))?;
                let tls = Handshake { config: Arc::new(tls::config(reach)?), host: host.clone() };
                let connected = config.connect_raw(stream, tls).await;
                serve(connected.map_err(|error| refused(&error))?)
            }
        };
        let session = Session { client, prepared: HashMap::new() };
        session.set_up(patience).await?;
        Ok(session)
    }

    async fn set_up(&self, patience: Patience) -> Result<(), Fault> {
        let settings = format!(
            "SET TIME ZONE 'UTC'; SET standard_conforming_strings = on; SET lock_timeout = {}; \
             SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SET default_transaction_isolation = 'read committed'",
            patience.lock.as_millis(),
            patience.run.as_millis(),
            patience.run.as_millis(),
        );
        self.client.batch_execute(&settings).await.map_err(|error| fault(&error))
    }

    pub(super) async fn describe(&mut self, statement: &str) -> Result<Described, Fault> {
        let prepared = self.prepare(statement).await?;
        Ok(Described {
            parameters: prepared.params().len(),
            columns: prepared.columns().iter().map(|column| column.name().to_owned()).collect(),
        })
    }

    pub(super) async fn begin(&self) -> Result<(), Fault> {
        self.client.batch_execute("BEGIN").await.map_err(|error| fault(&error))
    }

    pub(super) async fn end(&self, commit: bool) -> Result<(), Fault> {
        let statement = if commit { "COMMIT" } else { "ROLLBACK" };
        self.client.batch_execute(statement).await.map_err(|error| fault(&error))
    }

    pub(super) async fn run(
        &mut self,
        statement: &str,
        values: &[Value],
        want: Want,
    ) -> Result<Outcome, Fault> {
        let prepared = self.prepare(statement).await?;
        if prepared.params().len() != values.len() {
            return Err(miscounted(prepared.params().len(), values.len()));
        }
        let texts: Vec<Text> = values.iter().map(|value| Text(value.text())).collect();
        let outcome = match want {
            Want::Number => self
                .client
                .execute_raw(&prepared, &texts)
                .await
                .map(|number| Outcome { number, rows: Vec::new() }),
            Want::Rows => {
                let texts: Vec<&(dyn ToSql + Sync)> =
                    texts.iter().map(|text| text as &(dyn ToSql + Sync)).collect();
                self.client.query(&prepared, &texts).await.and_then(|rows| collect(&rows))
            }
        };
        outcome.map_err(|error| {
            // Its tables may have changed: read it anew the next time.
            self.prepared.remove(statement);
            fault(&error)
        })
    }

    async fn prepare(&mut self, statement: &str) -> Result<Statement, Fault> {
        if let Some(prepared) = self.prepared.get(statement) {
            return Ok(prepared.clone());
        }
        let prepared = self.client.prepare(statement).await.map_err(|error| fault(&error))?;
        if self.prepared.len() == PREPARED {
            self.prepared.clear();
        }
        self.prepared.insert(statement.to_owned(), prepared.clone());
        Ok(prepared)
    }
}

fn miscounted(takes: usize, given: usize) -> Fault {
    let words = format!("the statement takes {takes} values where {given} are given");
    Fault::new(Trouble::Statement, words)
}

/// The socket of a folder of sockets.
fn socket(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(".s.PGSQL.5432") } else { path.to_owned() }
}

/// Lets the connection speak until its client is dropped.
fn serve<S, T>((client, connection): (Client, tokio_postgres::Connection<S, T>)) -> Client
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = words(&error), "a connection to PostgreSQL ended");
        }
    });
    client
}

fn collect(rows: &[tokio_postgres::Row]) -> Result<Outcome, Error> {
    let text = |row: &tokio_postgres::Row, column: usize| {
        Ok(match *row.columns()[column].type_() {
            Type::BOOL => row.try_get::<_, Option<bool>>(column)?.map(|is| is.to_string()),
            Type::INT2 => row.try_get::<_, Option<i16>>(column)?.map(|number| number.to_string()),
            Type::INT4 => row.try_get::<_, Option<i32>>(column)?.map(|number| number.to_string()),
            Type::INT8 => row.try_get::<_, Option<i64>>(column)?.map(|number| number.to_string()),
            Type::OID => row.try_get::<_, Option<u32>>(column)?.map(|number| number.to_string()),
            // Whatever else is no text is refused with its type.
            _ => row.try_get(column)?,
        })
    };
    let rows = rows.iter().map(|row| (0..row.len()).map(|column| text(row, column)).collect());
    let rows = rows.collect::<Result<Vec<Row>, Error>>()?;
    Ok(Outcome { number: u64::try_from(rows.len()).unwrap_or(u64::MAX), rows })
}

/// A value in text form, for a parameter of any type.
#[derive(Debug)]
struct Text(Option<String>);

impl ToSql for Text {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// TLS over a connection that has been made.
struct Handshake {
    config: Arc<rustls::ClientConfig>,
    host: String,
}

/// The encrypted connection.
struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host)
                .map_err(|_| io::Error::other("the host is no name that TLS could verify"))?;
            TlsConnector::from(self.config).connect(name, stream).await.map(Encrypted)
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

fn unreached(error: &io::Error) -> Fault {
    Fault::gone(format!("no connection: {}", error.kind()))
}

/// Why a server that was reached gave no session. Its words name users, hosts and databases.
fn refused(error: &Error) -> Fault {
    let Some(said) = error.as_db_error() else {
        return Fault::gone(format!("no connection: {}", words(error)));
    };
    let words = match said.code().code() {
        "3D000" => "it has no database of that name".to_owned(),
        code if code.starts_with("28") => "it refuses the login".to_owned(),
        _ => said.message().to_owned(),
    };
    Fault::new(Trouble::Unavailable, words)
}

/// Whose fault is it?
fn fault(error: &Error) -> Fault {
    match error.as_db_error() {
        Some(said) => Fault::new(trouble(said.code().code(), said.message()), said.message()),
        None if is_about_columns(error) => Fault::new(
            Trouble::Statement,
            "a column is neither text nor a whole number: ask for it as text",
        ),
        None => Fault::gone(format!("the connection was lost: {}", words(error))),
    }
}

/// Did the server answer well, and the answer holds what cannot be shown as text?
fn is_about_columns(error: &Error) -> bool {
    error.source().is_some_and(<dyn std::error::Error>::is::<WrongType>)
}

fn words(error: &Error) -> String {
    error.source().map_or_else(|| error.to_string(), tls::words)
}

/// The troubles by the beginning of the server's code; the first that fits.
const TROUBLES: [(&str, Trouble); 32] = [
    ("08", Trouble::Gone),
    ("57P01", Trouble::Gone),
    ("57P02", Trouble::Gone),
    ("57P03", Trouble::Gone),
    ("57P05", Trouble::Gone),
    ("25P03", Trouble::Gone),
    ("25P04", Trouble::Gone),
    ("57014", Trouble::Late),
    ("25006", Trouble::Unavailable),
    ("53", Trouble::Unavailable),
    ("58", Trouble::Unavailable),
    ("XX", Trouble::Unavailable),
    ("28", Trouble::Unavailable),
    ("40", Trouble::Passing),
    ("55", Trouble::Passing),
    ("3D000", Trouble::Missing),
    ("3F000", Trouble::Missing),
    ("42P01", Trouble::Missing),
    ("42703", Trouble::Missing),
    ("42704", Trouble::Missing),
    ("42883", Trouble::Missing),
    ("42P02", Trouble::Statement),
    ("42", Trouble::Statement),
    ("0A", Trouble::Statement),
    ("26", Trouble::Passing),
    ("21", Trouble::Value),
    ("22", Trouble::Value),
    ("23", Trouble::Value),
    ("27", Trouble::Value),
    ("44", Trouble::Value),
    ("54", Trouble::Value),
    ("P0", Trouble::Value),
];

fn trouble(code: &str, message: &str) -> Trouble {
    if message.starts_with("cached plan must not change") {
        // The table changed under a prepared statement, which is read anew the next time.
        return Trouble::Passing;
    }
    let known = TROUBLES.iter().find(|(beginning, _)| code.starts_with(beginning));
    known.map_or(Trouble::Passing, |(_, trouble)| *trouble)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_sorted_by_the_servers_code() {
        for (code, expected) in [
            ("08006", Trouble::Gone),
            ("57P01", Trouble::Gone),
            ("57P03", Trouble::Gone),
            ("25P03", Trouble::Gone),
            ("25006", Trouble::Unavailable),
            ("53100", Trouble::Unavailable),
            ("53300", Trouble::Unavailable),
            ("XX000", Trouble::Unavailable),
            ("40001", Trouble::Passing),
            ("40P01", Trouble::Passing),
            ("55P03", Trouble::Passing),
            ("57014", Trouble::Late),
            ("42P01", Trouble::Missing),
            ("42703", Trouble::Missing),
            ("42883", Trouble::Missing),
            ("42501", Trouble::Statement),
            ("42601", Trouble::Statement),
            ("42804", Trouble::Statement),
            ("0A000", Trouble::Statement),
            ("22P02", Trouble::Value),
            ("22021", Trouble::Value),
            ("23505", Trouble::Value),
            ("23514", Trouble::Value),
            ("P0001", Trouble::Value),
            // What a later version invents.
            ("ZZ999", Trouble::Passing),
        ] {
            assert_eq!(trouble(code, "words"), expected, "{code}");
        }
        let changed = trouble("0A000", "cached plan must not change result type");
        assert_eq!(changed, Trouble::Passing);
    }

    #[test]
    fn a_folder_of_sockets_leads_to_the_usual_one() {
        assert_eq!(socket(Path::new("/tmp")), Path::new("/tmp/.s.PGSQL.5432"));
        assert_eq!(socket(Path::new("/tmp/x/.s.PGSQL.9")), Path::new("/tmp/x/.s.PGSQL.9"));
    }
}
