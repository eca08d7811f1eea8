//! `ZREM`, `ZPOPMIN` and `BZPOPMIN`: who gets a member, and nobody else does.
//!
//! Who names a member claims it: the engine settles what is pending, and hands over what has lapsed
//! and is in nobody's hands, in one decision. Who takes what comes first leases it and closes it at
//! once: only the lease's holder can close it. If the server or the client is gone between the two,
//! the lease runs out and the member comes back, because nobody was told anything.

use duly_engine::answer::{Answer, Leased, Refusal, SettleResult};
use duly_engine::command::{Command, Verdict};
use duly_engine::limits::{HORIZON, LEASE_DELIVERIES};
use duly_engine::time::Span;

use super::super::strings::deletion;
use super::{Client, Next, No, Taken, member, queue, score};
use crate::Score;
use crate::number;
use crate::reading::Words;
use crate::refusal::refused;
use crate::reply::{Reply, Version};
use crate::session::Wait;

/// How long a member is held between the lease and its end, which is one commit.
const HOLD: Span = Span::from_secs(10);

/// `ZREM queue member…`
pub(in super::super) fn zrem(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let queue = queue(client, words.at(1))?;
    let claim = |word| Ok(Command::Claim { at: member(&queue, word)?, outcome: deletion() });
    let claims = words.from(2).map(claim).collect::<Result<_, No>>()?;
    Ok(Next::ask(claims, |heard| {
        let (mut claimed, mut no) = (0, None);
        for answer in heard {
            match answer {
                Answer::Settled { result: SettleResult::Settled, .. } | Answer::VerdictTaken(_) => {
                    claimed += 1;
                }
                // It is somebody else's, or Duly itself acts on it.
                Answer::Settled { .. }
                | Answer::Remembered { .. }
                | Answer::Refused(Refusal::UnknownQueue | Refusal::UnknownDeadline) => {}
                Answer::Refused(refusal) => drop(no.get_or_insert(refusal)),
                other => unreachable!("a claim was answered with {other:?}"),
            }
        }
        counted(claimed, no.as_ref())
    }))
}

/// What was claimed is told, whatever was refused beside it: else it would be nobody's.
fn counted(claimed: usize, no: Option<&Refusal>) -> Reply {
    no.filter(|_| claimed == 0).map_or_else(|| Reply::count(claimed), refused)
}

/// Ends leases, and tells of those that had not run out before.
fn close(leased: Vec<Leased>, reply: impl FnOnce(Vec<Leased>) -> Reply + Send + 'static) -> Next {
    if leased.is_empty() {
        return Next::Say(reply(leased));
    }
    let done = |leased: &Leased| Command::Verdict {
        delivery: leased.id,
        token: leased.token,
        verdict: Verdict::Done,
    };
    Next::ask(leased.iter().map(done).collect(), move |heard| {
        let is_taken =
            |(leased, answer)| matches!(answer, Answer::VerdictTaken(_)).then_some(leased);
        reply(leased.into_iter().zip(heard).filter_map(is_taken).collect())
    })
}

/// `ZPOPMIN queue [count]`
pub(in super::super) fn zpopmin(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    if words.len() > 3 {
        return Err(No::syntax());
    }
    let count = words.get(2).map(|word| {
        let count = number::integer(word).and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| No::err("value is out of range, must be positive"))
    });
    let count = count.transpose()?;
    let (unit, version) = (client.settings.score, client.version);
    let lease = Command::Lease {
        queue: queue(client, words.at(1))?,
        key: None,
        max: count.unwrap_or(1).min(LEASE_DELIVERIES),
        span: HOLD,
    };
    Ok(Next::ask_first(vec![lease], move |heard| {
        let leased = match heard.one() {
            Answer::Leased(leased) => leased,
            Answer::Refused(Refusal::UnknownQueue) => Vec::new(),
            Answer::Refused(refusal) => return Next::Say(refused(&refusal)),
            other => unreachable!("a lease was answered with {other:?}"),
        };
        close(leased, move |claimed| {
            let pairs = claimed.iter().map(|leased| scored(leased, unit));
            // Version 3 tells pairs, but for a single one that no count asked for.
            if count.is_some() && version == Version::Three {
                Reply::List(pairs.map(|pair| Reply::List(pair.into())).collect())
            } else {
                Reply::List(pairs.flatten().collect())
            }
        })
    }))
}

/// `BZPOPMIN queue timeout`
pub(in super::super) fn bzpopmin(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    if words.len() > 3 {
        return Err(No::err("BZPOPMIN waits for one queue at a time: a connection for each"));
    }
    let seconds = number::float(words.at(2)).filter(|seconds| seconds.is_finite());
    let seconds = seconds.ok_or_else(|| No::err("timeout is not a float or out of range"))?;
    if seconds < 0.0 {
        return Err(No::err("timeout is negative"));
    }
    // No time at all is all the time there is.
    let wait = if seconds > 0.0 { score::span(seconds) } else { HORIZON };
    let wait = Wait { queue: queue(client, words.at(1))?, max: 1, span: HOLD, wait };
    let (name, unit) = (words.at(1).to_vec(), client.settings.score);
    let taken: Taken = Box::new(move |answer, _| match answer {
        Answer::Leased(leased) => close(leased, move |claimed| match claimed.first() {
            Some(leased) => {
                let [member, score] = scored(leased, unit);
                Reply::List(vec![Reply::Bulk(name), member, score])
            }
            None => Reply::NoList,
        }),
        Answer::Refused(refusal) => Next::Say(refused(&refusal)),
        other => unreachable!("a lease was answered with {other:?}"),
    });
    Ok(Next::Wait(wait, taken))
}

/// A member with its score.
fn scored(leased: &Leased, unit: Score) -> [Reply; 2] {
    [Reply::text(leased.key.as_str()), score::shown(leased.due, unit)]
}
