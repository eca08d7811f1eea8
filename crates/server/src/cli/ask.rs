//! The commands that ask a running server something and show what it said.
//!
//! One command is one request, except `list --all`, which follows the cursor. People get sentences
//! and tables, `--json` gets the server's bytes; either way the exit status tells how it went.

use std::io::{self, IsTerminal as _, Read as _};

use duly_engine::time::Time;
use hyper::Method;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer;
use super::args::{Deadline, Erase, Link, List, Pause, Request, Schedule, Server, Stats};
use super::call::{self, Call};
use super::exit::Exit;
use super::print::{self, Output};
use super::show::{self, View};
use crate::client::{Answer, Client, NoAnswer};
use crate::clock;
use crate::config::Environment;

const DEFAULT_URL: &str = "http://127.0.0.1:7830";

/// Why a command ended without an answer to show.
pub(super) enum Stop {
    /// What was typed makes no sense.
    Usage(String, &'static str),
    /// The server did not answer.
    NoServer(NoAnswer),
    /// Somebody answered with this status, and not as Duly does.
    NotDuly(u16),
    /// The server said no: its answer, as it came and as it is read.
    Refused(Answer, Value),
    /// What was asked for could not be brought to its end; why.
    HeldUp(String),
    /// What was to be printed could not be.
    Unprinted(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Unprinted(error)
    }
}

impl From<NoAnswer> for Stop {
    fn from(no_answer: NoAnswer) -> Stop {
        Stop::NoServer(no_answer)
    }
}

/// A running server and how to show what it says.
pub(super) struct Session {
    pub(super) client: Client,
    url: String,
    pub(super) json: bool,
    pub(super) output: Output,
}

/// Runs a command that is one for a running server.
pub(super) fn run(request: Request, environment: &Environment) -> Exit {
    let server = request.server();
    let json = server.json;
    let url = server.url.as_deref().or_else(|| environment.get("DULY_URL")).unwrap_or(DEFAULT_URL);
    let client = match Client::new(url) {
        Ok(client) => client,
        Err(why) => {
            print::complain(why, Some("--url or DULY_URL names the server"));
            return Exit::Usage;
        }
    };
    let output = Output::new(environment.get("NO_COLOR").is_some());
    let session = Session { client, url: url.to_owned(), json, output };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::complain(format!("cannot begin: {error}"), None);
            return Exit::Io;
        }
    };
    match runtime.block_on(session.perform(request)) {
        Ok(()) => Exit::Done,
        Err(stop) => session.stopped(stop),
    }
}

impl Request {
    fn server(&self) -> &Server {
        match self {
            Request::Schedule(args) => &args.server,
            Request::Settle(args) => &args.server,
            Request::Extend(args) => &args.server,
            Request::Freeze(args) => &args.server,
            Request::Get(args) | Request::Revive(args) => &args.server,
            Request::List(args) => &args.server,
            Request::Tail(args) => &args.server,
            Request::Link(args) => &args.server,
            Request::Stats(args) => &args.server,
            Request::Pause(args) | Request::Resume(args) => &args.server,
            Request::Erase(args) => &args.server,
            Request::Reconcile(args) => &args.server,
            Request::Report(args) => &args.server,
        }
    }
}

impl Session {
    async fn perform(&self, request: Request) -> Result<(), Stop> {
        match request {
            Request::Schedule(args) => self.schedule(&args).await,
            Request::Settle(args) => self.about_a_deadline(call::settle(&args)).await,
            Request::Extend(args) => self.about_a_deadline(call::extend(&args)).await,
            Request::Freeze(args) => self.about_a_deadline(call::freeze(&args)).await,
            Request::Get(args) => self.get(&args).await,
            Request::Revive(args) => self.about_a_deadline(call::revive(&args.address)).await,
            Request::List(args) => self.list(&args).await,
            Request::Tail(args) => self.tail(&args).await,
            Request::Link(args) => self.link(&args).await,
            Request::Stats(args) => self.stats(&args).await,
            Request::Pause(args) => self.pause(&args, "pause").await,
            Request::Resume(args) => self.pause(&args, "resume").await,
            Request::Erase(args) => self.erase(&args).await,
            Request::Reconcile(args) => self.reconcile(&args).await,
            Request::Report(args) => self.report(&args).await,
        }
    }

    /// Sends a request and expects a yes. With `--json` the answer is printed and nothing is left to show.
    async fn ask(&self, call: Call) -> Result<Option<Value>, Stop> {
        let (answer, read) = self.answer(call).await?;
        if self.json {
            print_raw(&answer)?;
            return Ok(None);
        }
        Ok(Some(read))
    }

    /// A yes of Duly's, as it came and as it is read.
    pub(super) async fn answer(&self, call: Call) -> Result<(Answer, Value), Stop> {
        let answer = self.client.send(call.method, &call.path, call.body).await?;
        let answers: &[&str] = if answer.is_success() { call.answers } else { &["code"] };
        match answer::read(&answer.body) {
            Some(read) if answers.iter().any(|name| !read[name].is_null()) => {
                if answer.is_success() {
                    Ok((answer, read))
                } else {
                    Err(Stop::Refused(answer, read))
                }
            }
            _ => Err(Stop::NotDuly(answer.status)),
        }
    }

    /// What time it is for the server; distances are measured from there.
    pub(super) async fn view(&self) -> View {
        let said = match self.client.send(Method::GET, "/v1/clock", "").await {
            Ok(answer) => show::instant(&answer.json(), "/clock/now"),
            Err(_) => None,
        };
        View { output: self.output, now: said.unwrap_or_else(clock::wall) }
    }

    async fn get(&self, args: &Deadline) -> Result<(), Stop> {
        let Some(answer) = self.ask(call::get(&args.address)).await? else { return Ok(()) };
        print::out(&self.view().await.deadline(&answer["deadline"]))?;
        Ok(())
    }

    async fn schedule(&self, args: &Schedule) -> Result<(), Stop> {
        let payload = args.payload.as_deref().map(payload).transpose()?;
        let call = call::schedule(args, payload.as_deref());
        let Some(answer) = self.ask(call).await? else { return Ok(()) };
        if answer["created"] == Value::Bool(false) {
            let differs: Vec<&str> = answer["differs"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let differs = match differs.as_slice() {
                [] => String::new(),
                fields => format!("; not as asked: {}", fields.join(", ")),
            };
            print::say(&format!("duly: it was there already and is kept{differs}\n"));
        }
        for warning in answer["warnings"].as_array().into_iter().flatten() {
            let text = show::string(warning, "/hint").or_else(|| show::string(warning, "/code"));
            print::say(&format!("duly: {}\n", print::clean(&text.unwrap_or_default())));
        }
        print::out(&self.view().await.line(&answer["deadline"]))?;
        Ok(())
    }

    async fn about_a_deadline(&self, call: Call) -> Result<(), Stop> {
        let Some(answer) = self.ask(call).await? else { return Ok(()) };
        let view = self.view().await;
        let text = match answer["result"].as_str() {
            Some("remembered") => {
                let until = show::string(&answer, "/until").unwrap_or_default();
                format!("not known yet; remembered until {until}\n")
            }
            Some("already_settled") => {
                let name = print::clean(&show::name(&answer["deadline"]));
                let outcome = show::string(&answer, "/deadline/outcome").unwrap_or_default();
                format!("{name} was settled before: {outcome}\n")
            }
            _ => view.line(&answer["deadline"]),
        };
        print::out(&text)?;
        Ok(())
    }

    async fn list(&self, args: &List) -> Result<(), Stop> {
        let mut records = Vec::new();
        let mut cursor = args.cursor.clone();
        loop {
            let call = call::list(args, cursor.as_deref());
            let (answer, page) = self.answer(call).await?;
            cursor = show::string(&page, "/next_cursor");
            if self.json {
                print_raw(&answer)?;
            } else {
                records.extend(page["deadlines"].as_array().cloned().unwrap_or_default());
            }
            if cursor.is_none() || !args.all {
                break;
            }
        }
        if !self.json {
            print::out(&self.view().await.list(&records))?;
            if let Some(cursor) = cursor {
                print::say(&format!("more: the same with --cursor {cursor}, or with --all\n"));
            }
        }
        Ok(())
    }

    async fn link(&self, args: &Link) -> Result<(), Stop> {
        let Some(answer) = self.ask(call::link(args)).await? else { return Ok(()) };
        let url = show::string(&answer, "/url").unwrap_or_default();
        // A path alone is one of the server that was asked.
        let base = if url.starts_with('/') { self.url.trim_end_matches('/') } else { "" };
        print::out(&format!("{base}{}\n", print::clean(&url)))?;
        Ok(())
    }

    async fn stats(&self, args: &Stats) -> Result<(), Stop> {
        let Some(answer) = self.ask(call::stats(args)).await? else { return Ok(()) };
        // Nothing in these tables is relative to now.
        let view = View { output: self.output, now: Time::ZERO };
        let text = match answer.get("queue") {
            Some(queue) => {
                let outcomes = view.outcomes(queue);
                let gap = if outcomes.is_empty() { "" } else { "\n" };
                format!("{}{gap}{outcomes}", view.stats(std::slice::from_ref(queue)))
            }
            None => view.stats(answer["queues"].as_array().map_or(&[], Vec::as_slice)),
        };
        print::out(&text)?;
        Ok(())
    }

    async fn pause(&self, args: &Pause, word: &str) -> Result<(), Stop> {
        if self.ask(call::pause(args, word)).await?.is_none() {
            return Ok(());
        }
        let what = if args.lapses { "lapses" } else { "deliveries" };
        let now = if word == "pause" { "wait" } else { "go on" };
        print::out(&format!("{}: {what} {now}\n", print::clean(&args.queue)))?;
        Ok(())
    }

    async fn erase(&self, args: &Erase) -> Result<(), Stop> {
        let name = print::clean(&format!("{}/{}", args.address.queue, args.address.key));
        if !args.yes && !confirmed(&name)? {
            return Ok(());
        }
        if self.ask(call::erase(&args.address)).await?.is_some() {
            print::out(&format!("{name} is erased\n"))?;
        }
        Ok(())
    }

    fn stopped(&self, stop: Stop) -> Exit {
        match stop {
            Stop::Usage(why, hint) => {
                print::complain(why, Some(hint));
                Exit::Usage
            }
            Stop::NoServer(no_answer) => {
                let hint = "start one with `duly serve`; --url or DULY_URL names another";
                print::complain(no_answer, Some(hint));
                Exit::NoServer
            }
            Stop::NotDuly(status) => {
                let what = format!("{} answered {status}, and the answer is not Duly's", self.url);
                print::complain(what, Some("--url or DULY_URL names the server; is it this one?"));
                Exit::NoServer
            }
            Stop::Refused(answer, _) if self.json => match print::ended(print_raw(&answer)) {
                Exit::Done => Exit::Refused,
                unprinted => unprinted,
            },
            Stop::Refused(_, problem) => {
                let hint = show::string(&problem, "/hint");
                print::complain(refusal(&problem), hint.as_deref());
                Exit::Refused
            }
            Stop::HeldUp(why) => {
                print::complain(why, Some("it goes on by itself when it can"));
                Exit::Refused
            }
            Stop::Unprinted(error) => print::ended(Err(error)),
        }
    }
}

/// The server's JSON, as it came.
pub(super) fn print_raw(answer: &Answer) -> io::Result<()> {
    print::out(&format!("{}\n", String::from_utf8_lossy(&answer.body).trim_end()))
}

/// A problem in one sentence, with its code.
fn refusal(problem: &Value) -> String {
    let code = show::string(problem, "/code").unwrap_or_default();
    let mut text = show::string(problem, "/title").unwrap_or_default();
    if let Some(detail) = show::string(problem, "/detail") {
        text = format!("{text}: {detail}");
    }
    for (label, at) in [
        ("outcome", "/deadline/outcome"),
        ("lapsed", "/deadline/lapsed_at"),
        ("delivery", "/deadline/delivery/id"),
        ("acted", "/acted"),
        ("latest", "/latest"),
        ("left", "/left"),
    ] {
        if let Some(value) = show::string(problem, at) {
            text = format!("{text}; {label} {value}");
        }
    }
    format!("{text} ({code})")
}

/// JSON from the command line, a file or standard input, as it was written.
fn payload(written: &str) -> Result<Box<RawValue>, Stop> {
    let text = match (written, written.strip_prefix('@')) {
        ("-", _) => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        }
        (_, Some(file)) => std::fs::read_to_string(file),
        (_, None) => Ok(written.to_owned()),
    };
    let text =
        text.map_err(|error| Stop::Usage(format!("cannot read the payload: {error}"), ""))?;
    RawValue::from_string(text.trim().to_owned()).map_err(|error| {
        let hint = "a payload is JSON; text goes in quotes of its own: --payload '\"text\"'";
        Stop::Usage(format!("the payload is not JSON: {error}"), hint)
    })
}

/// Asks a person at a terminal; a script has to say `--yes`.
fn confirmed(name: &str) -> Result<bool, Stop> {
    if !io::stdin().is_terminal() {
        let why = format!("erasing {name} cannot be undone");
        return Err(Stop::Usage(why, "say --yes to do it without being asked"));
    }
    print::say(&format!("Erase {name} for ever? [y/N] "));
    let mut answer = String::new();
    drop(io::stdin().read_line(&mut answer));
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
