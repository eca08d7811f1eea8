//! The commands: one `table`, and a file for each family.
//!
//! A row has all that is known of a command by its name, and the function that begins it.
//! That gives a reply, or commands for the engine and what to do with their answers; it may ask
//! again, when what it was told decides what it asks (a compare and a set). Nothing here keeps
//! anything between requests but what the client is ([`Client`]).

#![expect(clippy::unnecessary_wraps, reason = "all rows of the table have functions of one type")]

mod connection;
mod described;
mod expiry;
mod hear;
mod keys;
mod nearest;
mod own;
mod server;
mod sorted;
mod strings;
mod table;
mod together;

use std::sync::Arc;

use duly_engine::answer::Answer;
use duly_engine::command::Command;
use duly_engine::deadline::PayloadAt;

use crate::Settings;
use crate::reading::Words;
use crate::reply::{Reply, Version};
use crate::session::{Heard, Listing, Page, Wait};
use crate::telling::Manner;
pub(crate) use hear::Ears;
use table::{Row, TABLE, place};

/// What is to be done about a request.
pub(crate) enum Next {
    /// Tell the client.
    Say(Reply),
    /// Ask the engine. What may have to ask `again` is the last of its kind that is gathered.
    Ask { commands: Vec<Command>, then: Then, again: bool },
    /// Lease, and wait if there is nothing.
    Wait(Wait, Taken),
    /// List, in memory and in the archive; only for what runs alone.
    List(Listing, Shown),
    /// Say this, if anything, and hang up; only for what runs alone.
    Leave(Option<Reply>),
}

/// What to do with the engine's answers.
pub(crate) type Then = Box<dyn FnOnce(&mut Heard<'_>) -> Next + Send>;

/// What to do with what a lease took, or why it took nothing, and how payloads are fetched.
pub(crate) type Taken = Box<dyn FnOnce(Answer, &mut dyn FnMut(&mut PayloadAt)) -> Next + Send>;

/// How a page of records is told.
pub(crate) type Shown = Box<dyn FnOnce(Page) -> Reply + Send>;

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

    /// How it is told things.
    pub(crate) fn manner(&self) -> Manner {
        Manner { version: self.version, show: self.settings.show }
    }

    /// Its number as it is told.
    fn id(&self) -> i64 {
        i64::try_from(self.number).unwrap_or(i64::MAX)
    }
}

type Begin = fn(&Words<'_>, &mut Client) -> Result<Next, No>;

/// The names of all commands, and at last what stands for those that are none.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.name).chain(["unknown"])
}

/// Begins a request; nothing if everything before it must have been answered, and has not.
pub(crate) fn begin(words: &Words<'_>, client: &mut Client, is_next: bool) -> Option<Next> {
    let place = place(words.at(0));
    let row = place.map(|place| &TABLE[place]);
    if !is_next && row.is_some_and(|row| row.when.is_alone()) {
        return None;
    }
    client.begun.push(place.unwrap_or(TABLE.len()));
    let begun = row.map_or_else(|| Ok(unknown(words)), |row| begun(row, words, client));
    Some(begun.unwrap_or_else(|No(why)| Next::Say(Reply::Error(why))))
}

fn begun(row: &Row, words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    row.count.check(words.len(), row.name)?;
    let is_subscribed = client.version == Version::Two && client.ears.listens();
    if is_subscribed && !row.when.is_for_subscribers() {
        return Err(No::err(format!(
            "Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
             allowed in this context",
            row.name.to_ascii_lowercase()
        )));
    }
    if client.is_in_transaction && row.when.is_taken_in() {
        return Ok(Next::Say(Reply::Status("QUEUED")));
    }
    (row.begin)(words, client)
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
