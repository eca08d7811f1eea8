//! What clients and people ask about the server: its commands, its figures, its time, its settings.
//!
//! Libraries ask such things when they connect and go by a few words of the answers. Those words
//! are here, and are true; nothing is made up to look like another server.

use duly_engine::answer::{Answer, QueueView};
use duly_engine::command::Command;

use super::{Client, Count, Next, No, Row, TABLE, find, pattern};
use crate::glob;
use crate::reading::Words;
use crate::refusal::refused;
use crate::reply::Reply;

/// The version whose commands these are meant as; libraries choose what they send by it.
const MEANT_AS: &str = "7.0.15";

/// `TIME`
pub(super) fn time(_: &Words<'_>, _: &mut Client) -> Result<Next, No> {
    Ok(Next::ask(vec![Command::GetClock], |heard| match heard.one() {
        Answer::Clock(clock) => {
            let ms = clock.now.millis();
            let (seconds, micros) = (ms / 1_000, ms % 1_000 * 1_000);
            Reply::List(vec![Reply::text(&seconds.to_string()), Reply::text(&micros.to_string())])
        }
        Answer::Refused(refusal) => refused(&refusal),
        other => unreachable!("a question for the time was answered with {other:?}"),
    }))
}

/// `INFO [section…]`
pub(super) fn info(words: &Words<'_>, _: &mut Client) -> Result<Next, No> {
    let wanted: Vec<String> =
        words.from(1).map(|word| String::from_utf8_lossy(word).to_ascii_lowercase()).collect();
    Ok(Next::ask(vec![Command::ListQueues], move |heard| match heard.one() {
        Answer::Queues(queues) => Reply::Verbatim(figures(&queues, &wanted)),
        Answer::Refused(refusal) => refused(&refusal),
        other => unreachable!("a list of queues was answered with {other:?}"),
    }))
}

/// Figures in sections, as Redis has them; of a library's words only those that are true here.
fn figures(queues: &[QueueView], wanted: &[String]) -> String {
    let sum = |of: fn(&QueueView) -> u64| queues.iter().map(of).sum::<u64>();
    let pending = sum(|queue| queue.now.pending);
    let keys = format!("keys={pending},expires={pending},avg_ttl=0");
    let settled = sum(|queue| queue.total.settled.values().sum());
    let number = |number: u64| number.to_string();
    let sections = [
        (
            "Server",
            vec![
                ("redis_version", MEANT_AS.to_owned()),
                ("redis_mode", "standalone".to_owned()),
                ("server_name", "duly".to_owned()),
                ("duly_version", env!("CARGO_PKG_VERSION").to_owned()),
            ],
        ),
        (
            "Persistence",
            vec![
                ("loading", number(0)),
                ("aof_enabled", number(1)),
                ("aof_last_write_status", "ok".to_owned()),
            ],
        ),
        (
            "Stats",
            vec![
                ("expired_keys", number(sum(|queue| queue.total.lapsed))),
                ("evicted_keys", number(0)),
                ("duly_queues", number(queues.len() as u64)),
                ("duly_scheduled", number(sum(|queue| queue.total.scheduled))),
                ("duly_settled", number(settled)),
                ("duly_ready", number(sum(|queue| queue.now.ready))),
                ("duly_leased", number(sum(|queue| queue.now.leased))),
                ("duly_dead", number(sum(|queue| queue.now.dead))),
            ],
        ),
        ("Replication", vec![("role", "master".to_owned()), ("connected_slaves", number(0))]),
        ("Keyspace", if pending > 0 { vec![("db0", keys)] } else { Vec::new() }),
    ];
    let all = ["all", "default", "everything"];
    let mut text = String::new();
    for (name, lines) in sections {
        let is_wanted = wanted.is_empty()
            || wanted
                .iter()
                .any(|word| all.contains(&word.as_str()) || word.eq_ignore_ascii_case(name));
        if !is_wanted {
            continue;
        }
        let gap = if text.is_empty() { "" } else { "\r\n" };
        text.extend([gap, "# ", name, "\r\n"]);
        for (name, value) in lines {
            text.extend([name, ":", &value, "\r\n"]);
        }
    }
    text
}

/// Settings that libraries ask for, in Redis's words, as they are here.
const SETTINGS: &[(&str, &str)] = &[
    ("appendfsync", "always"),
    ("appendonly", "yes"),
    ("databases", "1"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("notify-keyspace-events", "xKE"),
    ("proto-max-bulk-len", "1048576"),
    ("save", ""),
    ("timeout", "0"),
];

/// `CONFIG GET pattern…` and `CONFIG SET notify-keyspace-events flags`
pub(super) fn config(words: &Words<'_>, _: &mut Client) -> Result<Next, No> {
    let said = match (words.at(1).to_ascii_uppercase().as_slice(), words.len()) {
        (b"GET", 3..) => {
            for word in words.from(2) {
                pattern(word)?;
            }
            let is_asked = |name: &str| {
                words
                    .from(2)
                    .any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
            };
            let told = SETTINGS.iter().filter(|(name, _)| is_asked(name));
            Reply::Map(told.map(|(name, value)| (Reply::text(name), Reply::text(value))).collect())
        }
        (b"SET", 4) if words.at(2).eq_ignore_ascii_case(b"notify-keyspace-events") => {
            notify(words.at(3))?;
            Reply::OK
        }
        (b"SET", 4..) => {
            let name = String::from_utf8_lossy(words.at(2));
            return Err(No::err(format!(
                "Unknown option or number of arguments for CONFIG SET - '{name}'; Duly is set up by \
                 its configuration file: duly config"
            )));
        }
        (name, _) => return Err(No::subcommand("config", name, &["GET", "SET"])),
    };
    Ok(Next::Say(said))
}

/// Lapses are always told. Who wants to hear of nothing else may say so; who wants to hear only of
/// what is never told would wait in vain.
fn notify(flags: &[u8]) -> Result<(), No> {
    if !flags.iter().all(|flag| b"Ag$lshzxeKEtmdn".contains(flag)) {
        return Err(No::err(
            "CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - Invalid \
             event class character. Use 'Ag$lshzxeKEtmdn'.",
        ));
    }
    let hears_lapses = flags.is_empty() || flags.iter().any(|flag| b"Ax".contains(flag));
    if !hears_lapses {
        return Err(No::err("Duly tells of expired keys and of nothing else: use Ex, Kx or both"));
    }
    Ok(())
}

/// `COMMAND [COUNT | LIST | INFO name… | DOCS name… | GETKEYS command…]`
pub(super) fn command(words: &Words<'_>, _: &mut Client) -> Result<Next, No> {
    let Some(subcommand) = words.get(1) else {
        return Ok(Next::Say(Reply::List(TABLE.iter().map(described).collect())));
    };
    let named = || words.from(2).map(find);
    let said = match (subcommand.to_ascii_uppercase().as_slice(), words.len()) {
        (b"COUNT", 2) => Reply::count(TABLE.len()),
        (b"LIST", 2) => Reply::List(TABLE.iter().map(|row| Reply::text(&lower(row))).collect()),
        (b"INFO", 2) => Reply::List(TABLE.iter().map(described).collect()),
        (b"INFO", _) => {
            Reply::List(named().map(|row| row.map_or(Reply::NoList, described)).collect())
        }
        (b"DOCS", 2) => Reply::Map(TABLE.iter().map(documented).collect()),
        (b"DOCS", _) => Reply::Map(named().flatten().map(documented).collect()),
        (b"GETKEYS", 3..) => keys(words)?,
        (name, _) => {
            let known = ["COUNT", "DOCS", "GETKEYS", "INFO", "LIST"];
            return Err(No::subcommand("command", name, &known));
        }
    };
    Ok(Next::Say(said))
}

fn lower(row: &Row) -> String {
    row.0.to_ascii_lowercase()
}

/// Commands whose second word is no key.
const WITHOUT_KEYS: &[&str] = &[
    "AUTH",
    "CLIENT",
    "COMMAND",
    "CONFIG",
    "DBSIZE",
    "DISCARD",
    "ECHO",
    "EXEC",
    "HELLO",
    "INFO",
    "MULTI",
    "PING",
    "PSUBSCRIBE",
    "PUNSUBSCRIBE",
    "QUIT",
    "RESET",
    "SCAN",
    "SELECT",
    "SUBSCRIBE",
    "TIME",
    "UNSUBSCRIBE",
];
/// Commands all of whose words are keys.
const ALL_KEYS: &[&str] = &["DEL", "EXISTS", "MGET", "UNLINK"];

/// Which words are keys: the first, the last counted from the end, and the step between.
fn places(row: &Row) -> [i64; 3] {
    if WITHOUT_KEYS.contains(&row.0) || row.0.starts_with("DULY.") {
        [0, 0, 0]
    } else if ALL_KEYS.contains(&row.0) {
        [1, -1, 1]
    } else {
        [1, 1, 1]
    }
}

fn described(row: &Row) -> Reply {
    let words = match row.1 {
        Count::Exactly(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Count::AtLeast(count) => i64::try_from(count).map_or(i64::MIN, |count| -count),
    };
    let [first, last, step] = places(row).map(Reply::Integer);
    let nothing = || Reply::List(Vec::new());
    Reply::List(vec![
        Reply::text(&lower(row)),
        Reply::Integer(words),
        Reply::Set(Vec::new()),
        first,
        last,
        step,
        Reply::Set(Vec::new()),
        nothing(),
        nothing(),
        nothing(),
    ])
}

fn documented(row: &Row) -> (Reply, Reply) {
    let summary = (Reply::text("summary"), Reply::text("docs/redis.md says what Duly does"));
    let group = (Reply::text("group"), Reply::text("generic"));
    (Reply::text(&lower(row)), Reply::Map(vec![summary, group]))
}

fn keys(words: &Words<'_>) -> Result<Reply, No> {
    let row = find(words.at(2)).ok_or_else(|| No::err("Invalid command specified"))?;
    if !row.1.fits(words.len() - 2) {
        return Err(No::err("Invalid number of arguments specified for command"));
    }
    let bulk = |key: &[u8]| Reply::Bulk(key.to_vec());
    match places(row) {
        [0, ..] => Err(No::err("The command has no key arguments")),
        [_, -1, _] => Ok(Reply::List(words.from(3).map(bulk).collect())),
        _ => Ok(Reply::List(words.from(3).take(1).map(bulk).collect())),
    }
}
