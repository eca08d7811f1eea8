//! How the Redis protocol is spoken: where, and what keys and scores mean.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use duly_engine::id::QueueName;
use duly_engine::time::Span;
use serde::Deserialize;

use super::typed::{Wrong, address};
use crate::units::WrittenDuration;

/// How the Redis protocol is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Where; always an address of this machine; none for nowhere.
    pub listen: Option<SocketAddr>,
    /// The path of a Unix socket where it is spoken, too.
    pub unix: Option<PathBuf>,
    /// Who may connect to that: the permissions of a file.
    pub unix_mode: u32,
    /// Clients at once.
    pub connections: u32,
    /// A client that sends nothing for so long, and waits for nothing, is cut off.
    pub idle: Option<Duration>,
    /// Taken off the beginning of every key that has it.
    pub strip_prefix: String,
    /// What stands before the colon of a key, and the queue that it means.
    pub queues: BTreeMap<String, QueueName>,
    /// Whether a score of a sorted set counts milliseconds, and not seconds.
    pub score_in_millis: bool,
}

impl Default for Redis {
    fn default() -> Redis {
        Redis {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7831))),
            unix: None,
            unix_mode: 0o660,
            connections: 10_000,
            idle: None,
            strip_prefix: String::new(),
            queues: BTreeMap::new(),
            score_in_millis: false,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedisForm {
    listen: Option<String>,
    unix: Option<PathBuf>,
    unix_mode: Option<String>,
    connections: Option<u32>,
    idle: Option<Idle>,
    strip_prefix: Option<String>,
    queues: Option<BTreeMap<String, String>>,
    score: Option<ScoreWord>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum ScoreWord {
    Seconds,
    Milliseconds,
}

/// A duration, or that there is none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Idle {
    Off(Off),
    After(WrittenDuration),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Off {
    Off,
}

/// Clients at once.
const CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=100_000;
/// Shorter, and a client could be cut off between two requests.
const SHORTEST_IDLE: Span = Span::from_secs(1);
/// The longest path that the system takes for a socket, in bytes.
const PATH_BYTES: usize = 107;

impl RedisForm {
    pub(super) fn mean(self) -> Result<Redis, Wrong> {
        let mut redis = Redis::default();
        if let Some(listen) = &self.listen {
            redis.listen = address(listen, 7831).map_err(|why| ("listen", why))?;
        }
        if let Some(path) = self.unix {
            if !path.is_absolute() || path.as_os_str().len() > PATH_BYTES {
                return Err(("unix", format!("is an absolute path of {PATH_BYTES} bytes at most")));
            }
            redis.unix = Some(path);
        }
        if let Some(mode) = self.unix_mode {
            let bits = u32::from_str_radix(&mode, 8).ok().filter(|bits| *bits <= 0o777);
            redis.unix_mode = bits.ok_or_else(|| {
                ("unix_mode", format!("{mode:?} is no permission; write \"660\" or \"600\""))
            })?;
        }
        redis.connections = self.connections.unwrap_or(redis.connections);
        if !CONNECTIONS.contains(&redis.connections) {
            return Err(("connections", "is 1 to 100000 clients".to_owned()));
        }
        if let Some(Idle::After(written)) = self.idle {
            let span = written.span().map_err(|bad| ("idle", bad.to_string()))?;
            if span < SHORTEST_IDLE {
                return Err(("idle", format!("is at least {SHORTEST_IDLE}, or \"off\"")));
            }
            redis.idle = Some(Duration::from_millis(span.millis()));
        }
        redis.strip_prefix = self.strip_prefix.unwrap_or_default();
        for (word, queue) in self.queues.unwrap_or_default() {
            if word.is_empty() || word.contains(':') {
                let why = format!("{word:?} never stands before the first colon of a key");
                return Err(("queues", why));
            }
            let queue =
                QueueName::new(&queue).map_err(|bad| ("queues", format!("{queue:?}: {bad}")))?;
            // An expiry is told with one key, so there is one way back.
            if redis.queues.values().any(|other| *other == queue) {
                return Err(("queues", format!("two words mean the queue {queue}; keep one")));
            }
            redis.queues.insert(word, queue);
        }
        redis.score_in_millis = self.score == Some(ScoreWord::Milliseconds);
        Ok(redis)
    }
}
