//! What a client of the Redis protocol may send, with an engine behind the session.
//!
//! The same bytes arrive once whole and once in pieces; the same must be asked of the engine and the
//! same said to the client, byte for byte. What is said must be replies, whole ones, and as many as
//! there can be. Time stands still, and nothing falls due but what a command meets, so that pieces
//! make no difference that a client could see.

use std::collections::BTreeSet;
use std::sync::Arc;

use duly::listen::policy;
use duly::units::{self, BadUnit};
use duly_engine::announce;
use duly_engine::answer::{Answer, Known};
use duly_engine::clock::Reading;
use duly_engine::command::{Command, Scan};
use duly_engine::deadline::{Payload, PayloadAt};
use duly_engine::id::DirectoryId;
use duly_engine::limits::Limits;
use duly_engine::time::{Span, Time};
use duly_engine::{Engine, Storage};
use duly_wire::{Listing, Names, Page, Readers, Score, Session, Settings, Todo, Unread, Writers};
use serde::de::IgnoredAny;

use super::{Fate, fingerprint};

pub(super) const WORDS: &[&str] = &[
    "*1\r\n",
    "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    "*3\r\n",
    "*4\r\n$5\r\nSETEX\r\n$1\r\nk\r\n$2\r\n60\r\n$1\r\nv\r\n",
    "$1\r\n",
    "$-1\r\n",
    "\r\n",
    "\n",
    "SET k v EX 60",
    "SET orders:1 v PX 60000",
    " NX",
    " XX",
    " GET",
    " KEEPTTL",
    " EXAT 1795348900",
    "GET k\r\n",
    "MGET k orders:1\r\n",
    "GETDEL k\r\n",
    "DEL k orders:1\r\n",
    "EXISTS k k\r\n",
    "EXPIRE k 60",
    "EXPIRE k 0\r\n",
    "PEXPIREAT k 1795348900000",
    " GT",
    " LT",
    "TTL k\r\n",
    "PEXPIRETIME k\r\n",
    "SCAN 0 MATCH o*\r\n",
    "DBSIZE\r\n",
    "HELLO 3\r\n",
    "HELLO 2 SETNAME n\r\n",
    "SUBSCRIBE __keyevent@0__:expired\r\n",
    "PSUBSCRIBE *\r\n",
    "UNSUBSCRIBE\r\n",
    "RESET\r\n",
    "MULTI\r\n",
    "EXEC\r\n",
    "INFO\r\n",
    "COMMAND DOCS\r\n",
    "CONFIG GET *\r\n",
    "CLIENT INFO\r\n",
    "TIME\r\n",
    "QUIT\r\n",
    "KEYS *\r\n",
    "ZADD q 1795348800 a 1795349000 b\r\n",
    "ZADD q GT CH 1795348900.5",
    "ZADD q XX 1795348900 a\r\n",
    "ZRANGEBYSCORE q -inf 1795348800 WITHSCORES LIMIT 0 2\r\n",
    "ZRANGE q (1795348800 +inf BYSCORE\r\n",
    "ZREM q a b k past\r\n",
    "ZPOPMIN q 2\r\n",
    "BZPOPMIN q 1\r\n",
    "ZCOUNT q 0 1795348900\r\n",
    "ZMSCORE q a b\r\n",
    "DULY.SCHEDULE q k AFTER 30m",
    "DULY.SCHEDULE q past DUE 1795348799000 PAYLOAD v\r\n",
    " IF_EXISTS renew PRIORITY 7",
    "DULY.SETTLE q k paid GENERATION 1\r\n",
    "DULY.SETTLE q new paid REMEMBER 1h\r\n",
    "DULY.EXTEND q k BY 10m IF_DUE 1795350600000\r\n",
    "DULY.FREEZE q k FOR 1m\r\n",
    "DULY.GET q k\r\n",
    "DULY.LEASE q MAX 2 WAIT 1s\r\n",
    "DULY.STATS\r\n",
    "DULY.LIST q STATE pending LIMIT 2\r\n",
    "DULY.LIST q DUE_FROM 1795348800000 KEY_PREFIX k CURSOR 1795348800000-1\r\n",
    "DULY.QUEUE PUT q {\"target\":\"none\"}\r\n",
    "DULY.QUEUE PAUSE q LAPSES\r\n",
    "DULY.QUEUE SHIFT q FROM 1795348800000 TO 1795448800000 BY -1m",
    " DRY_RUN\r\n",
    "DULY.QUEUE LIST\r\n",
    "DULY.QUEUE DELETE q\r\n",
    "\"\\x00\\n",
    "'",
];

/// Sunday 2026-11-22, 12:00 UTC.
const NOON: Time = Time::from_millis(1_795_348_800_000);

/// The input is what a client sends.
pub(super) fn feed(input: &[u8]) -> Fate {
    let whole = Talk::about(input, input.len().max(1));
    let piece = 1 + usize::try_from(fingerprint(input) % 23).expect("it is small");
    let pieces = Talk::about(input, piece);
    assert_eq!(whole.asked, pieces.asked, "pieces of {piece} ask something else");
    let shown = |said: &[u8]| said.escape_ascii().to_string();
    assert!(
        whole.said == pieces.said,
        "pieces of {piece} are told something else\n  whole: {}\n  pieces: {}",
        shown(&whole.said),
        shown(&pieces.said)
    );
    let mut rest = &whole.said[..];
    let (mut kinds, mut replies) = (Vec::new(), 0);
    while let Some((kind, after)) = reply(rest) {
        (rest, replies) = (after, replies + 1);
        kinds.push(kind);
    }
    assert!(rest.is_empty(), "what was said is no reply: {}", shown(rest));
    kinds.sort_unstable();
    kinds.dedup();
    let mut verbs: Vec<_> = whole.asked.iter().map(std::mem::discriminant).collect();
    verbs.dedup();
    verbs.truncate(4);
    let kind = (kinds, verbs, whole.is_over);
    if replies > 0 { Fate::taken(kind) } else { Fate::refused(kind) }
}

/// The first reply: its first byte, or the code if it is an error; and what comes after it.
fn reply(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = str::from_utf8(bytes.get(1..end)?.strip_suffix(b"\r")?);
    let (first, rest) = (*bytes.first()?, &bytes[end + 1..]);
    let name = char::from(first).to_string();
    let number = || line.ok()?.parse::<i64>().ok();
    match first {
        b'+' | b':' | b',' | b'_' | b'#' => Some((name, rest)),
        b'-' => Some((line.ok()?.split(' ').next()?.to_owned(), rest)),
        b'$' | b'=' => {
            let Ok(length) = usize::try_from(number()?) else { return Some((name, rest)) };
            (rest.get(length..length + 2)? == b"\r\n").then(|| (name, &rest[length + 2..]))
        }
        b'*' | b'~' | b'>' | b'%' => {
            let each = if first == b'%' { 2 } else { 1 };
            let things = number()?.max(0) * each;
            let rest = (0..things).try_fold(rest, |rest, _| Some(reply(rest)?.1))?;
            Some((name, rest))
        }
        _ => None,
    }
}

/// One conversation.
struct Talk {
    engine: Engine,
    session: Session,
    journal: Vec<u8>,
    announced: Vec<u8>,
    asked: Vec<Command>,
    said: Vec<u8>,
    is_over: bool,
}

impl Talk {
    /// All of it, in pieces of this size.
    fn about(input: &[u8], piece: usize) -> Talk {
        let mut engine = Engine::new(DirectoryId(7), [1, 2], Limits::default());
        engine.open(reading());
        engine.finish();
        let mut talk = Talk {
            engine,
            session: Session::new(Arc::new(settings()), 1),
            journal: Vec::new(),
            announced: Vec::new(),
            asked: Vec::new(),
            said: Vec::new(),
            is_over: false,
        };
        for piece in input.chunks(piece) {
            if !talk.is_over {
                talk.session.receive(piece);
                talk.go_on();
            }
        }
        // Heard at the end: between replies it may come anywhere.
        let announced: Vec<_> = announce::read(&talk.announced).collect();
        if talk.session.listens() {
            for announcement in &announced {
                talk.session.hear(announcement);
            }
            talk.said.append(talk.session.said());
        }
        talk
    }

    fn go_on(&mut self) {
        loop {
            match self.session.todo() {
                Todo::Ask(commands) => {
                    for command in &commands {
                        self.asks(command);
                    }
                    let answers = self.decide(commands);
                    self.session.answered(answers);
                }
                Todo::Tell => {
                    let journal = &self.journal;
                    self.session.tell(&mut |payload| read(journal, payload));
                }
                Todo::Lease(wait) => {
                    let lease = Command::Lease {
                        queue: wait.queue,
                        max: wait.max,
                        span: wait.span,
                        key: None,
                    };
                    self.asks(&lease);
                    let mut answers = self.decide(vec![lease]);
                    for payload in answers.iter_mut().flat_map(Answer::payloads_mut) {
                        read(&self.journal, payload);
                    }
                    let leased = match answers.pop() {
                        Some(Answer::Leased(leased)) => Ok(leased),
                        Some(Answer::Refused(refusal)) => Err(refusal),
                        other => unreachable!("a lease was answered with {other:?}"),
                    };
                    self.session.leased(leased);
                }
                Todo::List(Listing { queue, filter, after, limit }) => {
                    let scan = Scan { queue: Some(queue), from_slot: 0, filter, after, limit };
                    let scan = Command::Scan(scan);
                    self.asks(&scan);
                    let mut answers = self.decide(vec![scan]);
                    for payload in answers.iter_mut().flat_map(Answer::payloads_mut) {
                        read(&self.journal, payload);
                    }
                    let page = match answers.pop() {
                        Some(Answer::Scanned { found, .. }) => {
                            Ok(Page { deadlines: found, next: None })
                        }
                        Some(Answer::Refused(refusal)) => Err(refusal),
                        other => unreachable!("a scan was answered with {other:?}"),
                    };
                    self.session.listed(page);
                }
                Todo::Send => self.said.append(self.session.said()),
                Todo::Read => {
                    self.said.append(self.session.said());
                    return;
                }
                Todo::Close => {
                    self.said.append(self.session.said());
                    self.is_over = true;
                    return;
                }
            }
        }
    }

    /// Remembers what was asked. A lease that comes behind others is asked together with them, and
    /// once more if it then has to wait; one that comes alone waits at once.
    fn asks(&mut self, command: &Command) {
        let is_lease = matches!(command, Command::Lease { .. });
        if !(is_lease && self.asked.last() == Some(command)) {
            self.asked.push(command.clone());
        }
    }

    /// One step of the engine; payloads stay where its answers point.
    fn decide(&mut self, commands: Vec<Command>) -> Vec<Answer> {
        self.engine.begin(reading(), Storage::Plenty);
        let mut answers: Vec<Answer> = commands
            .into_iter()
            .map(|command| self.engine.decide(command, Known::Absent))
            .collect();
        let step = self.engine.finish();
        let offset = u32::try_from(self.journal.len()).expect("an input is small");
        self.journal.extend_from_slice(&step.facts);
        self.announced.extend_from_slice(&step.announced);
        self.engine.placed(1, offset);
        for payload in answers.iter_mut().flat_map(Answer::payloads_mut) {
            if let PayloadAt::Stored(stored) = payload {
                *stored = stored.placed(1, offset);
            }
        }
        answers
    }
}

/// Fetches a payload, as the server does when it is to be shown.
fn read(journal: &[u8], payload: &mut PayloadAt) {
    if let PayloadAt::Stored(stored) = payload {
        let from = stored.offset as usize;
        let bytes = journal[from..from + stored.bytes as usize].into();
        *payload = PayloadAt::Here(Payload { kind: stored.kind, bytes });
    }
}

fn reading() -> Reading {
    Reading { wall: NOON, boot: Span::from_secs(1_000) }
}

fn settings() -> Settings {
    Settings {
        names: Names::default(),
        score: Score::Seconds,
        tables: BTreeSet::new(),
        read: Readers {
            span: |text| units::duration(text).map_err(|bad| unread(&bad)),
            instant: |text| units::instant(text).map_err(|bad| unread(&bad)),
            is_json: |bytes| serde_json::from_slice::<IgnoredAny>(bytes).is_ok(),
            policy: |document, tables| {
                let read = policy::read(document, tables);
                read.map_err(|policy::Unread { code, why }| Unread { code, why })
            },
        },
        show: Writers { instant: units::write_instant, policy: policy::shown },
    }
}

fn unread(bad: &BadUnit) -> Unread {
    Unread { code: bad.code, why: bad.to_string() }
}
