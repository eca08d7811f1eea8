//! What a DSN says: which kind of database it names, where that is, and who asks.
//!
//! A DSN is never repeated in a message, for it may hold a password; what is wrong is said without
//! it. Nothing is resolved, opened or connected to here. Encryption is the default wherever the way
//! to the database leaves this machine.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::{Database, Place, Reach, Secret, Tls};

/// The forms that are understood.
const FORMS: &str = "sqlite:///absolute/path, mysql://user:password@host/name or \
                     postgres://user:password@host/name";

/// What a server's kind of DSN takes for granted.
struct Kind {
    port: u16,
    database: fn(Reach) -> Database,
}

const MYSQL: Kind = Kind { port: 3306, database: Database::Mysql };
const POSTGRES: Kind = Kind { port: 5432, database: Database::Postgres };

/// The words that different drivers have for the same three wishes. Where encryption is wanted the
/// certificate and its name are always verified, so the words that ask for less of that mean more.
const TLS_WORDS: [(&str, Tls); 14] = [
    ("off", Tls::Off),
    ("false", Tls::Off),
    ("0", Tls::Off),
    ("disable", Tls::Off),
    ("disabled", Tls::Off),
    ("preferred", Tls::Preferred),
    ("prefer", Tls::Preferred),
    ("required", Tls::Required),
    ("require", Tls::Required),
    ("true", Tls::Required),
    ("1", Tls::Required),
    ("verify-ca", Tls::Required),
    ("verify-full", Tls::Required),
    ("verify-identity", Tls::Required),
];

/// Reads a DSN.
pub(super) fn read(dsn: &str, ca_file: Option<PathBuf>) -> Result<Database, String> {
    let Some((scheme, rest)) = dsn.split_once("://") else {
        return Err(format!("is not a DSN; write {FORMS}"));
    };
    let kind = match scheme {
        "sqlite" if ca_file.is_some() => {
            return Err("is a file, and `ca_file` is for servers".to_owned());
        }
        "sqlite" if Path::new(rest).is_absolute() => {
            return Ok(Database::Sqlite(PathBuf::from(rest)));
        }
        "sqlite" => {
            return Err(
                "names a relative path; with three slashes it is absolute: sqlite:///absolute/path"
                    .to_owned(),
            );
        }
        "mysql" | "mariadb" => MYSQL,
        "postgres" | "postgresql" => POSTGRES,
        other if other.chars().all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char)) => {
            return Err(format!("{other}:// is not known; write {FORMS}"));
        }
        _ => return Err(format!("is not a DSN; write {FORMS}")),
    };
    reach(rest, kind.port, ca_file).map(kind.database)
}

/// What stands after the scheme: `user:password@host:port/name?option=value`.
fn reach(rest: &str, port: u16, ca_file: Option<PathBuf>) -> Result<Reach, String> {
    let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
    let Some((authority, name)) = rest.split_once('/') else {
        return Err("names no database after the host: …@host/name".to_owned());
    };
    // A password may have been written with its @; a host never has one.
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let options = Options::read(options)?;
    let place = match options.socket {
        Some(socket) => Place::Socket(socket),
        None => address(host, port)?,
    };
    let reach = Reach {
        user: plain(user, "user")?,
        password: Secret::new(plain(password, "password")?),
        name: plain(name, "database")?,
        tls: options.tls.unwrap_or(if place.is_this_machine() { Tls::Off } else { Tls::Required }),
        ca_file,
        place,
    };
    if reach.user.is_empty() {
        return Err("names no user: …://user:password@host/name".to_owned());
    }
    if reach.name.is_empty() || reach.name.contains('/') {
        return Err("names no database after the host: …@host/name".to_owned());
    }
    Ok(reach)
}

/// The options that are understood.
#[derive(Default)]
struct Options {
    tls: Option<Tls>,
    socket: Option<PathBuf>,
}

impl Options {
    fn read(text: &str) -> Result<Options, String> {
        let mut options = Options::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = plain(value, "option")?;
            match name {
                "tls" | "sslmode" | "ssl-mode" | "ssl_mode" => {
                    let word = value.to_ascii_lowercase().replace('_', "-");
                    let known = TLS_WORDS.iter().find(|(known, _)| *known == word);
                    let Some((_, tls)) = known else {
                        return Err(format!(
                            "has {name}= with another word than off, preferred or required"
                        ));
                    };
                    options.tls = Some(*tls);
                }
                "socket" | "unix_socket" | "host" if Path::new(&value).is_absolute() => {
                    options.socket = Some(PathBuf::from(value));
                }
                "socket" | "unix_socket" | "host" => {
                    return Err(format!("has {name}= without the absolute path of a socket"));
                }
                "sslrootcert" | "ssl-ca" | "ssl_ca" => {
                    return Err(format!("has {name}=; write `ca_file` beside `dsn` instead"));
                }
                _ => return Err("has an option other than tls= and socket=".to_owned()),
            }
        }
        Ok(options)
    }
}

fn address(text: &str, port: u16) -> Result<Place, String> {
    let wrong = || "has a host that cannot be; write host, host:port or [address]:port".to_owned();
    let (host, after) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']').ok_or_else(wrong)?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match after.strip_prefix(':') {
        Some(digits) => digits.parse().map_err(|_| wrong())?,
        None if after.is_empty() => port,
        None => return Err(wrong()),
    };
    let host = plain(host, "host")?;
    if host.starts_with('/') {
        return Ok(Place::Socket(PathBuf::from(host)));
    }
    let bad = host.is_empty() || host.contains(|char: char| char.is_whitespace() || char == ',');
    if bad { Err(wrong()) } else { Ok(Place::Address { host, port }) }
}

/// A part of a DSN without its percent signs.
fn plain(text: &str, what: &str) -> Result<String, String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) if text.contains('\0') => Err(format!("has a {what} with a NUL character in it")),
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(format!("has a {what} that is no UTF-8")),
    }
}

impl Place {
    /// Does the way there stay within this machine?
    pub fn is_this_machine(&self) -> bool {
        match self {
            Place::Socket(_) => true,
            Place::Address { host, .. } => {
                host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(dsn: &str) -> Reach {
        match read(dsn, None) {
            Ok(Database::Mysql(reach) | Database::Postgres(reach)) => reach,
            other => panic!("{dsn}: {other:?}"),
        }
    }

    #[test]
    fn a_dsn_says_where_who_and_how() {
        let reach = server("mysql://duly:s%40cret%2F@db.example:3307/shop?tls=preferred");
        let place = Place::Address { host: "db.example".to_owned(), port: 3307 };
        assert_eq!(reach.place, place);
        assert_eq!((reach.user.as_str(), reach.name.as_str()), ("duly", "shop"));
        assert_eq!(reach.password.reveal(), "s@cret/");
        assert_eq!(reach.tls, Tls::Preferred);
        for (dsn, place, tls) in [
            ("mariadb://d:p@h/s", ("h", 3306), Tls::Required),
            ("postgres://d:p@h/s", ("h", 5432), Tls::Required),
            ("postgresql://d@[2001:db8::1]:99/s", ("2001:db8::1", 99), Tls::Required),
            ("postgres://d:p@127.0.0.1:99/s", ("127.0.0.1", 99), Tls::Off),
            ("postgres://d:p@localhost/s", ("localhost", 5432), Tls::Off),
            ("postgres://d:p@[::1]/s", ("::1", 5432), Tls::Off),
            ("postgres://d:p@h/s?sslmode=disable", ("h", 5432), Tls::Off),
            ("postgres://d:p@localhost/s?sslmode=verify-full", ("localhost", 5432), Tls::Required),
            ("mysql://d:p@h/s?ssl-mode=VERIFY_IDENTITY", ("h", 3306), Tls::Required),
            ("mysql://d:p@ss@h/s", ("h", 3306), Tls::Required),
        ] {
            let reach = server(dsn);
            let (host, port) = place;
            assert_eq!(reach.place, Place::Address { host: host.to_owned(), port }, "{dsn}");
            assert_eq!(reach.tls, tls, "{dsn}");
        }
        for dsn in [
            "mysql://d:p@localhost/s?socket=/run/x.sock",
            "postgres://d:p@/s?host=/run/x.sock",
            "postgres://d:p@%2Frun%2Fx.sock/s",
        ] {
            let reach = server(dsn);
            assert_eq!(reach.place, Place::Socket(PathBuf::from("/run/x.sock")), "{dsn}");
            assert_eq!(reach.tls, Tls::Off, "{dsn}");
        }
    }

    #[test]
    fn a_dsn_that_cannot_be_is_refused_without_repeating_it() {
        for (dsn, why) in [
            ("hunter2", "is not a DSN"),
            ("my sql hunter2://x", "is not a DSN"),
            ("oracle://u:hunter2@h/n", "oracle:// is not known"),
            ("sqlite://hunter2", "relative path"),
            ("mysql://u:hunter2@h", "names no database"),
            ("mysql://u:hunter2@h/", "names no database"),
            ("mysql://u:hunter2@h/a/b", "names no database"),
            ("mysql://h/hunter2", "names no user"),
            ("mysql://u:hunter2@/n", "has a host that cannot be"),
            ("mysql://u:hunter2@h:port/n", "has a host that cannot be"),
            ("mysql://u:hunter2@[::1/n", "has a host that cannot be"),
            ("mysql://u:hunter2@a,b/n", "has a host that cannot be"),
            ("mysql://u:hunter2%ff@h/n", "has a password that is no UTF-8"),
            ("mysql://u:hunter2%00@h/n", "has a password with a NUL character"),
            ("mysql://u:hunter2@h/n?tls=hunter2", "has tls= with another word"),
            ("mysql://u:hunter2@h/n?hunter2=1", "has an option other than"),
            ("mysql://u:hunter2@h/n?socket=hunter2", "without the absolute path"),
            ("postgres://u:hunter2@h/n?sslrootcert=hunter2", "write `ca_file`"),
        ] {
            let said = read(dsn, None).expect_err(dsn);
            assert!(said.contains(why), "{dsn}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        let said = read("sqlite:///a", Some(PathBuf::from("/ca.pem"))).expect_err("a file");
        assert!(said.contains("`ca_file` is for servers"), "{said}");
    }

    #[test]
    fn a_password_is_never_shown() {
        let shown = format!("{:?}", server("mysql://duly:hunter2@h/shop"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
