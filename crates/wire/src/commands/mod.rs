//! The commands: one table, and a file for each family.
//!
//! A row names a command, how many words it has, when it may run, and the function that begins it.
//! That gives a reply, or commands for the engine and what to do with their answers; it may ask
//! again, when what it was told decides what it asks (a compare and a set). Nothing here keeps
//! anything between requests but what the client is ([`Client`]).

#![expect(clippy::unnecessary_wraps, reason = "all rows of the table have functions of one type")]

mod connection;
mod hear;
mod keys;
mod strings;

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
    #[expect(dead_code, reason = "what compares and sets comes with the next commands")]
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
}

/// Who talks.
pub(crate) struct Client {
    pub(crate) settings: Arc<Settings>,
    pub(crate) version: Version,
    pub(crate) ears: Ears,
    number: u64,
    name: Vec<u8>,
}

impl Client {
    pub(crate) fn new(settings: Arc<Settings>, number: u64) -> Client {
        let (version, ears) = (Version::default(), Ears::default());
        Client { settings, version, ears, number, name: Vec::new() }
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

/// One command.
struct Row(&'static str, Count, When, Begin);

use Count::{AtLeast, Exactly};
use When::{Alone, AlwaysAlone, Gathered};

/// All commands, in the order of their names.
const TABLE: &[Row] = &[
    Row("AUTH", AtLeast(2), Alone, connection::auth),
    Row("CLIENT", AtLeast(2), Alone, connection::client),
    Row("DEL", AtLeast(2), Gathered, keys::del),
    Row("ECHO", Exactly(2), Gathered, connection::echo),
    Row("EXISTS", AtLeast(2), Gathered, keys::exists),
    Row("GET", Exactly(2), Gathered, strings::get),
    Row("HELLO", AtLeast(1), Alone, connection::hello),
    Row("PING", AtLeast(1), AlwaysAlone, connection::ping),
    Row("PSETEX", Exactly(4), Gathered, strings::psetex),
    Row("PSUBSCRIBE", AtLeast(2), AlwaysAlone, hear::psubscribe),
    Row("PUNSUBSCRIBE", AtLeast(1), AlwaysAlone, hear::punsubscribe),
    Row("QUIT", AtLeast(1), AlwaysAlone, connection::quit),
    Row("RESET", Exactly(1), AlwaysAlone, connection::reset),
    Row("SELECT", Exactly(2), Alone, connection::select),
    Row("SET", AtLeast(3), Gathered, strings::set),
    Row("SETEX", Exactly(4), Gathered, strings::setex),
    Row("SETNX", Exactly(3), Gathered, strings::setnx),
    Row("SUBSCRIBE", AtLeast(2), AlwaysAlone, hear::subscribe),
    Row("UNLINK", AtLeast(2), Gathered, keys::del),
    Row("UNSUBSCRIBE", AtLeast(1), AlwaysAlone, hear::unsubscribe),
];

/// Longest name in the table, in bytes.
const NAME_BYTES: usize = 24;

fn find(name: &[u8]) -> Option<&'static Row> {
    let mut capitals = [0; NAME_BYTES];
    let capitals = capitals.get_mut(..name.len())?;
    capitals.copy_from_slice(name);
    capitals.make_ascii_uppercase();
    let at = TABLE.binary_search_by(|row| row.0.as_bytes().cmp(capitals)).ok()?;
    Some(&TABLE[at])
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
    let Some(Row(name, count, when, begin)) = find(words.at(0)) else {
        return Ok(unknown(words));
    };
    let fits = match *count {
        Exactly(count) => words.len() == count,
        AtLeast(count) => words.len() >= count,
    };
    let name = || name.to_ascii_lowercase();
    if !fits {
        return Err(No::err(format!("wrong number of arguments for '{}' command", name())));
    }
    if *when != AlwaysAlone && client.version == Version::Two && client.ears.listens() {
        return Err(No::err(format!(
            "Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
             allowed in this context",
            name()
        )));
    }
    begin(words, client)
}

/// What is no command here. A browser that was led to this port is cut off before it does harm.
fn unknown(words: &Words<'_>) -> Next {
    let name = String::from_utf8_lossy(words.at(0));
    if ["POST", "HOST:"].iter().any(|http| name.eq_ignore_ascii_case(http)) {
        return Next::Leave(None);
    }
    let shown: String = name.chars().take(128).collect();
    Next::Say(Reply::Error(format!("ERR unknown command '{shown}'")))
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
