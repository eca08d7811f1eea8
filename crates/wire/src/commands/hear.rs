//! Hearing of lapses: `__keyevent@0__:expired` and `__keyspace@0__:<key>`.
//!
//! A lapse is told to everybody who listens when it happens, and to nobody afterwards, as in Redis:
//! the record and its delivery are the durable part. Other channels can be subscribed to, as clients
//! do that; nothing is ever said on them.

use std::collections::BTreeSet;

use duly_engine::announce::Announcement;
use duly_engine::deadline::What;

use super::{Client, Next, No, pattern};
use crate::glob;
use crate::name::Names;
use crate::reading::Words;
use crate::reply::Reply;

/// Most channels and patterns of one client.
const SUBSCRIPTIONS: usize = 1_024;

/// Longest they may be together, in bytes: each lapse is compared with all of them.
const SUBSCRIPTION_BYTES: usize = 16 << 10;

/// What a client listens to.
#[derive(Debug, Default)]
pub(crate) struct Ears {
    channels: BTreeSet<Vec<u8>>,
    patterns: BTreeSet<Vec<u8>>,
}

impl Ears {
    /// To anything at all?
    pub(crate) fn listens(&self) -> bool {
        self.count() > 0
    }

    /// How many channels, and how many patterns.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.channels.len(), self.patterns.len())
    }

    fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    fn bytes(&self) -> usize {
        self.channels.iter().chain(&self.patterns).map(Vec::len).sum()
    }

    /// What this client is told about that.
    pub(crate) fn hear(&self, announcement: &Announcement, names: &Names) -> Vec<Reply> {
        let Some(told) = &announcement.told else { return Vec::new() };
        if !matches!(told.what, What::Lapsed) {
            return Vec::new();
        }
        let Some(key) = names.written(&announcement.queue, &told.key) else { return Vec::new() };
        let space = format!("__keyspace@0__:{key}");
        let said = [(space.as_str(), "expired"), ("__keyevent@0__:expired", key.as_str())];
        said.into_iter().flat_map(|(channel, message)| self.told(channel, message)).collect()
    }

    fn told(&self, channel: &str, message: &str) -> Vec<Reply> {
        let mut told = Vec::new();
        if self.channels.contains(channel.as_bytes()) {
            let parts = ["message", channel, message];
            told.push(Reply::Push(parts.into_iter().map(Reply::text).collect()));
        }
        for pattern in self.patterns.iter().filter(|it| glob::matches(it, channel.as_bytes())) {
            told.push(Reply::Push(vec![
                Reply::Word("pmessage"),
                Reply::Bulk(pattern.clone()),
                Reply::text(channel),
                Reply::text(message),
            ]));
        }
        told
    }
}

/// `SUBSCRIBE channel…`
pub(super) fn subscribe(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    listen(words, client, "subscribe", |ears| &mut ears.channels)
}

/// `PSUBSCRIBE pattern…`
pub(super) fn psubscribe(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    listen(words, client, "psubscribe", |ears| &mut ears.patterns)
}

/// `UNSUBSCRIBE [channel…]`
pub(super) fn unsubscribe(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    Ok(Next::Say(leave(words, client, "unsubscribe", |ears| &mut ears.channels)))
}

/// `PUNSUBSCRIBE [pattern…]`
pub(super) fn punsubscribe(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    Ok(Next::Say(leave(words, client, "punsubscribe", |ears| &mut ears.patterns)))
}

type Which = fn(&mut Ears) -> &mut BTreeSet<Vec<u8>>;

fn listen(words: &Words<'_>, client: &mut Client, verb: &str, which: Which) -> Result<Next, No> {
    let mut said = Vec::new();
    if client.ears.count() + words.len() - 1 > SUBSCRIPTIONS {
        return Err(No::err("there would be more subscriptions than one client may have"));
    }
    let mut bytes = client.ears.bytes();
    for name in words.from(1) {
        bytes += pattern(name)?.len();
    }
    if bytes > SUBSCRIPTION_BYTES {
        return Err(No::err("all patterns and channels of a client have 16 KiB at most"));
    }
    for name in words.from(1) {
        which(&mut client.ears).insert(name.to_vec());
        said.push(stands(verb, Some(name), client));
    }
    Ok(Next::Say(Reply::Several(said)))
}

fn leave(words: &Words<'_>, client: &mut Client, verb: &str, which: Which) -> Reply {
    let names: Vec<Vec<u8>> = if words.len() > 1 {
        words.from(1).map(<[u8]>::to_vec).collect()
    } else {
        which(&mut client.ears).iter().cloned().collect()
    };
    if names.is_empty() {
        return stands(verb, None, client);
    }
    let gone = names.into_iter().map(|name| {
        which(&mut client.ears).remove(&name);
        stands(verb, Some(&name), client)
    });
    Reply::Several(gone.collect())
}

/// How a client's subscriptions stand after one change.
fn stands(verb: &str, name: Option<&[u8]>, client: &Client) -> Reply {
    let name = name.map_or(Reply::Nothing, |name| Reply::Bulk(name.to_vec()));
    Reply::Push(vec![Reply::text(verb), name, Reply::count(client.ears.count())])
}
