//! The conversation itself: versions, names, and its end.

use super::{Client, Ears, Next, No};
use crate::number;
use crate::reading::Words;
use crate::reply::{Reply, Version};

/// `PING [message]`
pub(super) fn ping(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let message = match words.len() {
        1 => None,
        2 => Some(words.at(1).to_vec()),
        _ => return Err(No::err("wrong number of arguments for 'ping' command")),
    };
    // A subscribed client of version 2 takes every reply for a message, so this one looks like one.
    let looks_like_message = client.version == Version::Two && client.ears.listens();
    Ok(Next::Say(match message {
        message if looks_like_message => {
            Reply::List(vec![Reply::Word("pong"), Reply::Bulk(message.unwrap_or_default())])
        }
        None => Reply::Status("PONG"),
        Some(message) => Reply::Bulk(message),
    }))
}

/// `ECHO message`
pub(super) fn echo(words: &Words<'_>, _: &mut Client) -> Result<Next, No> {
    Ok(Next::Say(Reply::Bulk(words.at(1).to_vec())))
}

/// `AUTH [user] password`
///
/// There is no password to be wrong yet. Redis without one takes any for its user `default` and
/// refuses one for nobody in particular, in these words.
pub(super) fn auth(words: &Words<'_>, _: &mut Client) -> Result<Next, No> {
    match words.len() {
        2 => Err(No::err(
            "AUTH <password> called without any password configured for the default user. Are you \
             sure your configuration is correct?",
        )),
        3 => known_user(words.at(1)).map(|()| Next::Say(Reply::OK)),
        _ => Err(No::syntax()),
    }
}

fn known_user(user: &[u8]) -> Result<(), No> {
    if user == b"default" {
        return Ok(());
    }
    Err(No("WRONGPASS invalid username-password pair or user is disabled.".to_owned()))
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`
pub(super) fn hello(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let mut version = client.version;
    if let Some(word) = words.get(1) {
        let number = number::integer(word)
            .ok_or_else(|| No::err("Protocol version is not an integer or out of range"))?;
        version = match number {
            2 => Version::Two,
            3 => Version::Three,
            _ => return Err(No("NOPROTO unsupported protocol version".to_owned())),
        };
    }
    let mut options = words.from(2);
    let mut name = None;
    while let Some(option) = options.next() {
        let bad = || {
            let option = String::from_utf8_lossy(option);
            No::err(format!("Syntax error in HELLO option '{option}'"))
        };
        if option.eq_ignore_ascii_case(b"SETNAME") {
            name = Some(good_name(options.next().ok_or_else(bad)?)?);
        } else if option.eq_ignore_ascii_case(b"AUTH") {
            let user = options.next().ok_or_else(bad)?;
            options.next().ok_or_else(bad)?;
            known_user(user)?;
        } else {
            return Err(bad());
        }
    }
    client.version = version;
    client.name = name.unwrap_or_else(|| std::mem::take(&mut client.name));
    let proto = if version == Version::Three { 3 } else { 2 };
    Ok(Next::Say(Reply::Map(vec![
        (Reply::Word("server"), Reply::Word("duly")),
        (Reply::Word("version"), Reply::Word(env!("CARGO_PKG_VERSION"))),
        (Reply::Word("proto"), Reply::Integer(proto)),
        (Reply::Word("id"), Reply::Integer(client.id())),
        (Reply::Word("mode"), Reply::Word("standalone")),
        (Reply::Word("role"), Reply::Word("master")),
        (Reply::Word("modules"), Reply::List(Vec::new())),
    ])))
}

/// `CLIENT …`: what libraries say of themselves when they connect.
pub(super) fn client(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let said = match (words.at(1).to_ascii_uppercase().as_slice(), words.len()) {
        (b"ID", 2) => Reply::Integer(client.id()),
        (b"GETNAME", 2) if client.name.is_empty() => Reply::Nothing,
        (b"GETNAME", 2) => Reply::Bulk(client.name.clone()),
        (b"SETNAME", 3) => {
            client.name = good_name(words.at(2))?;
            Reply::OK
        }
        (b"SETINFO", 4) => {
            library(words.at(2), words.at(3))?;
            Reply::OK
        }
        // Of the others nobody here knows.
        (b"INFO" | b"LIST", 2) => Reply::Verbatim(format!("{}\n", about(client))),
        (b"NO-EVICT" | b"NO-TOUCH", 3) => on_or_off(words.at(2)).map(|_| Reply::OK)?,
        (b"REPLY", 3) => replies(words.at(2))?,
        (b"HELP", 2) => Reply::List(CLIENT_HELP.iter().map(|line| Reply::Status(line)).collect()),
        (name, _) => return Err(No::subcommand("client", name, CLIENT)),
    };
    Ok(Next::Say(said))
}

const CLIENT: &[&str] = &[
    "GETNAME", "HELP", "ID", "INFO", "LIST", "NO-EVICT", "NO-TOUCH", "REPLY", "SETINFO", "SETNAME",
];

const CLIENT_HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> ...]. Subcommands are:",
    "ID, GETNAME, SETNAME <name>, SETINFO LIB-NAME|LIB-VER <value>",
    "INFO, LIST: this connection; others are not shown.",
    "NO-EVICT ON|OFF, NO-TOUCH ON|OFF: nothing is ever evicted.",
    "REPLY ON: there are always replies.",
];

fn about(client: &Client) -> String {
    let name = String::from_utf8_lossy(&client.name);
    let resp = if client.version == Version::Three { 3 } else { 2 };
    let (channels, patterns) = client.ears.counts();
    format!("id={} name={name} db=0 sub={channels} psub={patterns} resp={resp}", client.id())
}

fn library(name: &[u8], value: &[u8]) -> Result<(), No> {
    let is_known = [&b"LIB-NAME"[..], b"LIB-VER"].iter().any(|it| name.eq_ignore_ascii_case(it));
    if !is_known {
        let name = String::from_utf8_lossy(name);
        return Err(No::err(format!("Unrecognized option '{name}'")));
    }
    if !value.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        return Err(No::err(format!(
            "{name} cannot contain spaces, newlines or special characters."
        )));
    }
    Ok(())
}

fn on_or_off(word: &[u8]) -> Result<bool, No> {
    match word {
        word if word.eq_ignore_ascii_case(b"ON") => Ok(true),
        word if word.eq_ignore_ascii_case(b"OFF") => Ok(false),
        _ => Err(No::syntax()),
    }
}

/// A client that hears no replies could not know whether its deadline is there.
fn replies(word: &[u8]) -> Result<Reply, No> {
    if word.eq_ignore_ascii_case(b"ON") {
        return Ok(Reply::OK);
    }
    if [&b"OFF"[..], b"SKIP"].iter().any(|it| word.eq_ignore_ascii_case(it)) {
        return Err(No::err("Duly always replies: only a reply says that something is durable"));
    }
    Err(No::syntax())
}

/// `SELECT 0`
pub(super) fn select(words: &Words<'_>, _: &mut Client) -> Result<Next, No> {
    match number::integer(words.at(1)) {
        Some(0) => Ok(Next::Say(Reply::OK)),
        Some(_) => Err(No::err("DB index is out of range: Duly has queues, and one database, 0")),
        None => Err(No::not_an_integer()),
    }
}

/// `RESET`
pub(super) fn reset(_: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    client.version = Version::Two;
    client.ears = Ears::default();
    client.name.clear();
    client.is_in_transaction = false;
    Ok(Next::Say(Reply::Status("RESET")))
}

/// `QUIT`
pub(super) fn quit(_: &Words<'_>, _: &mut Client) -> Result<Next, No> {
    Ok(Next::Leave(Some(Reply::OK)))
}

/// Longest name of a client, in bytes: it is kept as long as the client is there.
const NAME_BYTES: usize = 512;

fn good_name(name: &[u8]) -> Result<Vec<u8>, No> {
    if name.len() > NAME_BYTES {
        return Err(No::err("a client's name has 512 bytes at most"));
    }
    let is_good = name.iter().all(|byte| (b'!'..=b'~').contains(byte));
    if !is_good {
        return Err(No::err("Client names cannot contain spaces, newlines or special characters."));
    }
    Ok(name.to_vec())
}
