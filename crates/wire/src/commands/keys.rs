//! Keys as keys: what is there, and to delete it is to settle it; only who does so in time is
//! counted.

use duly_engine::answer::Answer;
use duly_engine::command::{Command, Filter, Scan};
use duly_engine::deadline::State;
use duly_engine::limits::SLICE;

use super::strings::{address, deleted, pending, won};
use super::{Client, Next, No};
use crate::glob;
use crate::number;
use crate::reading::Words;
use crate::refusal::refused;
use crate::reply::Reply;

/// `DEL key…` and `UNLINK key…`
pub(super) fn del(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let settles = words.from(1).map(|key| Ok(deleted(address(client, key)?)));
    Ok(Next::ask(settles.collect::<Result<_, No>>()?, |heard| {
        counted(heard.map(|answer| won(answer).map(|deadline| deadline.is_some())))
    }))
}

/// `EXISTS key…`
pub(super) fn exists(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let gets = words.from(1).map(|key| Ok(Command::Get(address(client, key)?)));
    Ok(Next::ask(gets.collect::<Result<_, No>>()?, |heard| {
        counted(heard.map(|answer| pending(answer).map(|deadline| deadline.is_some())))
    }))
}

/// How many of them are so.
fn counted(these: impl Iterator<Item = Result<bool, Reply>>) -> Reply {
    let are: Result<Vec<bool>, Reply> = these.collect();
    are.map_or_else(|no| no, |are| Reply::count(are.into_iter().filter(|is| *is).count()))
}

/// `TYPE key`
pub(super) fn kind(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let get = Command::Get(address(client, words.at(1))?);
    Ok(Next::ask(vec![get], |heard| match pending(heard.one()) {
        Ok(Some(_)) => Reply::Status("string"),
        Ok(None) => Reply::Status("none"),
        Err(refused) => refused,
    }))
}

/// `DBSIZE`
pub(super) fn dbsize(_: &Words<'_>, _: &mut Client) -> Result<Next, No> {
    Ok(Next::ask(vec![Command::ListQueues], |heard| match heard.one() {
        Answer::Queues(queues) => {
            let pending: u64 = queues.iter().map(|queue| queue.now.pending).sum();
            Reply::Integer(i64::try_from(pending).unwrap_or(i64::MAX))
        }
        Answer::Refused(refusal) => refused(&refusal),
        other => unreachable!("a list of queues was answered with {other:?}"),
    }))
}

/// Steps that one call takes to compare a pattern with keys, at most: a thousand for each key.
const STEPS: usize = 1_000 * SLICE;
const COSTLY: &str = "ERR the pattern takes too many steps with these keys: make it shorter";

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
///
/// The cursor is a place in the walk over all records, so what is there from the beginning of the
/// walk to its end is told. A call walks a slice of them, whatever count is asked for.
pub(super) fn scan(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let cursor = str::from_utf8(words.at(1)).ok().and_then(|word| word.parse().ok());
    let cursor: u64 = cursor.ok_or_else(|| No::err("invalid cursor"))?;
    let (mut pattern, mut is_of_type) = (b"*".to_vec(), true);
    let mut options = words.from(2);
    while let Some(option) = options.next() {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        let value = options.next().ok_or_else(No::syntax)?;
        if is("MATCH") {
            pattern = super::pattern(value)?.to_vec();
        } else if is("COUNT") {
            let count = number::integer(value).ok_or_else(No::not_an_integer)?;
            if count < 1 {
                return Err(No::syntax());
            }
        } else if is("TYPE") {
            is_of_type = value.eq_ignore_ascii_case(b"string");
        } else {
            return Err(No::syntax());
        }
    }
    // Behind the last record there is nothing, as with any cursor that nobody gave out.
    let from_slot = u32::try_from(cursor).unwrap_or(u32::MAX);
    let scan = Scan {
        queue: None,
        from_slot,
        filter: Filter { state: Some(State::Pending), ..Filter::default() },
        after: None,
        limit: SLICE,
    };
    let names = client.settings.clone();
    Ok(Next::ask(vec![Command::Scan(scan)], move |heard| match heard.one() {
        Answer::Scanned { found, next_slot } => {
            let (mut keys, mut steps) = (Vec::new(), STEPS);
            for deadline in found.iter().filter(|_| is_of_type) {
                let Some(key) = names.names.written(&deadline.queue, &deadline.key) else {
                    continue;
                };
                match glob::matches_within(&pattern, key.as_bytes(), &mut steps) {
                    Some(true) => keys.push(Reply::Bulk(key.into_bytes())),
                    Some(false) => {}
                    None => return Reply::Error(COSTLY.to_owned()),
                }
            }
            let cursor = next_slot.unwrap_or(0).to_string();
            Reply::List(vec![Reply::text(&cursor), Reply::List(keys)])
        }
        Answer::Refused(refusal) => refused(&refusal),
        other => unreachable!("a scan was answered with {other:?}"),
    }))
}
