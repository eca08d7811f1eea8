//! `ZRANGEBYSCORE` and `ZRANGE … BYSCORE`: what is due, and what will be.
//!
//! Workers ask for what is due, over and over. That is answered from those who wait to be handed
//! out, whose turn is first first, and costs as much as is shown. Only who asks for what lies ahead
//! walks all records, slice by slice, and then members are in order of score and name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use duly_engine::answer::{Answer, Refusal};
use duly_engine::command::{Command, Filter, Scan};
use duly_engine::id::{Key, QueueName};
use duly_engine::limits::{LEASE_DELIVERIES, SLICE};
use duly_engine::time::{Span, Time};

use super::super::expiry::clocked;
use super::score::{self, Range};
use super::{Client, Next, No, is_member, queue};
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
    let Range { from, to } = asked.range;
    let limit = asked.most().min(LEASE_DELIVERIES);
    let waiting = Command::Waiting { queue: asked.queue.clone(), due: from..to, limit };
    Next::ask_first(vec![waiting, Command::GetClock], move |heard| {
        let (waiting, clock) = (heard.one(), heard.one());
        let found = match waiting {
            Answer::Waiting(found) => found,
            Answer::Refused(Refusal::UnknownQueue) => return Next::Say(asked.told([])),
            Answer::Refused(refusal) => return Next::Say(refused(&refusal)),
            other => unreachable!("a look at who waits was answered with {other:?}"),
        };
        let clock = match clocked(clock) {
            Ok(clock) => clock,
            Err(refused) => return Next::Say(refused),
        };
        // Whoever goes by a wall clock that has run ahead means now, and is shown what is due.
        let is_past = to <= clock.now.max(clock.wall).plus(AHEAD);
        if is_past || found.len() >= asked.most() {
            return Next::Say(asked.told(found.into_iter().map(|it| (it.due, it.key))));
        }
        walk(Arc::new(asked), 0, Found::default())
    })
}

/// The members that a walk has found, in their order, each once.
#[derive(Default)]
struct Found {
    places: BTreeSet<Place>,
    due: BTreeMap<Key, Time>,
}

impl Found {
    /// Adds a member. One that was found before has moved since, and is where it is now.
    fn add(&mut self, due: Time, key: Key) {
        if let Some(before) = self.due.insert(key.clone(), due) {
            self.places.remove(&(before, key.clone()));
        }
        self.places.insert((due, key));
    }

    /// Forgets all but the first.
    fn keep(&mut self, most: usize) {
        while self.places.len() > most
            && let Some((_, key)) = self.places.pop_last()
        {
            self.due.remove(&key);
        }
    }
}

/// Looks at the next slice of the records.
fn walk(asked: Arc<Asked>, from_slot: u32, mut found: Found) -> Next {
    let Range { from, to } = asked.range;
    let filter = Filter { due_from: Some(from), due_to: Some(to), ..Filter::default() };
    let queue = Some(asked.queue.clone());
    let scan = Command::Scan(Scan { queue, from_slot, filter, after: None, limit: SLICE });
    Next::ask_first(vec![scan], move |heard| {
        let (here, next_slot) = match heard.one() {
            Answer::Scanned { found, next_slot } => (found, next_slot),
            Answer::Refused(Refusal::UnknownQueue) => (Vec::new(), None),
            Answer::Refused(refusal) => return Next::Say(refused(&refusal)),
            other => unreachable!("a scan was answered with {other:?}"),
        };
        for member in here.into_iter().filter(is_member) {
            found.add(member.due, member.key);
        }
        found.keep(asked.most());
        if found.places.len() > MEMBERS {
            return Next::Say(Reply::Error(format!(
                "ERR more than {MEMBERS} members are asked for: use a LIMIT"
            )));
        }
        match next_slot {
            Some(slot) => walk(asked, slot, found),
            None => Next::Say(asked.told(found.places)),
        }
    })
}

impl Asked {
    /// How many members have to be found at most.
    fn most(&self) -> usize {
        self.take
            .map_or(usize::MAX, |take| if take == 0 { 0 } else { self.skip.saturating_add(take) })
    }

    fn told(&self, found: impl IntoIterator<Item = Place>) -> Reply {
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

#[cfg(test)]
mod tests {
    use super::Found;
    use duly_engine::id::Key;
    use duly_engine::time::Time;

    #[test]
    fn a_member_that_moves_during_the_walk_is_found_once_where_it_is_now() {
        let mut found = Found::default();
        let mut add = |due, key| {
            found.add(Time::from_millis(due), Key::new(key).expect("it is a key"));
        };
        for (due, key) in [(3, "a"), (1, "b"), (2, "c"), (2, "a"), (9, "b"), (2, "a")] {
            add(due, key);
        }
        let shown = |found: &Found| {
            let places = found.places.iter();
            places.map(|(due, key)| format!("{key} {}", due.millis())).collect::<Vec<_>>()
        };
        assert_eq!(shown(&found), ["a 2", "c 2", "b 9"]);
        found.keep(2);
        assert_eq!(shown(&found), ["a 2", "c 2"]);
        found.add(Time::from_millis(1), Key::new("b").expect("it is a key"));
        assert_eq!(shown(&found), ["b 1", "a 2", "c 2"]);
    }
}
