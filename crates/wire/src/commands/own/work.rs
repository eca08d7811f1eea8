//! The commands of a worker: lease, verdict, touch.

use std::sync::Arc;

use duly_engine::command::{Command, Verdict};
use duly_engine::id::{DeliveryId, Malformed, Token};
use duly_engine::limits::{ERROR_BYTES, LEASE, LEASE_DELIVERIES};
use duly_engine::time::Span;

use super::options::{Options, bad, text};
use super::{ask, queue, told};
use crate::commands::{Client, Next, No, Taken};
use crate::reading::Words;
use crate::session::Wait;

/// Longest wait of a lease.
const LONGEST_WAIT: Span = Span::from_secs(60);
/// How long a lease holds that names no length.
const USUAL_LEASE: Span = Span::from_secs(30);

/// `DULY.LEASE queue [MAX number] [LEASE span] [WAIT span]`
pub(in super::super) fn lease(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let options = Options::read(words, 2, client, &["MAX", "LEASE", "WAIT"], &[])?;
    let most = u32::try_from(LEASE_DELIVERIES).expect("a lease is of few");
    let max = options.number("MAX", 1..=most)?.unwrap_or(1) as usize;
    let wait = options.span("WAIT")?.unwrap_or(Span::ZERO);
    if wait > LONGEST_WAIT {
        let why = format!("BAD_DURATION WAIT is at most {LONGEST_WAIT}; ask again afterwards");
        return Err(No(why));
    }
    let wait = Wait { queue: queue(words.at(1))?, max, span: span(&options)?, wait };
    let manner = client.manner();
    let taken: Taken = Box::new(move |mut answer, fetch| {
        // However long it is: a delivery that was handed out and not told would wait for nobody.
        answer.payloads_mut().for_each(fetch);
        Next::Say(told(&answer, manner))
    });
    Ok(Next::Wait(wait, taken))
}

/// `DULY.VERDICT delivery token done | superseded | retry | dead [ERROR text] [RETRY_AFTER span]`
pub(in super::super) fn verdict(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let options = Options::read(words, 4, client, &["ERROR", "RETRY_AFTER"], &[])?;
    let (error, after) = (options.text("ERROR")?, options.span("RETRY_AFTER")?);
    let word = text(words.at(3), "a verdict")?;
    if error.is_some() && !matches!(word, "retry" | "dead") {
        return Err(bad("only retry and dead have an ERROR"));
    }
    if after.is_some() && word != "retry" {
        return Err(bad("only retry has a RETRY_AFTER"));
    }
    let error = kept(error.unwrap_or("the worker gave no reason"));
    let verdict = match word {
        "done" => Verdict::Done,
        "superseded" => Verdict::Superseded,
        "retry" => Verdict::Retry { error, after },
        "dead" => Verdict::Dead { error },
        _ => return Err(bad("a verdict is done, superseded, retry or dead")),
    };
    let (delivery, token) = held(words)?;
    Ok(ask(Command::Verdict { delivery, token, verdict }, client))
}

/// `DULY.TOUCH delivery token [LEASE span]`
pub(in super::super) fn touch(words: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    let options = Options::read(words, 3, client, &["LEASE"], &[])?;
    let span = span(&options)?;
    let (delivery, token) = held(words)?;
    Ok(ask(Command::Touch { delivery, token, span }, client))
}

/// The delivery and the lease that a worker names. What is no delivery was never handed out.
fn held(words: &Words<'_>) -> Result<(DeliveryId, Token), No> {
    let delivery = text(words.at(1), "a delivery")?.parse();
    let delivery = delivery.map_err(|why: Malformed| No(format!("UNKNOWN_DELIVERY {}", why.0)))?;
    let token = text(words.at(2), "a token")?.parse().map(Token);
    Ok((delivery, token.map_err(|_| bad("a token is sent back as it was handed out"))?))
}

/// How long a lease is to hold.
fn span(options: &Options<'_>) -> Result<Span, No> {
    let span = options.span("LEASE")?.unwrap_or(USUAL_LEASE);
    let (shortest, longest) = LEASE;
    if (shortest..=longest).contains(&span) {
        return Ok(span);
    }
    Err(No(format!("BAD_DURATION a lease is {shortest} to {longest} long")))
}

/// What is kept of an error's text, cut between two characters.
fn kept(error: &str) -> Arc<str> {
    error[..error.floor_char_boundary(ERROR_BYTES)].into()
}
