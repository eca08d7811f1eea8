//! The configuration file.

use duly::config::{Database, Environment, Settings, Tls};
use duly_store::journal::{MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES};

use super::Fate;

pub(super) const WORDS: &[&str] = &[
    "data = \"./d\"\n",
    "[http]\n",
    "listen = \"127.0.0.1:7830\"\n",
    "listen = \"off\"\n",
    "[clock]\n",
    "source = \"manual\"\n",
    "max_forward_jump = \"60s\"\n",
    "max_downtime = \"30d\"\n",
    "[journal]\n",
    "segment_size = \"64MiB\"\n",
    "reserve = 5\n",
    "keep = \"1GiB\"\n",
    "[log]\n",
    "format = \"json\"\n",
    "level = \"debug\"\n",
    "[webhook]\n",
    "allow_private = true\n",
    "[databases.shop]\n",
    "dsn = \"sqlite:///tmp/shop.db\"\n",
    "dsn_file = \"/x\"\n",
    "dsn = \"mysql://u:p%40@db:3306/shop\"\n",
    "dsn = \"postgres://u@[::1]/shop?tls=required\"\n",
    "ca_file = \"/x\"\n",
    "?sslmode=disable",
    "&socket=/run/x",
    "@",
    "%00",
    "[sql.cancel]\n",
    "database = \"shop\"\n",
    "steps = [\"UPDATE o SET a=:key\"]\n",
    "applied = ",
    "[queues.orders]\n",
    "default_delay = \"30m\"\n",
    "target = \"pull\"\n",
    "[defaults]\n",
    "target = { sql = \"cancel\" }\n",
    "[queues.orders.target.webhook]\n",
    "url = \"https://a/\"\n",
    "secrets = [\"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\"]\n",
    "${HOME}",
    "${NONE}",
    "$${",
    "${",
    "\"\"\"",
    "'''",
    "#",
    "[[",
    "]]",
    "=",
    ".",
    "1979-05-27T07:32:00Z",
    "0x7fffffffffffffff",
    "inf",
];

/// The input is the file.
pub(super) fn feed(input: &[u8]) -> Fate {
    let Ok(text) = std::str::from_utf8(input) else { return Fate::refused("no text") };
    let variables = [("HOME", "/home/duly"), ("DULY_LOG_LEVEL", "warn")];
    let environment: Environment =
        variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    match Settings::parse("duly.toml", text, &environment, &[]) {
        Ok(settings) => {
            let again = Settings::parse("duly.toml", text, &environment, &[]);
            let again = format!("{:?}", again.expect("it was taken before"));
            assert_eq!(again, format!("{settings:?}"), "a file has one meaning");
            let journal = settings.journal;
            let whole = (MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&journal.segment_size);
            assert!(whole, "the store cannot do with segments of {}", journal.segment_size);
            assert!(journal.keep >= journal.segment_size, "a journal shorter than its segment");
            for (name, queue) in &settings.queues {
                assert!(queue.check().is_ok(), "queue {name} cannot be");
            }
            for (name, action) in &settings.sql {
                let known = settings.databases.contains_key(&action.database);
                assert!(known && !action.steps.is_empty(), "action {name} cannot be");
            }
            for database in settings.databases.values() {
                look_at(database, text);
            }
            let shape = (settings.queues.len(), settings.sql.len(), settings.databases.len());
            Fate::taken(shape)
        }
        Err(bad) => {
            let message = bad.to_string();
            assert!(!message.contains('\n'), "a mistake is one line: {message:?}");
            let place = message.strip_prefix("duly.toml:").or(message.strip_prefix("DULY_"));
            let place = place.unwrap_or_else(|| panic!("it names no place: {message:?}"));
            let line = place.split(':').next().and_then(|line| line.parse::<usize>().ok());
            let lines = text.split('\n').count();
            assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "{message:?}");
            // The words without what is particular to this input.
            let words: Vec<&str> =
                message.split(['`', '"', '\'', ' ']).filter(|word| is_plain(word)).collect();
            Fate::refused(words)
        }
    }
}

fn look_at(database: &Database, text: &str) {
    match database {
        Database::Sqlite(path) => {
            assert!(path.is_absolute(), "{} is not absolute", path.display());
        }
        Database::Mysql(reach) | Database::Postgres(reach) => {
            let parts = [reach.user.as_str(), reach.password.reveal(), reach.name.as_str()];
            assert!(
                !parts.iter().any(|part| part.contains('\0')),
                "a NUL character is let through"
            );
            assert!(!reach.user.is_empty() && !reach.name.is_empty(), "somebody without a name");
            let is_asked_for = text.contains("tls") || text.contains("ssl");
            let is_safe = reach.tls == Tls::Required || reach.place.is_this_machine();
            assert!(is_safe || is_asked_for, "passwords go in the clear and nobody asked for it");
        }
    }
}

fn is_plain(word: &str) -> bool {
    word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_lowercase())
}
