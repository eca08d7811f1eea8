//! The table of commands: what each is called, how many words it has, when it may run, which of its
//! words are keys, what begins it, and what its manual says in one line.
//!
//! Whatever is known of a command by its name stands here and nowhere else; no other file has a list
//! of names. Clients read the same rows with `COMMAND`.

use super::{
    Begin, No, connection, described, expiry, hear, keys, own, server, sorted, strings, together,
};

/// One command.
pub(super) struct Row {
    /// Its name, in capitals.
    pub(super) name: &'static str,
    /// How many words it has.
    pub(super) count: Count,
    /// When it may run.
    pub(super) when: When,
    /// Which of its words are keys.
    pub(super) keys: Keys,
    /// What begins it.
    pub(super) begin: Begin,
    /// Where a manual has it.
    pub(super) group: Group,
    /// What comes after its name: values are small, words of the protocol are capitals, `[…]` may be
    /// left out, `|` is between choices, `…` is after what may be repeated.
    pub(super) usage: &'static str,
    /// What it does.
    pub(super) summary: &'static str,
}

/// Most words of a command each of which may be answered with much, or be compared with much, before
/// anybody else gets a turn.
const MANY: usize = 1_026;

/// How many words a command has, its name among them.
#[derive(Clone, Copy)]
pub(super) enum Count {
    /// So many.
    Exactly(usize),
    /// So many or more, but not more than many.
    AtLeast(usize),
    /// From so many up to so many.
    Within(usize, usize),
    /// So many or more: each costs no more than a look at a record.
    Any(usize),
}

impl Count {
    /// How many it has at least, and at most.
    pub(super) fn bounds(self) -> (usize, usize) {
        match self {
            Exactly(count) => (count, count),
            AtLeast(least) => (least, MANY),
            Within(least, most) => (least, most),
            Any(least) => (least, usize::MAX),
        }
    }

    /// Why there cannot be so many of them, if so.
    pub(super) fn check(self, words: usize, name: &str) -> Result<(), No> {
        let (least, most) = self.bounds();
        if words < least || words > most && least == most {
            return Err(No::count(&name.to_ascii_lowercase()));
        }
        if words > most {
            let name = name.to_ascii_lowercase();
            return Err(No::err(format!("'{name}' takes {most} words at most")));
        }
        Ok(())
    }
}

/// When a command may run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Gathered with others.
    Gathered,
    /// When everything before it has been answered, as all that follow.
    Alone,
    /// Also while a client of version 2 is subscribed.
    Subscribed,
    /// Also while a transaction is open.
    Transacting,
    /// Whatever goes on.
    Always,
}

impl When {
    /// Must everything before it have been answered?
    pub(super) fn is_alone(self) -> bool {
        self != Gathered
    }

    /// May a client of version 2 that is subscribed say it?
    pub(super) fn is_for_subscribers(self) -> bool {
        matches!(self, Subscribed | Always)
    }

    /// Does a transaction take it in without beginning it?
    pub(super) fn is_taken_in(self) -> bool {
        !matches!(self, Transacting | Always)
    }
}

/// Which words of a command are keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// None.
    Keyless,
    /// The second.
    First,
    /// All behind the name.
    All,
}

/// Where a manual has a command: Redis's own places, and one for what is Duly's.
#[derive(Clone, Copy)]
pub(super) enum Group {
    Connection,
    Duly,
    Generic,
    PubSub,
    Server,
    SortedSet,
    Text,
    Transactions,
}

impl Group {
    /// As Redis's manual writes it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Connection => "connection",
            Duly => "duly",
            Generic => "generic",
            PubSub => "pubsub",
            Server => "server",
            SortedSet => "sorted-set",
            Text => "string",
            Transactions => "transactions",
        }
    }
}

use Count::{Any, AtLeast, Exactly, Within};
use Group::{Connection, Duly, Generic, PubSub, Server, SortedSet, Text, Transactions};
use Keys::{All, First, Keyless};
use When::{Alone, Always, Gathered, Subscribed, Transacting};

macro_rules! table {
    ($($name:literal, $count:expr, $when:ident, $keys:ident, $begin:path;
        $group:ident, $usage:literal, $summary:literal;)*) => {
        /// All commands, in the order of their names.
        pub(super) const TABLE: &[Row] = &[$(Row {
            name: $name,
            count: $count,
            when: $when,
            keys: $keys,
            begin: $begin,
            group: $group,
            usage: $usage,
            summary: $summary,
        }),*];
    };
}

table! {
    "AUTH", AtLeast(2), Alone, Keyless, connection::auth;
        Connection, "[username] password", "Says who talks; there are no passwords yet";
    "BZPOPMIN", AtLeast(3), Gathered, First, sorted::bzpopmin;
        SortedSet, "queue timeout", "Waits for what is due first, and claims it";
    "CLIENT", AtLeast(2), Alone, Keyless, connection::client;
        Connection,
        "GETNAME | HELP | ID | INFO | LIST | NO-EVICT <ON | OFF> | NO-TOUCH <ON | OFF> | REPLY ON | SETINFO attribute value | SETNAME name",
        "Tells about this connection";
    "COMMAND", AtLeast(1), Gathered, Keyless, described::command;
        Server,
        "[COUNT | DOCS [command…] | GETKEYS command [argument…] | INFO [command…] | LIST]",
        "Tells which commands there are";
    "CONFIG", Within(2, 66), Gathered, Keyless, server::config;
        Server, "GET pattern… | SET parameter value",
        "Tells the settings that libraries ask for";
    "DBSIZE", Exactly(1), Gathered, Keyless, keys::dbsize;
        Server, "", "Counts what is pending in all queues";
    "DEL", Any(2), Gathered, All, keys::del;
        Generic, "key…", "Settles deadlines, and counts those that were in time";
    "DISCARD", Exactly(1), Transacting, Keyless, together::discard;
        Transactions, "", "Forgets a transaction that was opened";
    "DULY.ERASE", Exactly(3), Gathered, Keyless, own::erase;
        Duly, "queue key", "Erases a final or dead record and all its generations";
    "DULY.EXTEND", AtLeast(3), Gathered, Keyless, own::extend;
        Duly, "queue key <BY duration | DUE instant> [IF_DUE instant]", "Moves the due time";
    "DULY.FREEZE", AtLeast(3), Gathered, Keyless, own::freeze;
        Duly, "queue key FOR duration",
        "Holds the lapse back while the customer pays; 0s ends that";
    "DULY.GET", Exactly(3), Gathered, Keyless, own::get;
        Duly, "queue key", "Tells what became of a deadline, with its timeline";
    "DULY.LEASE", AtLeast(2), Gathered, Keyless, own::lease;
        Duly, "queue [MAX number] [LEASE duration] [WAIT duration]",
        "Hands lapsed deadlines to a worker, and waits for them";
    "DULY.LIST", AtLeast(2), Alone, Keyless, own::list;
        Duly,
        "queue [STATE <pending | settled | lapsed>] [DELIVERY <ready | leased | done | superseded | dead>] [DUE_FROM instant] [DUE_TO instant] [KEY_PREFIX text] [LIMIT number] [CURSOR cursor]",
        "Lists the deadlines of a queue in order of due time, page by page";
    "DULY.QUEUE", AtLeast(2), Gathered, Keyless, own::of_queue;
        Duly,
        "LIST | GET queue | PUT queue policy | DELETE queue | PAUSE queue [DELIVERIES] [LAPSES] | RESUME queue [DELIVERIES] [LAPSES] | SHIFT queue FROM instant TO instant BY duration [DRY_RUN]",
        "Shows, creates, changes, pauses and deletes queues, and moves all due times of one";
    "DULY.REVIVE", Exactly(3), Gathered, Keyless, own::revive;
        Duly, "queue key", "Tries a dead delivery again, now";
    "DULY.SCHEDULE", AtLeast(3), Gathered, Keyless, own::schedule;
        Duly,
        "queue key [AFTER duration | DUE instant] [PAYLOAD value] [PRIORITY number] [IF_EXISTS <keep | replace | renew | fail>] [ALLOW_PAST]",
        "Promises to act at a time unless it is settled before";
    "DULY.SETTLE", AtLeast(4), Gathered, Keyless, own::settle;
        Duly, "queue key outcome [REMEMBER duration] [GENERATION number]",
        "Says that the awaited thing has happened, and is told whether that was in time";
    "DULY.STATS", AtLeast(1), Gathered, Keyless, own::stats;
        Duly, "[queue]", "Tells the figures of a queue, or of all";
    "DULY.TOUCH", AtLeast(3), Gathered, Keyless, own::touch;
        Duly, "delivery token [LEASE duration]", "Keeps a lease for another while";
    "DULY.VERDICT", AtLeast(4), Gathered, Keyless, own::verdict;
        Duly,
        "delivery token <done | superseded | retry | dead> [ERROR text] [RETRY_AFTER duration]",
        "Says how an attempt ended";
    "ECHO", Exactly(2), Gathered, Keyless, connection::echo;
        Connection, "message", "Says the same";
    "EXEC", Exactly(1), Transacting, Keyless, together::exec;
        Transactions, "", "Is refused: there are no transactions, send a pipeline";
    "EXISTS", Any(2), Gathered, All, keys::exists;
        Generic, "key…", "Counts which of them are pending";
    "EXPIRE", AtLeast(3), Gathered, First, expiry::expire;
        Generic, "key seconds [NX | XX | GT | LT]", "Moves the due time to so long from now";
    "EXPIREAT", AtLeast(3), Gathered, First, expiry::expireat;
        Generic, "key unix-time-seconds [NX | XX | GT | LT]", "Moves the due time to an instant";
    "EXPIRETIME", Exactly(2), Gathered, First, expiry::expiretime;
        Generic, "key", "Tells when it is due, in seconds since 1970";
    "GET", Exactly(2), Gathered, First, strings::get;
        Text, "key", "Tells the value while the deadline is pending";
    "GETDEL", Exactly(2), Gathered, First, strings::getdel;
        Text, "key", "Settles a deadline, and tells its value if that was in time";
    "HELLO", AtLeast(1), Alone, Keyless, connection::hello;
        Connection, "[protover [AUTH username password] [SETNAME name]]",
        "Agrees on the version of the protocol";
    "INFO", AtLeast(1), Gathered, Keyless, server::info;
        Server, "[section…]", "Tells what the server is and how it does";
    "MGET", AtLeast(2), Gathered, All, strings::mget;
        Text, "key…", "Tells the values of those that are pending";
    "MULTI", Exactly(1), Transacting, Keyless, together::multi;
        Transactions, "", "Opens a transaction, which EXEC will refuse: send a pipeline";
    "PEXPIRE", AtLeast(3), Gathered, First, expiry::pexpire;
        Generic, "key milliseconds [NX | XX | GT | LT]", "Moves the due time to so long from now";
    "PEXPIREAT", AtLeast(3), Gathered, First, expiry::pexpireat;
        Generic, "key unix-time-milliseconds [NX | XX | GT | LT]",
        "Moves the due time to an instant";
    "PEXPIRETIME", Exactly(2), Gathered, First, expiry::pexpiretime;
        Generic, "key", "Tells when it is due, in milliseconds since 1970";
    "PING", AtLeast(1), Subscribed, Keyless, connection::ping;
        Connection, "[message]", "Asks whether the server is there";
    "PSETEX", Exactly(4), Gathered, First, strings::psetex;
        Text, "key milliseconds value", "Schedules a deadline so many milliseconds from now";
    "PSUBSCRIBE", AtLeast(2), Subscribed, Keyless, hear::psubscribe;
        PubSub, "pattern…", "Hears what lapses on channels like these";
    "PTTL", Exactly(2), Gathered, First, expiry::pttl;
        Generic, "key", "Tells in how many milliseconds it is due";
    "PUNSUBSCRIBE", AtLeast(1), Subscribed, Keyless, hear::punsubscribe;
        PubSub, "[pattern…]", "Hears no more of these";
    "QUIT", AtLeast(1), Always, Keyless, connection::quit;
        Connection, "", "Ends the conversation";
    "RESET", Exactly(1), Always, Keyless, connection::reset;
        Connection, "", "Begins the conversation anew";
    "SCAN", AtLeast(2), Gathered, Keyless, keys::scan;
        Generic, "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        "Walks over the keys of all that is pending";
    "SELECT", Exactly(2), Alone, Keyless, connection::select;
        Connection, "index", "Takes 0: there is one database";
    "SET", AtLeast(3), Gathered, First, strings::set;
        Text,
        "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        "Schedules a deadline";
    "SETEX", Exactly(4), Gathered, First, strings::setex;
        Text, "key seconds value", "Schedules a deadline so many seconds from now";
    "SETNX", Exactly(3), Gathered, First, strings::setnx;
        Text, "key value", "Schedules a deadline after the queue's default delay, if none is pending";
    "SUBSCRIBE", AtLeast(2), Subscribed, Keyless, hear::subscribe;
        PubSub, "channel…", "Hears what lapses";
    "TIME", Exactly(1), Gathered, Keyless, server::time;
        Server, "", "Tells the server's journal time";
    "TTL", Exactly(2), Gathered, First, expiry::ttl;
        Generic, "key", "Tells in how many seconds it is due";
    "TYPE", Exactly(2), Gathered, First, keys::kind;
        Generic, "key", "Tells string while the deadline is pending";
    "UNLINK", Any(2), Gathered, All, keys::del;
        Generic, "key…", "Settles deadlines, and counts those that were in time";
    "UNSUBSCRIBE", AtLeast(1), Subscribed, Keyless, hear::unsubscribe;
        PubSub, "[channel…]", "Hears no more of these";
    "ZADD", Any(4), Gathered, First, sorted::zadd;
        SortedSet, "queue [NX | XX] [GT | LT] [CH] <score member>…",
        "Schedules members of a queue, or moves what is pending";
    "ZCARD", Exactly(2), Gathered, First, sorted::zcard;
        SortedSet, "queue", "Counts what nobody has claimed";
    "ZCOUNT", Exactly(4), Gathered, First, sorted::zcount;
        SortedSet, "queue min max", "Counts what is due in between";
    "ZMSCORE", Any(3), Gathered, First, sorted::zmscore;
        SortedSet, "queue member…", "Tells when they are due";
    "ZPOPMIN", AtLeast(2), Gathered, First, sorted::zpopmin;
        SortedSet, "queue [count]", "Claims what is due first";
    "ZRANGE", AtLeast(4), Gathered, First, sorted::zrange;
        SortedSet, "queue min max BYSCORE [LIMIT offset count] [WITHSCORES]",
        "Shows what is due, or due in between";
    "ZRANGEBYSCORE", AtLeast(4), Gathered, First, sorted::zrangebyscore;
        SortedSet, "queue min max [WITHSCORES] [LIMIT offset count]",
        "Shows what is due, or due in between";
    "ZREM", Any(3), Gathered, First, sorted::zrem;
        SortedSet, "queue member…", "Claims members, and counts those that are yours";
    "ZSCORE", Exactly(3), Gathered, First, sorted::zscore;
        SortedSet, "queue member", "Tells when it is due";
}

/// Longest name in the table, in bytes.
const NAME_BYTES: usize = 24;

/// The row of a command.
pub(super) fn find(name: &[u8]) -> Option<&'static Row> {
    place(name).map(|place| &TABLE[place])
}

/// Where in the table a command stands.
pub(super) fn place(name: &[u8]) -> Option<usize> {
    let mut capitals = [0; NAME_BYTES];
    let capitals = capitals.get_mut(..name.len())?;
    capitals.copy_from_slice(name);
    capitals.make_ascii_uppercase();
    TABLE.binary_search_by(|row| row.name.as_bytes().cmp(capitals)).ok()
}

#[cfg(test)]
mod tests {
    use super::{NAME_BYTES, TABLE, find};

    #[test]
    fn every_row_can_be_found() {
        assert!(TABLE.is_sorted_by(|one, next| one.name < next.name));
        for row in TABLE {
            assert!(row.name.len() <= NAME_BYTES);
            let found = find(row.name.to_ascii_lowercase().as_bytes()).expect("it is in the table");
            assert_eq!(found.name, row.name);
        }
        assert!(find(b"NOTHING").is_none());
        assert!(find(&[b'x'; 100]).is_none());
    }
}
