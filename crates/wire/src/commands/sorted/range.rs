//! `ZRANGEBYSCORE` and `ZRANGE … BYSCORE`: what is due, and what will be.
//!
//! Workers ask for what is due, over and over. That is answered from those who wait to be handed
//! out, whose turn is first first, and costs as much as is shown. Only who asks for what lies ahead
//! walks all records, slice by slice, and then members are in order of score and name.

use std::sync::Arc;

use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::{Command, Filter, Scan};
use duly_engine::deadline::{Deadline, DeliveryState, State};
use duly_engine::id::{Key, QueueName};
use duly_engine::limits::{LEASE_DELIVERIES, SLICE};
use duly_engine::time::{Span, Time};

use super::score::{self, Range};
use super::{Client, Next, No, queue};
use crate::Score;
use crate::number;
use crate::reading::Words;
use crate::refusal::refused;
use crate::reply::{Reply, Version};

/// A range that ends within this from now is taken to end now: the client's clock is ahead of the
/// server's, which decides.
const AHEAD: Span = Span::from_secs(1);
/// Most members of a range that walks the records and has no limit.
const MEMBERS: usize = 100_000;

/// What is asked for.
struct Asked {
    queue: QueueName,
    range: Range,
    skip: usize,
    /// No more than so many, if there is a limit.
    take: Option<usize>,
    shows_scores: bool,
    unit: Score,
    version: Version,
}

/// A member in its place.
type Place = (Time, Key);

/// `ZRANGEBYSCORE queue min max [WITHSCORES] [LIMIT offset count]`
pub(in super::super) fn zrangebyscore(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    Ok(waiting(asked(words, client)?))
}

/// `ZRANGE queue min max BYSCORE [LIMIT offset count] [WITHSCORES]`
pub(in super::super) fn zrange(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let has = |name: &[u8]| words.from(4).any(|word| word.eq_ignore_ascii_case(name));
    if has(b"REV") || has(b"BYLEX") {
        return Err(No::err(
            "members are in order of their due times: ZRANGE queue min max BYSCORE, without REV",
        ));
    }
    if !has(b"BYSCORE") {
        return Err(No::err(
            "a queue has no positions: ZRANGEBYSCORE queue -inf <now> LIMIT 0 1 shows what is due \
             first, and BZPOPMIN waits for it",
        ));
    }
    Ok(waiting(asked(words, client)?))
}

fn asked(words: &Words<'_>, client: &Client) -> Result<Asked, No> {
    let (mut skip, mut take, mut shows_scores) = (0, None, false);
    let mut options = words.from(4);
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"WITHSCORES") {
            shows_scores = true;
        } else if option.eq_ignore_ascii_case(b"LIMIT") {
            let mut number = || {
                let word = options.next().ok_or_else(No::syntax)?;
                number::integer(word).ok_or_else(No::not_an_integer)
            };
            let (offset, count) = (number()?, number()?);
            // As in Redis a negative count is none, and before the first there is nothing.
            take = usize::try_from(count).ok();
            match usize::try_from(offset) {
                Ok(offset) => skip = offset,
                Err(_) => take = Some(0),
            }
        } else if !option.eq_ignore_ascii_case(b"BYSCORE") || words.at(0).len() > "ZRANGE".len() {
            return Err(No::syntax());
        }
    }
    let unit = client.settings.score;
    Ok(Asked {
        queue: queue(client, words.at(1))?,
        range: Range::read(words.at(2), words.at(3), unit)?,
        skip,
        take,
        shows_scores,
        unit,
        version: client.version,
    })
}

/// Asks who waits, which is enough unless the range reaches into the future.
fn waiting(asked: Asked) -> Next {
    // Whoever is before the range has to be passed over first.
    let limit = if asked.range.from == Time::ZERO { asked.most() } else { LEASE_DELIVERIES };
    let limit = limit.min(LEASE_DELIVERIES);
    let due = Time::ZERO..Time::NEVER;
    let command = Command::Waiting { queue: asked.queue.clone(), due, limit };
    Next::ask_first(vec![command], move |heard| {
        let found = match heard.one() {
            Answer::Waiting(found) => found,
            Answer::Refused(Refusal::UnknownQueue) => return Next::Say(asked.told(Vec::new())),
            Answer::Refused(refusal) => return Next::Say(refused(&refusal)),
            other => unreachable!("a look at who waits was answered with {other:?}"),
        };
        let is_past = asked.range.to <= heard.now.plus(AHEAD);
        let in_range = found.into_iter().filter(|it| asked.range.has(it.due));
        let in_range: Vec<Place> = in_range.map(placed).collect();
        if is_past || in_range.len() >= asked.most() {
            return Next::Say(asked.told(in_range));
        }
        walk(Arc::new(asked), 0, Vec::new())
    })
}

/// Looks at the next slice of the records.
fn walk(asked: Arc<Asked>, from_slot: u32, mut found: Vec<Place>) -> Next {
    let scan = |filter: Filter| {
        let queue = Some(asked.queue.clone());
        Command::Scan(Scan { queue, from_slot, filter, after: None, limit: SLICE })
    };
    Next::ask_first(members(asked.range).map(scan).into(), move |heard| {
        let mut next = None;
        for answer in heard {
            match answer {
                Answer::Scanned { found: here, next_slot } => {
                    found.extend(here.into_iter().map(placed));
                    next = next_slot;
                }
                Answer::Refused(Refusal::UnknownQueue) => {}
                Answer::Refused(refusal) => return Next::Say(refused(&refusal)),
                other => unreachable!("a scan was answered with {other:?}"),
            }
        }
        found.sort_unstable();
        found.truncate(asked.most());
        if found.len() > MEMBERS {
            return Next::Say(Reply::Error(format!(
                "ERR more than {MEMBERS} members are asked for: use a LIMIT"
            )));
        }
        match next {
            Some(slot) => walk(asked, slot, found),
            None => Next::Say(asked.told(found)),
        }
    })
}

/// Which records are members with scores in a range: what is pending, and what has lapsed and nobody
/// has claimed.
pub(super) fn members(range: Range) -> [Filter; 2] {
    let filter = Filter { due_from: Some(range.from), due_to: Some(range.to), ..Filter::default() };
    [
        Filter { state: Some(State::Pending), ..filter.clone() },
        Filter { delivery: Some(DeliveryState::Ready), ..filter },
    ]
}

fn placed(deadline: Deadline) -> Place {
    (deadline.due, deadline.key)
}

impl Asked {
    /// How many members have to be found at most.
    fn most(&self) -> usize {
        self.take
            .map_or(usize::MAX, |take| if take == 0 { 0 } else { self.skip.saturating_add(take) })
    }

    fn told(&self, found: Vec<Place>) -> Reply {
        let shown = found.into_iter().skip(self.skip).take(self.take.unwrap_or(usize::MAX));
        let member = |key: &Key| Reply::text(key.as_str());
        let score = |due| score::shown(due, self.unit);
        Reply::List(match (self.shows_scores, self.version) {
            (false, _) => shown.map(|(_, key)| member(&key)).collect(),
            (true, Version::Two) => {
                shown.flat_map(|(due, key)| [member(&key), score(due)]).collect()
            }
            (true, Version::Three) => {
                shown.map(|(due, key)| Reply::List(vec![member(&key), score(due)])).collect()
            }
        })
    }
}
