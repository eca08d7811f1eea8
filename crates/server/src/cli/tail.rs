//! `duly tail`: what happens, in a terminal, for as long as somebody looks.
//!
//! A server that goes away is waited for, and asked for what came after the last event that was
//! printed: nothing is missing and nothing comes twice. Where that cannot be, it is said.

use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::answer;
use super::args::Tail;
use super::ask::{Session, Stop};
use super::call;
use super::print::{self, Output, Tone};
use super::show;
use crate::client::{Answer, Flow};

/// How long to wait before the server is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// Where it is.
#[derive(Default)]
struct Place {
    /// The last event, or the place it began at.
    id: Option<String>,
    /// The server has answered before.
    has_heard: bool,
    /// It was said that the server is away.
    is_away: bool,
}

impl Session {
    /// Prints what happens until told to stop.
    pub(super) async fn tail(&self, args: &Tail) -> Result<(), Stop> {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            biased;
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            ended = self.follow(args) => ended,
        }
    }

    async fn follow(&self, args: &Tail) -> Result<(), Stop> {
        let path = call::events(args);
        let mut place = Place::default();
        loop {
            match self.client.follow(&path, place.id.as_deref()).await {
                Ok(Ok(flow)) => {
                    if std::mem::take(&mut place.is_away) {
                        print::say("duly: the server is back\n");
                    }
                    place.has_heard = true;
                    self.print(flow, &mut place).await?;
                }
                Ok(Err(answer)) => place.go_on_after(answer)?,
                Err(no_answer) if !place.has_heard => return Err(Stop::NoServer(no_answer)),
                Err(no_answer) => {
                    if !std::mem::replace(&mut place.is_away, true) {
                        print::say(&format!("duly: {no_answer}; waiting for it\n"));
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Prints events until the server ends the stream or goes away.
    async fn print(&self, mut flow: Flow, place: &mut Place) -> Result<(), Stop> {
        let mut data = None;
        let mut id = None;
        while let Some(line) = flow.line().await {
            match line.split_once(": ") {
                Some(("id", said)) => id = Some(said.to_owned()),
                Some(("data", said)) => data = Some(said.to_owned()),
                _ if line.is_empty() => {
                    if let Some(data) = data.take() {
                        self.print_event(&data)?;
                    }
                    // Only now: what was cut off in the middle comes again.
                    place.id = id.take().or(place.id.take());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn print_event(&self, data: &str) -> Result<(), Stop> {
        if self.json {
            return Ok(print::out(&format!("{data}\n"))?);
        }
        let event = serde_json::from_str(data).unwrap_or_default();
        Ok(print::out(&line(&event, self.output))?)
    }
}

impl Place {
    /// The server does not let it go on from here: goes on from elsewhere, or stops.
    fn go_on_after(&mut self, answer: Answer) -> Result<(), Stop> {
        let read = answer::read(&answer.body).unwrap_or_default();
        match (read["code"].as_str(), &self.id) {
            (Some("events_gone"), Some(id)) => {
                let kept_after = show::string(&read, "/kept_after");
                print::say(&format!(
                    "duly: some of what happened after {id} is not kept any more\n"
                ));
                self.id = kept_after;
                Ok(())
            }
            (Some("stopping"), _) if self.has_heard => Ok(()),
            (Some(_), _) => Err(Stop::Refused(answer, read)),
            (None, _) => Err(Stop::NotDuly(answer.status)),
        }
    }
}

/// One event as a person reads it.
fn line(event: &Value, output: Output) -> String {
    let text = |at| show::string(event, at);
    let what = text("/what").unwrap_or_default();
    let name = match text("/key") {
        Some(_) => show::name(event),
        None => format!(
            "{} (number {})",
            text("/queue").unwrap_or_default(),
            text("/id").unwrap_or_default()
        ),
    };
    let moved = matches!(what.as_str(), "scheduled" | "extended" | "shifted");
    let details = [
        text("/outcome"),
        text("/due").filter(|_| moved).map(|due| format!("due {due}")),
        text("/frozen_until").filter(|_| what == "frozen").map(|until| format!("until {until}")),
        show::number(event, "/attempt").map(|attempt| format!("attempt {attempt}")),
        text("/error"),
        text("/next_attempt_at").map(|at| format!("again {at}")),
        text("/delivery/id").filter(|_| what == "lapsed"),
    ];
    let details: Vec<String> = details.into_iter().flatten().collect();
    let line = format!(
        "{}  {}  {}  {}",
        output.paint(&text("/at").unwrap_or_default(), Tone::Faint),
        output.paint(&format!("{what:<10}"), show::tone_of(&what)),
        output.paint(&name, Tone::Strong),
        print::clean(&details.join(", ")),
    );
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let line = |event: Value| line(&event, Output::plain());
        let event = json!({"seq": "7", "what": "retried", "at": "2026-11-22T12:30:00.000Z",
            "queue": "orders", "key": "4\u{1b}2", "id": "17", "state": "lapsed",
            "error": "503\nno", "next_attempt_at": "2026-11-22T12:30:05.000Z"});
        assert_eq!(
            line(event),
            "2026-11-22T12:30:00.000Z  retried     orders/4 2  503 no, again 2026-11-22T12:30:05.000Z\n"
        );
        let erased = json!({"what": "erased", "at": "T", "queue": "orders", "id": "17"});
        assert_eq!(line(erased), "T  erased      orders (number 17)\n");
        // What an older or a newer server says otherwise is left out.
        assert_eq!(line(json!({})).trim(), "(number )");
    }
}
