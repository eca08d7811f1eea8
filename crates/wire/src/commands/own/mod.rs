//! Duly's own commands: the whole API in this protocol.
//!
//! A call is a command, what stands in the address are its first words, and the fields of the body
//! are options by their names. What is answered has the fields that it has over HTTP, as a map.
//! Queues and keys are named as they are, without the prefixes that frameworks put before Redis keys.
//!
//! A settle that came second is an answer here, and no error: `result` says how it went, and
//! libraries throw errors away with all that is in them.

mod list;
mod options;
mod queues;
mod show;
mod work;

use duly_engine::answer::{Answer, SettleResult};
use duly_engine::command::{
    Address, Command, Extend, ExtendBy, IfDue, IfExists, Schedule, Settle, When,
};
use duly_engine::id::{Generation, Key, Outcome, QueueName};
use duly_engine::limits::REMEMBER;

use super::strings::payload;
use super::{Client, Next, No};
use crate::reading::Words;
use crate::refusal::refused;
use crate::reply::Reply;
use crate::telling::{Manner, Telling, Told};
pub(super) use list::list;
use options::{Options, bad, missing, text};
pub(super) use queues::of_queue;
use show::{Figures, Queue};
pub(super) use work::{lease, touch, verdict};

/// What is told to who schedules where nobody works.
const NOBODY_ACTS: (&str, &str) = (
    "nobody_acts",
    "no worker has leased from this queue for 10 minutes: start one, or give the queue a target",
);

fn queue(word: &[u8]) -> Result<QueueName, No> {
    let bad = |why: &str| No(format!("BAD_QUEUE_NAME {why}"));
    let text = str::from_utf8(word).map_err(|_| bad("a queue's name is text"))?;
    QueueName::new(text).map_err(|why| bad(why.0))
}

fn address(words: &Words<'_>) -> Result<Address, No> {
    let bad = |why: &str| No(format!("BAD_KEY {why}"));
    let key = str::from_utf8(words.at(2)).map_err(|_| bad("a key is text in UTF-8"))?;
    let key = Key::new(key).map_err(|why| bad(why.0))?;
    Ok(Address { queue: queue(words.at(1))?, key })
}

/// Asks, and tells what came of it.
fn ask(command: Command, client: &Client) -> Next {
    let manner = client.manner();
    Next::ask(vec![command], move |heard| told(&heard.shown(), manner))
}

/// `DULY.SCHEDULE queue key [AFTER span | DUE instant] [PAYLOAD value] [PRIORITY number]
/// [IF_EXISTS keep | replace | renew | fail] [ALLOW_PAST]`
pub(super) fn schedule(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let known = ["AFTER", "DUE", "PAYLOAD", "PRIORITY", "IF_EXISTS"];
    let options = Options::read(words, 3, client, &known, &["ALLOW_PAST"])?;
    options.not_both("AFTER", "DUE")?;
    let when = match (options.span("AFTER")?, options.instant("DUE")?) {
        (Some(span), _) => When::After(span),
        (None, Some(due)) => When::Due(due),
        (None, None) => When::Default,
    };
    let if_exists = match options.text("IF_EXISTS")? {
        None | Some("keep") => IfExists::Keep,
        Some("replace") => IfExists::Replace,
        Some("renew") => IfExists::Renew,
        Some("fail") => IfExists::Fail,
        Some(_) => return Err(bad("IF_EXISTS is keep, replace, renew or fail")),
    };
    let payload = options.value("PAYLOAD").map(|value| payload(client, value)).transpose()?;
    let schedule = Schedule {
        payload,
        priority: options.number("PRIORITY", 0..=u32::MAX)?,
        if_exists,
        allow_past: options.value("ALLOW_PAST").is_some(),
        ..Schedule::new(address(words)?, when)
    };
    Ok(ask(Command::Schedule(schedule), client))
}

/// `DULY.SETTLE queue key outcome [REMEMBER span] [GENERATION number]`
pub(super) fn settle(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let outcome = text(words.at(3), "an outcome")?;
    let outcome = Outcome::new(outcome).map_err(|why| No(format!("BAD_OUTCOME {why}")))?;
    let options = Options::read(words, 4, client, &["REMEMBER", "GENERATION"], &[])?;
    let remember = options.span("REMEMBER")?;
    if remember.is_some_and(|span| span > REMEMBER) {
        let why = format!("BAD_DURATION a settle is remembered for {REMEMBER} at most");
        return Err(No(why));
    }
    let generation = options.number("GENERATION", 1..=u32::MAX)?.map(Generation);
    let settle = Settle { at: address(words)?, outcome, remember, generation };
    Ok(ask(Command::Settle(settle), client))
}

/// `DULY.EXTEND queue key BY span | DUE instant [IF_DUE instant]`
pub(super) fn extend(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let options = Options::read(words, 3, client, &["BY", "DUE", "IF_DUE"], &[])?;
    options.not_both("BY", "DUE")?;
    let by = match (options.span("BY")?, options.instant("DUE")?) {
        (Some(span), _) => ExtendBy::Span(span),
        (None, Some(due)) => ExtendBy::Due(due),
        (None, None) => return Err(missing("neither BY nor DUE is given")),
    };
    let if_due = options.instant("IF_DUE")?.map(IfDue::At);
    let extend = Extend { at: address(words)?, by, if_due };
    Ok(ask(Command::Extend(extend), client))
}

/// `DULY.FREEZE queue key FOR span`
pub(super) fn freeze(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let options = Options::read(words, 3, client, &["FOR"], &[])?;
    let span = options.span("FOR")?.ok_or_else(|| missing("FOR is not given; 0s ends a freeze"))?;
    Ok(ask(Command::Freeze { at: address(words)?, span }, client))
}

/// `DULY.GET queue key`
pub(super) fn get(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    Ok(ask(Command::Get(address(words)?), client))
}

/// `DULY.REVIVE queue key`
pub(super) fn revive(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    Ok(ask(Command::Revive(address(words)?), client))
}

/// `DULY.ERASE queue key`
pub(super) fn erase(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    Ok(ask(Command::Erase(address(words)?), client))
}

/// `DULY.STATS [queue]`
pub(super) fn stats(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    if words.len() > 2 {
        return Err(No::count("duly.stats"));
    }
    let queue = words.get(1).map(queue).transpose()?;
    let figures = queue.map_or(Command::ListQueues, Command::GetQueue);
    let manner = client.manner();
    Ok(Next::ask(vec![Command::GetClock, figures], move |heard| {
        let Answer::Clock(clock) = heard.one() else { unreachable!("the clock is never refused") };
        match heard.one() {
            Answer::Queue(queue) => manner.map(|fields| {
                fields.with("now", clock.now).with("queue", Figures(&queue));
            }),
            Answer::Queues(queues) => manner.map(|fields| {
                fields.with("now", clock.now).list("queues", queues.iter().map(Figures));
            }),
            Answer::Refused(refusal) => refused(&refusal),
            other => unreachable!("a look at queues was answered with {other:?}"),
        }
    }))
}

/// What came of a command.
fn told(answer: &Answer, manner: Manner) -> Reply {
    if let Answer::Refused(refusal) = answer {
        return refused(refusal);
    }
    manner.map(|fields| {
        match answer {
            Answer::Scheduled { created, differs, nobody_acts, deadline } => {
                fields.with("created", *created);
                if !differs.is_empty() {
                    fields.list("differs", differs.iter().copied());
                }
                if *nobody_acts {
                    fields.list("warnings", [NobodyActs]);
                }
                fields.with("deadline", &**deadline)
            }
            Answer::Settled { result, deadline } => {
                let acted = match result {
                    SettleResult::TooLate(acted) => Some(acted.word()),
                    _ => None,
                };
                let result = fields.with("result", result.word());
                result.if_any("acted", acted).with("deadline", &**deadline)
            }
            Answer::Remembered { until } => {
                fields.with("result", "remembered").with("until", *until)
            }
            Answer::Deadline(deadline) | Answer::VerdictTaken(deadline) => {
                fields.with("deadline", &**deadline)
            }
            Answer::Erased => fields.with("erased", true),
            Answer::Leased(leased) => fields.list("deliveries", leased),
            Answer::Touched { leased_until } => fields.with("leased_until", *leased_until),
            Answer::Queue(queue) => fields.with("queue", Queue(queue)),
            Answer::Queues(queues) => fields.list("queues", queues.iter().map(Queue)),
            Answer::QueueDeleted => fields.with("deleted", true),
            Answer::Shift(shift) => fields.with("shift", *shift),
            other => unreachable!("nobody here asked for {other:?}"),
        };
    })
}

/// A warning, as over HTTP.
struct NobodyActs;

impl Told for NobodyActs {
    fn tell(&self, to: &mut Telling) {
        let (code, hint) = NOBODY_ACTS;
        to.map(|fields| {
            fields.with("code", code).with("hint", hint);
        });
    }
}
