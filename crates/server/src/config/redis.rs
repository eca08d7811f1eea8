//! How the Redis protocol is spoken: where, and what keys and scores mean.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use duly_engine::id::QueueName;
use serde::Deserialize;

use super::typed::{Wrong, address};

/// How the Redis protocol is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Where; always an address of this machine; none for nowhere.
    pub listen: Option<SocketAddr>,
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

impl RedisForm {
    pub(super) fn mean(self) -> Result<Redis, Wrong> {
        let mut redis = Redis::default();
        if let Some(listen) = &self.listen {
            redis.listen = address(listen, 7831).map_err(|why| ("listen", why))?;
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
