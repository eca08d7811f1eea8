//! Commands of Redis that Duly does not have: what it offers instead.
//!
//! Who meets this error has a program written for Redis, or looks for a call of the HTTP API. One sentence says what to use; for a
//! name that is in no list, the command that is written most like it.

use super::table::TABLE;

const TEXT: &str = "a key has a value and an expiry and nothing else: SET it whole";
const COUNTER: &str = "Duly counts deadlines and not things: DBSIZE, INFO, or duly stats";
const HASH: &str = "there are no hashes: put JSON into the value of SET";
const LIST: &str = "there are no lists: what has lapsed is taken with DULY.LEASE";
const SET: &str =
    "there are no sets: a queue is a prefix before a colon, SCAN MATCH orders:* lists it";
const SORTED: &str = "of sorted sets there is what a delay queue needs: ZADD, ZRANGEBYSCORE, ZREM";
const TAKEN: &str = "each member is claimed by one: ZREM it and see who is answered 1, or take what is due with \
     ZPOPMIN";
const STREAM: &str = "there are no streams: what has lapsed is taken with DULY.LEASE, or published to a stream of \
     Redis by a queue's target";
const SCRIPT: &str = "there are no scripts: SET, EXPIRE and DEL are decided at once and whole";
const PUBLISH: &str =
    "only the server speaks on channels: SUBSCRIBE __keyevent@0__:expired hears lapses";
const ERASE: &str = "nothing vanishes at once: DEL each key, and queues are deleted over HTTP";
const WATCH: &str = "there are no transactions: use SET with NX or XX, EXPIRE with GT or LT, and DEL, which say who won";
const MOVE: &str = "a key keeps its name: SET the new one, then DEL the old one";
const INSIDE: &str = "INFO and COMMAND tell what there is; the HTTP API and its page show the rest";
const CLUSTER: &str = "there is one server: no replicas and no cluster to talk to";
const SAVED: &str = "every reply is on the disk before it is sent: there is nothing to save";

/// What is offered instead of what.
const INSTEAD: &[(&str, &[&str])] = &[
    ("use SCAN with MATCH", &["KEYS", "RANDOMKEY"]),
    ("use SET with GET", &["GETSET"]),
    ("use GET, then EXPIRE", &["GETEX", "TOUCH"]),
    ("use SET in a pipeline: each with an expiry", &["MSET", "MSETNX"]),
    (
        "a key without an expiry is no deadline: EXPIRE moves it up to the queue's max_total",
        &["PERSIST"],
    ),
    (
        TEXT,
        &[
            "APPEND", "BITCOUNT", "BITFIELD", "BITOP", "BITPOS", "GETBIT", "GETRANGE", "LCS",
            "SETBIT", "SETRANGE", "STRLEN", "SUBSTR", "PFADD", "PFCOUNT", "PFMERGE",
        ],
    ),
    (COUNTER, &["INCR", "INCRBY", "INCRBYFLOAT", "DECR", "DECRBY"]),
    (
        HASH,
        &[
            "HDEL",
            "HEXISTS",
            "HEXPIRE",
            "HGET",
            "HGETALL",
            "HINCRBY",
            "HINCRBYFLOAT",
            "HKEYS",
            "HLEN",
            "HMGET",
            "HMSET",
            "HRANDFIELD",
            "HSCAN",
            "HSET",
            "HSETNX",
            "HSTRLEN",
            "HVALS",
        ],
    ),
    (
        LIST,
        &[
            "BLMOVE",
            "BLMPOP",
            "BLPOP",
            "BRPOP",
            "BRPOPLPUSH",
            "LINDEX",
            "LINSERT",
            "LLEN",
            "LMOVE",
            "LMPOP",
            "LPOP",
            "LPOS",
            "LPUSH",
            "LPUSHX",
            "LRANGE",
            "LREM",
            "LSET",
            "LTRIM",
            "RPOP",
            "RPOPLPUSH",
            "RPUSH",
            "RPUSHX",
        ],
    ),
    (
        SET,
        &[
            "SADD",
            "SCARD",
            "SDIFF",
            "SDIFFSTORE",
            "SINTER",
            "SINTERCARD",
            "SINTERSTORE",
            "SISMEMBER",
            "SMEMBERS",
            "SMISMEMBER",
            "SMOVE",
            "SPOP",
            "SRANDMEMBER",
            "SREM",
            "SSCAN",
            "SUNION",
            "SUNIONSTORE",
            "SORT",
            "SORT_RO",
        ],
    ),
    (
        SORTED,
        &[
            "BZMPOP",
            "BZPOPMAX",
            "GEOADD",
            "GEODIST",
            "GEOPOS",
            "GEORADIUS",
            "GEOSEARCH",
            "ZDIFF",
            "ZINTER",
            "ZINTERSTORE",
            "ZLEXCOUNT",
            "ZMPOP",
            "ZPOPMAX",
            "ZRANDMEMBER",
            "ZRANGEBYLEX",
            "ZRANGESTORE",
            "ZRANK",
            "ZREMRANGEBYLEX",
            "ZREVRANGE",
            "ZREVRANGEBYSCORE",
            "ZREVRANK",
            "ZSCAN",
            "ZUNION",
            "ZUNIONSTORE",
        ],
    ),
    (TAKEN, &["ZREMRANGEBYRANK", "ZREMRANGEBYSCORE"]),
    ("a due time is not added to: ZADD with the new score, or DULY.EXTEND with BY", &["ZINCRBY"]),
    (
        STREAM,
        &[
            "XACK",
            "XADD",
            "XAUTOCLAIM",
            "XCLAIM",
            "XDEL",
            "XGROUP",
            "XINFO",
            "XLEN",
            "XPENDING",
            "XRANGE",
            "XREAD",
            "XREADGROUP",
            "XREVRANGE",
            "XTRIM",
        ],
    ),
    (
        SCRIPT,
        &["EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO", "FUNCTION", "SCRIPT"],
    ),
    (PUBLISH, &["PUBLISH", "PUBSUB", "SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE"]),
    (ERASE, &["FLUSHALL", "FLUSHDB", "SWAPDB"]),
    (WATCH, &["WATCH", "UNWATCH"]),
    (MOVE, &["COPY", "MIGRATE", "MOVE", "RENAME", "RENAMENX"]),
    (
        "DULY.GET shows a record; what has ended is in archive.db, an SQLite file",
        &["DUMP", "RESTORE"],
    ),
    (
        INSIDE,
        &["ACL", "DEBUG", "LATENCY", "LOLWUT", "MEMORY", "MODULE", "MONITOR", "OBJECT", "SLOWLOG"],
    ),
    (
        CLUSTER,
        &[
            "ASKING",
            "CLUSTER",
            "FAILOVER",
            "PSYNC",
            "READONLY",
            "READWRITE",
            "REPLICAOF",
            "ROLE",
            "SLAVEOF",
            "SYNC",
            "WAIT",
            "WAITAOF",
        ],
    ),
    (SAVED, &["BGREWRITEAOF", "BGSAVE", "LASTSAVE", "SAVE"]),
    ("SIGTERM stops the server", &["SHUTDOWN"]),
    ("send the commands as a pipeline: those that arrive together are one commit", &["DULY.BATCH"]),
    (
        "SUBSCRIBE __keyevent@0__:expired hears lapses; GET /v1/events over HTTP tells all that happens",
        &["DULY.EVENTS", "DULY.TAIL"],
    ),
    ("use GET /v1/forecast over HTTP", &["DULY.FORECAST"]),
    ("use POST /v1/links over HTTP", &["DULY.LINK", "DULY.LINKS"]),
    ("use GET /v1/watches over HTTP", &["DULY.RECONCILE", "DULY.WATCH", "DULY.WATCHES"]),
    ("use GET /v1/clock over HTTP, or TIME", &["DULY.CLOCK"]),
    ("use DULY.QUEUE PAUSE, DULY.QUEUE RESUME", &["DULY.PAUSE", "DULY.RESUME"]),
    ("use DULY.QUEUE SHIFT", &["DULY.SHIFT"]),
    (
        "a deadline that is no longer needed is settled, with DULY.SETTLE; DULY.ERASE forgets what is over",
        &["DULY.CANCEL", "DULY.DEL", "DULY.DELETE"],
    ),
];

/// Names that are further from all of ours are like none of them.
const FAR: usize = 2;

/// What to tell who asked for that.
pub(super) fn instead(name: &str) -> String {
    let known =
        INSTEAD.iter().find(|(_, names)| names.iter().any(|it| it.eq_ignore_ascii_case(name)));
    if let Some((instead, _)) = known {
        return (*instead).to_owned();
    }
    let name = name.to_ascii_uppercase();
    // Whoever sends nothing but nonsense is not to keep anybody busy.
    let near = TABLE.iter().filter(|row| row.name.len().abs_diff(name.len()) <= FAR);
    let like = near.map(|row| (distance(&name, row.name), row.name)).min();
    match like {
        Some((distance, like)) if distance <= FAR => format!("did you mean {like}?"),
        _ => "COMMAND LIST names those there are".to_owned(),
    }
}

/// How many letters must be changed, put in or taken out to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, here) in one.bytes().enumerate() {
        let mut before = std::mem::replace(&mut row[0], number + 1);
        for (at, there) in other.bytes().enumerate() {
            let changed = before + usize::from(here != there);
            before = row[at + 1];
            row[at + 1] = changed.min(before + 1).min(row[at] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::{INSTEAD, instead};
    use crate::commands::table::find;

    #[test]
    fn what_is_offered_instead_is_not_there_itself() {
        for name in INSTEAD.iter().flat_map(|(_, names)| names.iter()) {
            assert!(find(name.as_bytes()).is_none(), "{name} is there");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_understood() {
        assert_eq!(instead("setx"), "did you mean SET?");
        assert_eq!(instead("PEXPIER"), "did you mean PEXPIRE?");
        assert_eq!(instead("keys"), "use SCAN with MATCH");
        assert_eq!(instead("duly.shift"), "use DULY.QUEUE SHIFT");
        assert_eq!(instead("DULY.QUEUES"), "did you mean DULY.QUEUE?");
        assert_eq!(instead("nonsense-of-some-length"), "COMMAND LIST names those there are");
    }
}
