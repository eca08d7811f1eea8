//! The commands: one table, and a file for each family.
//!
//! A row names a command, how many words it has, when it may run, and the function that begins it.
//! That gives a reply, or commands for the engine and what to do with their answers; it may ask
//! again, when what it was told decides what it asks (a compare and a set). Nothing here keeps
//! anything between requests but what the client is ([`Client`]).

#![expect(clippy::unnecessary_wraps, reason = "all rows of the table have functions of one type")]

mod connection;
mod expiry;
mod hear;
mod keys;
mod nearest;
mod own;
mod server;
mod sorted;
mod strings;
mod together;

use std::sync::Arc;

use duly_engine::command::Command;

use crate::Settings;
use crate::reading::Words;
use crate::reply::{Reply, Version};
use crate::session::{Heard, Wait};
pub(crate) use hear::Ears;

/// What is to be done about a request.
pub(crate) enum Next {
    /// Tell the client.
    Say(Reply),
    /// Ask the engine. What may have to ask `again` is the last of its kind that is gathered.
    Ask { commands: Vec<Command>, then: Then, again: bool },
    /// Lease, and wait if there is nothing; only for what runs alone.
    Wait(Wait, Then),
    /// Say this, if anything, and hang up; only for what runs alone.
    Leave(Option<Reply>),
}

/// What to do with the engine's answers.
pub(crate) type Then = Box<dyn FnOnce(&mut Heard<'_>) -> Next + Send>;

impl Next {
    /// Asks one thing and makes a reply of the answers.
    fn ask(
        commands: Vec<Command>,
        reply: impl FnOnce(&mut Heard<'_>) -> Reply + Send + 'static,
    ) -> Next {
        let then: Then = Box::new(|heard| Next::Say(reply(heard)));
        Next::Ask { commands, then, again: false }
    }

    /// Asks what may lead to another question.
    fn ask_first(
        commands: Vec<Command>,
        then: impl FnOnce(&mut Heard<'_>) -> Next + Send + 'static,
    ) -> Next {
        Next::Ask { commands, then: Box::new(then), again: true }
    }
}

/// Why a request cannot be begun, in Redis's words where it has some.
pub(crate) struct No(String);

impl No {
    /// With the code that Redis gives to everything without one of its own.
    fn err(why: impl std::fmt::Display) -> No {
        No(format!("ERR {why}"))
    }

    fn syntax() -> No {
        No::err("syntax error")
    }

    fn not_an_integer() -> No {
        No::err("value is not an integer or out of range")
    }

    fn count(command: &str) -> No {
        No::err(format!("wrong number of arguments for '{command}' command"))
    }

    /// A subcommand is not there, or has another number of words.
    fn subcommand(command: &str, name: &[u8], known: &[&str]) -> No {
        let name = shown(name);
        if known.iter().any(|it| it.eq_ignore_ascii_case(&name)) {
            return No::count(&format!("{command}|{}", name.to_ascii_lowercase()));
        }
        No::err(format!("unknown subcommand '{name}'. There are {}", known.join(", ")))
    }
}

/// Longest pattern, or name of a channel, in bytes: what is longer matches no key, and costs a step
/// for each of its bytes.
const PATTERN_BYTES: usize = 1_024;

/// A pattern, or the name of a channel, if it is short enough to be one.
fn pattern(word: &[u8]) -> Result<&[u8], No> {
    if word.len() > PATTERN_BYTES {
        return Err(No::err("a pattern or a channel's name has 1,024 bytes at most"));
    }
    Ok(word)
}

/// Who talks.
pub(crate) struct Client {
    pub(crate) settings: Arc<Settings>,
    pub(crate) version: Version,
    pub(crate) ears: Ears,
    /// The rows of the table that were begun, for whoever counts them.
    pub(crate) begun: Vec<usize>,
    /// A transaction is open: what comes is taken in and not begun.
    is_in_transaction: bool,
    number: u64,
    name: Vec<u8>,
}

impl Client {
    pub(crate) fn new(settings: Arc<Settings>, number: u64) -> Client {
        let (version, ears) = (Version::default(), Ears::default());
        let (is_in_transaction, name) = (false, Vec::new());
        Client { settings, version, ears, begun: Vec::new(), is_in_transaction, number, name }
    }

    /// Its number as it is told.
    fn id(&self) -> i64 {
        i64::try_from(self.number).unwrap_or(i64::MAX)
    }
}

type Begin = fn(&Words<'_>, &mut Client) -> Result<Next, No>;

/// When a command may run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Gathered with others.
    Gathered,
    /// When everything before it has been answered.
    Alone,
    /// Alone, and also while a client of version 2 is subscribed.
    AlwaysAlone,
}

/// How many words a command has, its name among them.
#[derive(Clone, Copy)]
enum Count {
    Exactly(usize),
    AtLeast(usize),
}

impl Count {
    fn fits(self, words: usize) -> bool {
        match self {
            Exactly(count) => words == count,
            AtLeast(count) => words >= count,
        }
    }
}

/// One command.
struct Row(&'static str, Count, When, Begin);

use Count::{AtLeast, Exactly};
use When::{Alone, AlwaysAlone, Gathered};

/// All commands, in the order of their names.
const TABLE: &[Row] = &[
    Row("AUTH", AtLeast(2), Alone, connection::auth),
    Row("BZPOPMIN", AtLeast(3), Alone, sorted::bzpopmin),
    Row("CLIENT", AtLeast(2), Alone, connection::client),
    Row("COMMAND", AtLeast(1), Gathered, server::command),
    Row("CONFIG", AtLeast(2), Gathered, server::config),
    Row("DBSIZE", Exactly(1), Gathered, keys::dbsize),
    Row("DEL", AtLeast(2), Gathered, keys::del),
    Row("DISCARD", Exactly(1), Alone, together::discard),
    Row("DULY.ERASE", Exactly(3), Gathered, own::erase),
    Row("DULY.EXTEND", AtLeast(3), Gathered, own::extend),
    Row("DULY.FREEZE", AtLeast(3), Gathered, own::freeze),
    Row("DULY.GET", Exactly(3), Gathered, own::get),
    Row("DULY.LEASE", AtLeast(2), Alone, own::lease),
    Row("DULY.REVIVE", Exactly(3), Gathered, own::revive),
    Row("DULY.SCHEDULE", AtLeast(3), Gathered, own::schedule),
    Row("DULY.SETTLE", AtLeast(4), Gathered, own::settle),
    Row("DULY.STATS", AtLeast(1), Gathered, own::stats),
    Row("DULY.TOUCH", AtLeast(3), Gathered, own::touch),
    Row("DULY.VERDICT", AtLeast(4), Gathered, own::verdict),
    Row("ECHO", Exactly(2), Gathered, connection::echo),
    Row("EXEC", Exactly(1), Alone, together::exec),
    Row("EXISTS", AtLeast(2), Gathered, keys::exists),
    Row("EXPIRE", AtLeast(3), Gathered, expiry::expire),
    Row("EXPIREAT", AtLeast(3), Gathered, expiry::expireat),
    Row("EXPIRETIME", Exactly(2), Gathered, expiry::expiretime),
    Row("GET", Exactly(2), Gathered, strings::get),
    Row("GETDEL", Exactly(2), Gathered, strings::getdel),
    Row("HELLO", AtLeast(1), Alone, connection::hello),
    Row("INFO", AtLeast(1), Gathered, server::info),
    Row("MGET", AtLeast(2), Gathered, strings::mget),
    Row("MULTI", Exactly(1), Alone, together::multi),
    Row("PEXPIRE", AtLeast(3), Gathered, expiry::pexpire),
    Row("PEXPIREAT", AtLeast(3), Gathered, expiry::pexpireat),
    Row("PEXPIRETIME", Exactly(2), Gathered, expiry::pexpiretime),
    Row("PING", AtLeast(1), AlwaysAlone, connection::ping),
    Row("PSETEX", Exactly(4), Gathered, strings::psetex),
    Row("PSUBSCRIBE", AtLeast(2), AlwaysAlone, hear::psubscribe),
    Row("PTTL", Exactly(2), Gathered, expiry::pttl),
    Row("PUNSUBSCRIBE", AtLeast(1), AlwaysAlone, hear::punsubscribe),
    Row("QUIT", AtLeast(1), AlwaysAlone, connection::quit),
    Row("RESET", Exactly(1), AlwaysAlone, connection::reset),
    Row("SCAN", AtLeast(2), Gathered, keys::scan),
    Row("SELECT", Exactly(2), Alone, connection::select),
    Row("SET", AtLeast(3), Gathered, strings::set),
    Row("SETEX", Exactly(4), Gathered, strings::setex),
    Row("SETNX", Exactly(3), Gathered, strings::setnx),
    Row("SUBSCRIBE", AtLeast(2), AlwaysAlone, hear::subscribe),
    Row("TIME", Exactly(1), Gathered, server::time),
    Row("TTL", Exactly(2), Gathered, expiry::ttl),
    Row("TYPE", Exactly(2), Gathered, keys::kind),
    Row("UNLINK", AtLeast(2), Gathered, keys::del),
    Row("UNSUBSCRIBE", AtLeast(1), AlwaysAlone, hear::unsubscribe),
    Row("ZADD", AtLeast(4), Gathered, sorted::zadd),
    Row("ZCARD", Exactly(2), Gathered, sorted::zcard),
    Row("ZCOUNT", Exactly(4), Gathered, sorted::zcount),
    Row("ZMSCORE", AtLeast(3), Gathered, sorted::zmscore),
    Row("ZPOPMIN", AtLeast(2), Gathered, sorted::zpopmin),
    Row("ZRANGE", AtLeast(4), Gathered, sorted::zrange),
    Row("ZRANGEBYSCORE", AtLeast(4), Gathered, sorted::zrangebyscore),
    Row("ZREM", AtLeast(3), Gathered, sorted::zrem),
    Row("ZSCORE", Exactly(3), Gathered, sorted::zscore),
];

/// Longest name in the table, in bytes.
const NAME_BYTES: usize = 24;

/// The names of all commands, and at last what stands for those that are none.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.0).chain(["unknown"])
}

fn find(name: &[u8]) -> Option<&'static Row> {
    place(name).map(|place| &TABLE[place])
}

/// Where in the table a command stands.
fn place(name: &[u8]) -> Option<usize> {
    let mut capitals = [0; NAME_BYTES];
    let capitals = capitals.get_mut(..name.len())?;
    capitals.copy_from_slice(name);
    capitals.make_ascii_uppercase();
    TABLE.binary_search_by(|row| row.0.as_bytes().cmp(capitals)).ok()
}

/// Must everything before it have been answered?
pub(crate) fn runs_alone(words: &Words<'_>) -> bool {
    find(words.at(0)).is_some_and(|row| row.2 != Gathered)
}

/// Begins a request.
pub(crate) fn begin(words: &Words<'_>, client: &mut Client) -> Next {
    begun(words, client).unwrap_or_else(|No(why)| Next::Say(Reply::Error(why)))
}

fn begun(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let place = place(words.at(0));
    client.begun.push(place.unwrap_or(TABLE.len()));
    let Some(Row(name, count, when, begin)) = place.map(|place| &TABLE[place]) else {
        return Ok(unknown(words));
    };
    if !count.fits(words.len()) {
        return Err(No::count(&name.to_ascii_lowercase()));
    }
    if *when != AlwaysAlone && client.version == Version::Two && client.ears.listens() {
        return Err(No::err(format!(
            "Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
             allowed in this context",
            name.to_ascii_lowercase()
        )));
    }
    if together::takes_in(name, client) {
        return Ok(Next::Say(Reply::Status("QUEUED")));
    }
    begin(words, client)
}

/// What is no command here. A browser that was led to this port is cut off before it does harm.
fn unknown(words: &Words<'_>) -> Next {
    let name = words.at(0);
    if [&b"POST"[..], b"HOST:"].iter().any(|http| name.eq_ignore_ascii_case(http)) {
        return Next::Leave(None);
    }
    let name = shown(name);
    let instead = nearest::instead(&name);
    Next::Say(Reply::Error(format!("ERR unknown command '{name}': {instead}")))
}

/// A client's own word in an error, as much of it as helps.
fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(word).chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::{NAME_BYTES, TABLE, find};

    #[test]
    fn every_row_can_be_found() {
        assert!(TABLE.is_sorted_by(|one, next| one.0 < next.0));
        for row in TABLE {
            assert!(row.0.len() <= NAME_BYTES);
            let found = find(row.0.to_ascii_lowercase().as_bytes()).expect("it is in the table");
            assert_eq!(found.0, row.0);
        }
        assert!(find(b"NOTHING").is_none());
        assert!(find(&[b'x'; 100]).is_none());
    }
}
