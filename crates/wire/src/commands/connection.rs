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
            Reply::List(vec![Reply::text("pong"), Reply::Bulk(message.unwrap_or_default())])
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
pub(super) fn auth(words: &Words<'_>, _: &mut Client) -> Result<Next, No> {
    if words.len() > 3 {
        return Err(No::syntax());
    }
    Err(No::err(
        "AUTH <password> called without any password configured for the default user. Are you sure \
         your configuration is correct?",
    ))
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
        if option.eq_ignore_ascii_case(b"SETNAME") {
            name = Some(good_name(options.next().ok_or_else(No::syntax)?)?);
        } else {
            return Err(No::syntax());
        }
    }
    client.version = version;
    client.name = name.unwrap_or_else(|| std::mem::take(&mut client.name));
    let proto = if version == Version::Three { 3 } else { 2 };
    Ok(Next::Say(Reply::Map(vec![
        (Reply::text("server"), Reply::text("duly")),
        (Reply::text("version"), Reply::text(env!("CARGO_PKG_VERSION"))),
        (Reply::text("proto"), Reply::Integer(proto)),
        (Reply::text("id"), number_of(client)),
        (Reply::text("mode"), Reply::text("standalone")),
        (Reply::text("role"), Reply::text("master")),
        (Reply::text("modules"), Reply::List(Vec::new())),
    ])))
}

/// `CLIENT ID|GETNAME|SETNAME|SETINFO`
pub(super) fn client(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let said = match (words.at(1).to_ascii_uppercase().as_slice(), words.len()) {
        (b"ID", 2) => number_of(client),
        (b"GETNAME", 2) if client.name.is_empty() => Reply::Nothing,
        (b"GETNAME", 2) => Reply::Bulk(client.name.clone()),
        (b"SETNAME", 3) => {
            client.name = good_name(words.at(2))?;
            Reply::OK
        }
        (b"SETINFO", 4) => Reply::OK,
        _ => return Err(No::err("unknown subcommand or wrong number of arguments for 'client'")),
    };
    Ok(Next::Say(said))
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
    Ok(Next::Say(Reply::Status("RESET")))
}

/// `QUIT`
pub(super) fn quit(_: &Words<'_>, _: &mut Client) -> Result<Next, No> {
    Ok(Next::Leave(Some(Reply::OK)))
}

fn number_of(client: &Client) -> Reply {
    Reply::Integer(i64::try_from(client.number).unwrap_or(i64::MAX))
}

fn good_name(name: &[u8]) -> Result<Vec<u8>, No> {
    let is_good = name.iter().all(|byte| (b'!'..=b'~').contains(byte));
    if !is_good {
        return Err(No::err("Client names cannot contain spaces, newlines or special characters."));
    }
    Ok(name.to_vec())
}
