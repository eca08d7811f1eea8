//! Commands as people would write them, read into what the engine understands.
//!
//! A line is a verb, then words: a deadline is `orders/42`, a setting is `after=30m`, a delivery
//! that was handed out is `#3`. A word that nobody asked for is an error, so that a scenario never
//! says more than it tests.

use std::sync::Arc;

use duly_engine::answer::Leased;
use duly_engine::command::{
    Address, Command, Extend, ExtendBy, Filter, IfDue, IfExists, NewQueue, Scan, Schedule, Settle,
    Verdict, When,
};
use duly_engine::deadline::{DeliveryState, Payload, PayloadKind, State};
use duly_engine::id::{Generation, Key, Outcome, QueueName, Token};
use duly_engine::queue::{DecideAt, Policy, Target, Webhook};
use duly_engine::time::{Span, Time};

use crate::world::NOON;

/// The words of one line that are still to be read.
pub(crate) struct Words<'a> {
    line: &'a str,
    plain: Vec<&'a str>,
    set: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    pub(crate) fn of(line: &'a str) -> Words<'a> {
        let is_set = |word: &&str| {
            let name = word.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        };
        let (set, plain) = line.split_whitespace().partition::<Vec<&str>, _>(is_set);
        let mut plain = plain;
        plain.reverse();
        let set = set.into_iter().filter_map(|word| word.split_once('=')).collect();
        Words { line, plain, set }
    }

    /// The next plain word.
    pub(crate) fn next(&mut self) -> &'a str {
        self.plain.pop().unwrap_or_else(|| panic!("a word is missing: {}", self.line))
    }

    /// The value of a setting, if it is there.
    pub(crate) fn get(&mut self, name: &str) -> Option<&'a str> {
        let place = self.set.iter().position(|(set, _)| *set == name)?;
        Some(self.set.remove(place).1)
    }

    pub(crate) fn span(&mut self, name: &str) -> Option<Span> {
        self.get(name).map(span)
    }

    pub(crate) fn number<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        let parse = |text: &str| text.parse().ok();
        self.get(name).map(|text| parse(text).unwrap_or_else(|| panic!("no number: {text}")))
    }

    /// Is this plain word among those that are left?
    pub(crate) fn has(&mut self, word: &str) -> bool {
        let place = self.plain.iter().position(|plain| *plain == word);
        place.map(|place| self.plain.remove(place)).is_some()
    }

    pub(crate) fn end(self) {
        let left = self.plain.iter().copied().chain(self.set.iter().map(|(name, _)| *name));
        let left: Vec<&str> = left.collect();
        assert!(left.is_empty(), "nobody asked for {left:?} in: {}", self.line);
    }

    pub(crate) fn queue(&mut self) -> QueueName {
        QueueName::new(self.next()).expect("a queue is named well")
    }

    fn deadline(&mut self) -> Address {
        let word = self.next();
        let (queue, key) = word.split_once('/').unwrap_or_else(|| panic!("no queue/key: {word}"));
        Address {
            queue: QueueName::new(queue).expect("a queue is named well"),
            key: Key::new(key).expect("a key is named well"),
        }
    }
}

/// `1h30m`, `250ms`, `0s`.
pub(crate) fn span(text: &str) -> Span {
    let mut rest = text;
    let mut millis = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let (number, tail) = rest.split_at(digits.unwrap_or_else(|| panic!("no unit: {text}")));
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let size = match unit {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => panic!("no unit: {text}"),
        };
        millis += number.parse::<u64>().unwrap_or_else(|_| panic!("no span: {text}")) * size;
        rest = tail;
    }
    Span::from_millis(millis)
}

/// `12:30`, `12:30:00.000`; `+2d/06:00` two days later, `-1d/06:00` the day before.
pub(crate) fn instant(text: &str) -> Time {
    let (days, clock) = text.split_once("d/").unwrap_or(("0", text));
    let days: i64 = days.parse().unwrap_or_else(|_| panic!("no day: {text}"));
    let (clock, millis) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':').map(|part| part.parse::<i64>().expect("a time has numbers"));
    let mut part = || parts.next().unwrap_or(0);
    let seconds = part() * 3_600 + part() * 60 + part();
    let millis: i64 = millis.parse().expect("milliseconds are a number");
    let midnight = NOON.minus(Span::from_hours(12)).millis();
    let after = days * 86_400_000 + seconds * 1_000 + millis;
    Time::from_millis(midnight.checked_add_signed(after).expect("it is after 1970"))
}

/// A command for the engine, if the verb is one of the engine's.
pub(crate) fn command(
    verb: &str,
    words: &mut Words<'_>,
    leased: &[Leased],
    policy: impl FnOnce(QueueName) -> Policy,
) -> Option<Command> {
    Some(match verb {
        "queue" => put_queue(words, policy),
        "delete-queue" => Command::DeleteQueue(words.queue()),
        "show-queue" => Command::GetQueue(words.queue()),
        "queues" => Command::ListQueues,
        "pause" | "resume" => {
            let (queue, deliveries) = (words.queue(), Some(verb == "pause"));
            Command::Pause { queue, deliveries, lapses: None }
        }
        "pause-lapse" | "resume-lapse" => {
            let (queue, lapses) = (words.queue(), Some(verb == "pause-lapse"));
            Command::Pause { queue, deliveries: None, lapses }
        }
        "schedule" => Command::Schedule(schedule(words)),
        "settle" => Command::Settle(Settle {
            at: words.deadline(),
            outcome: Outcome::new(words.next()).expect("an outcome is worded well"),
            remember: words.span("remember"),
            generation: words.number("generation").map(Generation),
        }),
        "claim" => Command::Claim {
            at: words.deadline(),
            outcome: Outcome::new("claimed").expect("it is worded well"),
        },
        "extend" => Command::Extend(Extend {
            at: words.deadline(),
            by: match (words.span("by"), words.span("after")) {
                (Some(span), _) => ExtendBy::Span(span),
                (None, Some(span)) => ExtendBy::After(span),
                _ => ExtendBy::Due(instant(words.get("to").expect("by=, after= or to="))),
            },
            if_due: words.get("if_due").map(if_due),
        }),
        "freeze" => Command::Freeze { at: words.deadline(), span: span(words.next()) },
        "get" | "story" => Command::Get(words.deadline()),
        "revive" => Command::Revive(words.deadline()),
        "erase" => Command::Erase(words.deadline()),
        "lease" => Command::Lease {
            queue: words.queue(),
            key: words.get("key").map(|key| Key::new(key).expect("a key is named well")),
            max: words.number("max").unwrap_or(1),
            span: words.span("for").unwrap_or(Span::from_secs(30)),
        },
        "waiting" => {
            let from = words.get("due_from").map_or(Time::ZERO, instant);
            let to = words.get("due_to").map_or(Time::NEVER, instant);
            let limit = words.number("limit").unwrap_or(100);
            Command::Waiting { queue: words.queue(), due: from..to, limit }
        }
        "verdict" => verdict(words, leased),
        "touch" => {
            let held = delivery(words, leased);
            let span = words.span("for").unwrap_or(Span::from_secs(30));
            Command::Touch { delivery: held.id, token: token(words, leased, held), span }
        }
        "shift" => shift(words),
        "list" => Command::Scan(scan(words)),
        "clock" => Command::GetClock,
        "confirm-clock" => Command::ConfirmClock,
        _ => return None,
    })
}

fn schedule(words: &mut Words<'_>) -> Schedule {
    let after = words.span("after").map(When::After);
    let due = words.get("due").map(|due| When::Due(instant(due)));
    let by_default = if words.has("kept") { When::Kept } else { When::Default };
    let when = after.or(due).unwrap_or(by_default);
    Schedule {
        payload: words
            .get("payload")
            .map(|text| Payload { kind: PayloadKind::Json, bytes: text.as_bytes().into() }),
        priority: words.number("priority"),
        if_exists: match words.get("if_exists") {
            None | Some("keep") => IfExists::Keep,
            Some("replace") => IfExists::Replace,
            Some("renew") => IfExists::Renew,
            Some("fail") => IfExists::Fail,
            Some("move") => IfExists::Move(words.get("if_due").map_or(IfDue::Other, if_due)),
            Some(other) => panic!("if_exists={other}"),
        },
        allow_past: words.has("allow_past"),
        over: words.number("over").map(Generation),
        creates: match words.get("creates") {
            None | Some("pull") => NewQueue::Pulled,
            Some("none") => NewQueue::Kept,
            Some(other) => panic!("creates={other}"),
        },
        ..Schedule::new(words.deadline(), when)
    }
}

/// `earlier`, `later`, `other`, or an instant.
fn if_due(word: &str) -> IfDue {
    match word {
        "earlier" => IfDue::Earlier,
        "later" => IfDue::Later,
        "other" => IfDue::Other,
        at => IfDue::At(instant(at)),
    }
}

fn put_queue(words: &mut Words<'_>, policy: impl FnOnce(QueueName) -> Policy) -> Command {
    let queue = words.queue();
    let mut policy = policy(queue.clone());
    let batch = words.number("batch");
    let timeout = words.span("timeout").unwrap_or(Span::from_secs(15));
    match words.get("target").or(batch.map(|_| policy.target.word())) {
        None => {}
        Some("pull") => policy.target = Target::Pull,
        Some("none") => policy.target = Target::None,
        Some("webhook") => {
            policy.target = Target::Webhook(Webhook {
                url: "https://shop.example/lapsed".into(),
                secrets: Vec::new(),
                batch: batch.unwrap_or(1),
                timeout,
            });
        }
        Some("sql") => {
            policy.target = Target::Sql { name: "shop".into(), batch: batch.unwrap_or(100) };
        }
        Some("exec") => policy.target = Target::Exec { command: "cancel".into() },
        Some("publish") => {
            policy.target = Target::Publish { to: "lapses".into(), batch: batch.unwrap_or(100) };
        }
        Some(other) => panic!("target={other}"),
    }
    match words.get("decide_at") {
        None => {}
        Some("due") => policy.decide_at = DecideAt::Due,
        Some("handout") => policy.decide_at = DecideAt::Handout,
        Some(other) => panic!("decide_at={other}"),
    }
    let spans: [(&str, &mut Span); 6] = [
        ("grace", &mut policy.grace),
        ("max_total", &mut policy.max_total),
        ("max_freeze", &mut policy.max_freeze),
        ("retry_for", &mut policy.retry_for),
        ("retention", &mut policy.retention),
        ("payload_retention", &mut policy.payload_retention),
    ];
    for (name, setting) in spans {
        if let Some(span) = words.span(name) {
            *setting = span;
        }
    }
    if let Some(delay) = words.get("delay") {
        policy.default_delay = (delay != "none").then(|| span(delay));
    }
    if let Some(retry) = words.get("retry") {
        policy.retry = retry.split(',').filter(|wait| !wait.is_empty()).map(span).collect();
    }
    if let Some(concurrency) = words.number("concurrency") {
        policy.concurrency = concurrency;
    }
    if let Some(rate) = words.get("rate") {
        policy.rate = (rate != "none").then(|| rate.parse().expect("a rate is a number"));
    }
    let declared = match (words.has("declared"), words.has("undeclared")) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    Command::PutQueue { queue, policy: Box::new(policy), declared }
}

fn delivery<'a>(words: &mut Words<'_>, leased: &'a [Leased]) -> &'a Leased {
    numbered(words.next(), leased)
}

fn numbered<'a>(word: &str, leased: &'a [Leased]) -> &'a Leased {
    let number = word.strip_prefix('#').and_then(|number| number.parse::<usize>().ok());
    let number = number.unwrap_or_else(|| panic!("no delivery: {word}"));
    leased.get(number.wrapping_sub(1)).unwrap_or_else(|| panic!("nobody was handed {word}"))
}

/// The token of the delivery itself, unless another's is named.
fn token(words: &mut Words<'_>, leased: &[Leased], held: &Leased) -> Token {
    words.get("token").map_or(held.token, |word| numbered(word, leased).token)
}

fn verdict(words: &mut Words<'_>, leased: &[Leased]) -> Command {
    let verb = words.next();
    let held = delivery(words, leased);
    let token = token(words, leased, held);
    let mut error = || -> Arc<str> { words.get("error").unwrap_or("refused").into() };
    let verdict = match verb {
        "done" => Verdict::Done,
        "superseded" => Verdict::Superseded,
        "retry" => Verdict::Retry { error: error(), after: words.span("after") },
        "dead" => Verdict::Dead { error: error() },
        other => panic!("no verdict: {other}"),
    };
    Command::Verdict { delivery: held.id, token, verdict }
}

fn shift(words: &mut Words<'_>) -> Command {
    let queue = words.queue();
    let from = words.get("from").map_or(Time::ZERO, instant);
    let to = words.get("to").map_or(Time::NEVER, instant);
    let by = words.get("by").expect("by=+5m or by=-5m");
    let (earlier, by) = (by.starts_with('-'), by.trim_start_matches(['+', '-']));
    let by_ms = i64::try_from(span(by).millis()).expect("a shift is shorter than time itself");
    Command::Shift { queue, from, to, by_ms: if earlier { -by_ms } else { by_ms } }
}

fn scan(words: &mut Words<'_>) -> Scan {
    let filter = Filter {
        state: words.get("state").map(|word| {
            let states = [State::Pending, State::Settled, State::Lapsed];
            states.into_iter().find(|state| state.word() == word).expect("a state")
        }),
        delivery: words.get("delivery").map(|word| {
            use DeliveryState::{Dead, Done, Leased, Ready, Superseded};
            let states = [Ready, Leased, Done, Superseded, Dead];
            states.into_iter().find(|state| state.word() == word).expect("a delivery state")
        }),
        due_from: words.get("due_from").map(instant),
        due_to: words.get("due_to").map(instant),
        key_prefix: words.get("key_prefix").map(str::to_owned),
    };
    let limit = words.number("limit").unwrap_or(100);
    let queue = (!words.has("all")).then(|| words.queue());
    Scan { queue, from_slot: 0, filter, after: None, limit }
}
