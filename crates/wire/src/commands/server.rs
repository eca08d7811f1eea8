//! What clients and people ask about the server: its figures, its time, its settings.
//!
//! Libraries ask such things when they connect and go by a few words of the answers. Those words
//! are here, and are true; nothing is made up to look like another server.

use duly_engine::answer::{Answer, QueueView};
use duly_engine::command::Command;

use super::{Client, Next, No, pattern};
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
