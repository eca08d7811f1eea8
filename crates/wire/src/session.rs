//! One client's conversation, without its socket.
//!
//! Whoever owns the socket feeds in what arrives, asks what is to be done ([`Session::todo`]),
//! does it and comes back with what came of it. Requests are answered in their order. Those that
//! have arrived together are asked together, as one commit; what changes the conversation itself
//! (the version of the protocol, subscriptions) or may wait runs alone, when everything before it
//! has been answered.
//!
//! It never blocks, never reads a clock and never grows beyond what its limits say: while
//! something is being asked, nothing more is begun.

use std::collections::VecDeque;
use std::sync::Arc;
use std::vec;

use duly_engine::announce::Announcement;
use duly_engine::answer::{Answer, Leased, Refusal};
use duly_engine::command::{Command, Filter};
use duly_engine::deadline::{Deadline, PayloadAt};
use duly_engine::id::{DeadlineId, QueueName};
use duly_engine::time::{Span, Time};

use crate::Settings;
use crate::commands::{self, Client, Next, Shown, Then};
use crate::reading::{Broken, Requests};
use crate::refusal::refused;
use crate::reply::Reply;

/// Commands asked at once, about: more would make others wait longer than a pipeline gains.
const GATHERED: usize = 4_096;
/// Payloads asked for at once: each may be the longest there is, and all are in memory together.
const READ: usize = 64;
/// Bytes said after which the socket has to take some before more is asked.
const SAID: usize = 1 << 20;

/// What is to be done next.
#[derive(Debug)]
pub enum Todo {
    /// Send what was said, then read more and [`Session::receive`] it.
    Read,
    /// Send what was said before anything else is done: the client is slow to read.
    Send,
    /// Ask the engine and come back with [`Session::answered`].
    Ask(Vec<Command>),
    /// Send what was said, lease, wait if there is nothing, and come back with [`Session::leased`].
    Lease(Wait),
    /// Send what was said, list, and come back with [`Session::listed`].
    List(Listing),
    /// Send what was said and hang up.
    Close,
}

/// A lease that may wait for the first delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// From which queue.
    pub queue: QueueName,
    /// How many deliveries at most.
    pub max: usize,
    /// For how long they are leased.
    pub span: Span,
    /// How long to wait for the first.
    pub wait: Span,
}

/// A page of records that is wanted, of those in memory and in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Of which queue.
    pub queue: QueueName,
    /// Which records.
    pub filter: Filter,
    /// Those after this one.
    pub after: Option<(Time, DeadlineId)>,
    /// At most so many.
    pub limit: usize,
}

/// A page of records in order of (due, id), payloads fetched.
#[derive(Clone, Debug)]
pub struct Page {
    /// The records.
    pub deadlines: Vec<Deadline>,
    /// Where the next page begins; none at the end.
    pub next: Option<(Time, DeadlineId)>,
}

/// What a request waits for that is no question to the engine.
enum Waiting {
    Lease(Then),
    List(Shown),
}

/// A request that has no reply yet, or whose reply has to wait for those before it.
enum Turn {
    Said(Reply),
    Asked { commands: usize, then: Then },
}

/// One client's conversation.
pub struct Session {
    requests: Requests,
    client: Client,
    line: VecDeque<Turn>,
    /// What the last request in the line has to ask before others are begun.
    more: Vec<Command>,
    /// What a wait is for.
    waiting: Option<Waiting>,
    said: Vec<u8>,
    is_over: bool,
}

impl Session {
    /// A conversation that begins. The number is the client's own for as long as the server runs.
    pub fn new(settings: Arc<Settings>, number: u64) -> Session {
        Session {
            requests: Requests::default(),
            client: Client::new(settings, number),
            line: VecDeque::new(),
            more: Vec::new(),
            waiting: None,
            said: Vec::new(),
            is_over: false,
        }
    }

    /// Takes what has arrived.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !self.is_over {
            self.requests.receive(bytes);
        }
    }

    /// How many bytes have arrived and are not dealt with yet.
    pub fn unread(&self) -> usize {
        self.requests.unread()
    }

    /// What was said; whoever sends it takes it away.
    pub fn said(&mut self) -> &mut Vec<u8> {
        &mut self.said
    }

    /// What has been begun since this was asked last: numbers of [`crate::command_names`].
    pub fn begun(&mut self) -> vec::Drain<'_, usize> {
        self.client.begun.drain(..)
    }

    /// Does the client want to hear what happens to others' deadlines?
    pub fn listens(&self) -> bool {
        self.client.ears.listens()
    }

    /// What is to be done next.
    pub fn todo(&mut self) -> Todo {
        assert!(self.waiting.is_none(), "what is waited for comes back first");
        if !self.more.is_empty() {
            return Todo::Ask(std::mem::take(&mut self.more));
        }
        assert!(self.line.is_empty(), "what was asked comes back first");
        let (mut commands, mut read) = (Vec::new(), 0);
        while !self.is_over && commands.len() < GATHERED && read < READ && self.said.len() < SAID {
            let words = match self.requests.next() {
                Ok(Some(words)) => words,
                Ok(None) => break,
                Err(Broken(why)) => {
                    self.is_over = true;
                    self.say(Reply::Error(format!("ERR {why}")));
                    break;
                }
            };
            if commands::runs_alone(&words) && !self.line.is_empty() {
                self.requests.put_back();
                break;
            }
            match commands::begin(&words, &mut self.client) {
                Next::Say(reply) => self.say(reply),
                Next::Ask { commands: asked, then, again } => {
                    self.line.push_back(Turn::Asked { commands: asked.len(), then });
                    read += asked.iter().filter(|it| matches!(it, Command::Get(_))).count();
                    commands.extend(asked);
                    if again {
                        break;
                    }
                }
                Next::Wait(wait, then) => {
                    self.waiting = Some(Waiting::Lease(then));
                    return Todo::Lease(wait);
                }
                Next::List(listing, shown) => {
                    self.waiting = Some(Waiting::List(shown));
                    return Todo::List(listing);
                }
                Next::Leave(reply) => {
                    self.is_over = true;
                    self.say_if(reply);
                }
            }
        }
        match (commands.is_empty(), self.is_over) {
            (false, _) => Todo::Ask(commands),
            (true, true) => Todo::Close,
            (true, false) if self.said.len() >= SAID => Todo::Send,
            (true, false) => Todo::Read,
        }
    }

    /// What came of the commands of the last [`Todo::Ask`], in their order, and what time it is.
    /// Payloads may still be in the journal: those that the client is shown are fetched.
    pub fn answered(
        &mut self,
        answers: Vec<Answer>,
        now: Time,
        fetch: &mut dyn FnMut(&mut PayloadAt),
    ) {
        let mut answers = answers.into_iter();
        // Who asks again is the last in the line, and waits for what comes of it.
        while self.more.is_empty()
            && let Some(turn) = self.line.pop_front()
        {
            match turn {
                Turn::Said(reply) => reply.write(self.client.version, &mut self.said),
                Turn::Asked { commands, then } => {
                    let answers = answers.by_ref().take(commands);
                    let mut heard = Heard { answers, now, fetch: &mut *fetch };
                    let next = then(&mut heard);
                    // A refusal may have been enough to know the reply.
                    heard.for_each(drop);
                    self.go_on(next);
                }
            }
        }
        assert!(answers.next().is_none(), "there are as many answers as commands");
    }

    /// What came of the last [`Todo::Lease`], payloads fetched, and what time it is.
    pub fn leased(&mut self, leased: Result<Vec<Leased>, Refusal>, now: Time) {
        let Some(Waiting::Lease(then)) = self.waiting.take() else {
            unreachable!("a lease was waited for")
        };
        let answer = leased.map_or_else(Answer::Refused, Answer::Leased);
        let mut answers = vec![answer].into_iter();
        let mut fetch = |_: &mut PayloadAt| {};
        let answers = answers.by_ref().take(1);
        let next = then(&mut Heard { answers, now, fetch: &mut fetch });
        self.go_on(next);
    }

    /// What came of the last [`Todo::List`].
    pub fn listed(&mut self, page: Result<Page, Refusal>) {
        let Some(Waiting::List(shown)) = self.waiting.take() else {
            unreachable!("a list was waited for")
        };
        let reply = page.map_or_else(|refusal| refused(&refusal), shown);
        reply.write(self.client.version, &mut self.said);
    }

    fn go_on(&mut self, next: Next) {
        match next {
            Next::Say(reply) => reply.write(self.client.version, &mut self.said),
            Next::Ask { commands, then, .. } => {
                assert!(self.line.is_empty(), "who asks again is the last in the line");
                self.line.push_front(Turn::Asked { commands: commands.len(), then });
                self.more = commands;
            }
            Next::Wait(..) | Next::List(..) | Next::Leave(_) => {
                unreachable!("only a beginning waits, lists or leaves")
            }
        }
    }

    /// Tells a client that listens what has happened.
    pub fn hear(&mut self, announcements: &[Announcement]) {
        for announcement in announcements {
            let names = &self.client.settings.names;
            for push in self.client.ears.hear(announcement, names) {
                push.write(self.client.version, &mut self.said);
            }
        }
    }

    fn say(&mut self, reply: Reply) {
        if self.line.is_empty() {
            reply.write(self.client.version, &mut self.said);
        } else {
            self.line.push_back(Turn::Said(reply));
        }
    }

    fn say_if(&mut self, reply: Option<Reply>) {
        if let Some(reply) = reply {
            self.say(reply);
        }
    }
}

/// What the engine answered to one request.
pub(crate) struct Heard<'a> {
    answers: std::iter::Take<&'a mut vec::IntoIter<Answer>>,
    fetch: &'a mut dyn FnMut(&mut PayloadAt),
    /// What time it is.
    pub(crate) now: Time,
}

impl Heard<'_> {
    /// The next answer.
    pub(crate) fn one(&mut self) -> Answer {
        self.answers.next().expect("there are as many answers as commands")
    }

    /// The next answer, with the payloads that the client is shown.
    pub(crate) fn shown(&mut self) -> Answer {
        let mut answer = self.one();
        answer.payloads_mut().into_iter().for_each(&mut *self.fetch);
        answer
    }
}

impl Iterator for Heard<'_> {
    type Item = Answer;

    fn next(&mut self) -> Option<Answer> {
        self.answers.next()
    }
}
