//! One client's conversation, without its socket.
//!
//! Whoever owns the socket feeds in what arrives, asks what is to be done ([`Session::todo`]),
//! does it and comes back with what came of it. Requests are answered in their order. Those that
//! have arrived together are asked together, as one commit; what changes the conversation itself
//! (the version of the protocol, subscriptions) runs alone, when everything before it has been
//! answered. A lease is asked together with what is before it, so that a worker's verdicts and its
//! next lease are one commit; if there is nothing, it waits, and what follows with it.
//!
//! It never blocks, never reads a clock and never grows beyond what its limits say: while
//! something is being asked, nothing more is begun; what is asked together has one [`cost`]; and
//! replies are made as the client takes them, so that a value is in memory only when it is told.

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
use crate::commands::{self, Client, Next, Shown, Taken, Then};
use crate::cost;
use crate::reading::{Broken, Requests};
use crate::refusal::refused;
use crate::reply::Reply;

/// Bytes said after which the client has to take some before more is told or asked.
const SAID: usize = 256 << 10;
/// Bytes of values in one reply. More is refused: there is as much memory in a long reply as in a long
/// request.
const SHOWN: usize = 16 << 20;

/// What is to be done next.
#[derive(Debug)]
pub enum Todo {
    /// Send what was said, then read more and [`Session::receive`] it.
    Read,
    /// Send what was said before anything else is done: the client is slow to read.
    Send,
    /// Ask the engine and come back with [`Session::answered`].
    Ask(Vec<Command>),
    /// Make replies of the answers with [`Session::tell`].
    Tell,
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
    Lease(Taken),
    List(Shown),
}

/// A request that has no reply yet, or whose reply has to wait for those before it.
enum Turn {
    /// Its bytes.
    Said(Vec<u8>),
    Asked {
        commands: usize,
        then: Then,
    },
}

/// A request that was begun, and what it asks.
struct Begun {
    commands: Vec<Command>,
    then: Then,
    again: bool,
}

impl Begun {
    /// A lease that goes with what is asked before it, and waits only if there was nothing.
    fn lease(wait: Wait, taken: Taken) -> Begun {
        let Wait { queue, max, span, .. } = wait.clone();
        let commands = vec![Command::Lease { queue, key: None, max, span }];
        let then: Then = Box::new(move |heard| match heard.one() {
            Answer::Leased(leased) if leased.is_empty() && !wait.wait.is_zero() => {
                Next::Wait(wait, taken)
            }
            answer => taken(answer, &mut *heard.fetch),
        });
        Begun { commands, then, again: true }
    }
}

/// One client's conversation.
pub struct Session {
    requests: Requests,
    client: Client,
    line: VecDeque<Turn>,
    /// A request that was begun, and costs too much to be asked with those before it.
    next: Option<Begun>,
    /// What the last request in the line has to ask before others are begun.
    more: Vec<Command>,
    /// What is left of a question that is asked in slices.
    rest: Vec<Command>,
    /// Answers to the slices before.
    answers: Vec<Answer>,
    is_large: bool,
    /// Answers that are not told yet.
    told: Option<vec::IntoIter<Answer>>,
    /// A lease that found nothing and has to wait.
    lease: Option<(Wait, Taken)>,
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
            next: None,
            more: Vec::new(),
            rest: Vec::new(),
            answers: Vec::new(),
            is_large: false,
            told: None,
            lease: None,
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

    /// Has a request been asked about that has no reply yet? Whoever ends the conversation now leaves
    /// the client without knowing what it did.
    pub fn is_under_way(&self) -> bool {
        !self.line.is_empty()
    }

    /// What is to be done next.
    pub fn todo(&mut self) -> Todo {
        assert!(self.waiting.is_none(), "what is waited for comes back first");
        if self.told.is_some() {
            return if self.said.len() < SAID { Todo::Tell } else { Todo::Send };
        }
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return self.ask(rest);
        }
        if !self.more.is_empty() {
            let more = std::mem::take(&mut self.more);
            return self.ask(more);
        }
        assert!(self.line.is_empty(), "what was asked comes back first");
        if let Some((wait, taken)) = self.lease.take() {
            return self.lease(wait, taken);
        }
        let (mut commands, mut cost) = (Vec::new(), 0);
        while !self.is_over && cost < cost::MOST && self.said.len() < SAID {
            let next = match self.next.take() {
                Some(begun) => begun,
                None => match self.begin(&mut cost) {
                    Some(Next::Ask { commands, then, again }) => Begun { commands, then, again },
                    Some(Next::Wait(wait, taken)) if self.line.is_empty() => {
                        return self.lease(wait, taken);
                    }
                    Some(Next::Wait(wait, taken)) => Begun::lease(wait, taken),
                    Some(Next::List(listing, shown)) => {
                        self.waiting = Some(Waiting::List(shown));
                        return Todo::List(listing);
                    }
                    Some(_) => continue,
                    None => break,
                },
            };
            let its = cost::of(&next.commands);
            if !self.line.is_empty() && cost + its > cost::MOST {
                self.next = Some(next);
                break;
            }
            cost += its;
            self.line.push_back(Turn::Asked { commands: next.commands.len(), then: next.then });
            commands.extend(next.commands);
            if next.again {
                break;
            }
        }
        match (commands.is_empty(), self.is_over) {
            (false, _) => self.ask(commands),
            (true, true) => Todo::Close,
            (true, false) if self.said.len() >= SAID => Todo::Send,
            (true, false) => Todo::Read,
        }
    }

    /// Begins the next request; none if there is none that may be begun now. What is said at once is
    /// said or stands in the line, at its cost.
    fn begin(&mut self, cost: &mut usize) -> Option<Next> {
        let words = match self.requests.next() {
            Ok(words) => words?,
            Err(Broken(why)) => {
                self.is_over = true;
                *cost += self.say(&Reply::Error(format!("ERR {why}")));
                return None;
            }
        };
        let Some(next) = commands::begin(&words, &mut self.client, self.line.is_empty()) else {
            self.requests.put_back();
            return None;
        };
        match &next {
            Next::Say(reply) => *cost += self.say(reply),
            Next::Leave(reply) => {
                self.is_over = true;
                *cost += reply.as_ref().map_or(0, |reply| self.say(reply));
            }
            Next::Ask { .. } | Next::Wait(..) | Next::List(..) => {}
        }
        Some(next)
    }

    /// Leases, and waits if there is nothing.
    fn lease(&mut self, wait: Wait, taken: Taken) -> Todo {
        self.waiting = Some(Waiting::Lease(taken));
        Todo::Lease(wait)
    }

    /// Asks a slice of this: what one client asks at once lets others come between.
    fn ask(&mut self, mut commands: Vec<Command>) -> Todo {
        self.is_large = !self.answers.is_empty() || cost::of(&commands) > cost::MOST;
        self.rest = commands.split_off(commands.len().min(cost::MOST));
        Todo::Ask(commands)
    }

    /// Is what was asked last more than what may be asked together? A server takes few of these at a
    /// time: one request may be answered with as much as thousands of others.
    pub fn is_large(&self) -> bool {
        self.is_large
    }

    /// What came of the commands of the last [`Todo::Ask`], in their order. Payloads may still be
    /// in the journal.
    pub fn answered(&mut self, answers: Vec<Answer>) {
        // No command that is asked in slices shows payloads: they need not be kept for it.
        self.answers.extend(answers);
        if self.rest.is_empty() {
            self.told = Some(std::mem::take(&mut self.answers).into_iter());
        }
    }

    /// Makes replies of answers, as many as may be said before the client takes some. The payloads
    /// that it is shown are fetched.
    pub fn tell(&mut self, fetch: &mut dyn FnMut(&mut PayloadAt)) {
        let Some(mut answers) = self.told.take() else { return };
        // Who asks again is the last in the line, and waits for what comes of it.
        while self.more.is_empty() {
            if self.said.len() >= SAID && !self.line.is_empty() {
                self.told = Some(answers);
                return;
            }
            match self.line.pop_front() {
                Some(Turn::Said(bytes)) => self.said.extend_from_slice(&bytes),
                Some(Turn::Asked { commands, then }) => {
                    let answers = answers.by_ref().take(commands);
                    let mut heard = Heard { answers, fetch: &mut *fetch, shown: 0 };
                    let mut next = then(&mut heard);
                    if heard.shown > SHOWN {
                        next = Next::Say(Reply::Error(TOO_LONG.to_owned()));
                    }
                    // A refusal may have been enough to know the reply.
                    heard.for_each(drop);
                    self.go_on(next);
                }
                None => break,
            }
        }
        assert!(answers.next().is_none(), "there are as many answers as commands");
    }

    /// What came of the last [`Todo::Lease`], payloads fetched.
    pub fn leased(&mut self, leased: Result<Vec<Leased>, Refusal>) {
        let Some(Waiting::Lease(taken)) = self.waiting.take() else {
            unreachable!("a lease was waited for")
        };
        let answer = leased.map_or_else(Answer::Refused, Answer::Leased);
        let next = taken(answer, &mut |_| {});
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
            Next::Wait(wait, taken) => {
                assert!(self.line.is_empty(), "who asks again is the last in the line");
                self.lease = Some((wait, taken));
            }
            Next::List(..) | Next::Leave(_) => unreachable!("only a beginning lists or leaves"),
        }
    }

    /// Tells a client that listens what has happened.
    pub fn hear(&mut self, announcement: &Announcement) {
        let names = &self.client.settings.names;
        for push in self.client.ears.hear(announcement, names) {
            push.write(self.client.version, &mut self.said);
        }
    }

    /// Says it in its turn; what it costs.
    fn say(&mut self, reply: &Reply) -> usize {
        if self.line.is_empty() {
            reply.write(self.client.version, &mut self.said);
            return 0;
        }
        let mut bytes = Vec::new();
        reply.write(self.client.version, &mut bytes);
        let cost = cost::of_said(&bytes);
        self.line.push_back(Turn::Said(bytes));
        cost
    }
}

const TOO_LONG: &str = "ERR the values are longer than 16 MiB together: ask for fewer at once";

/// What the engine answered to one request.
pub(crate) struct Heard<'a> {
    answers: std::iter::Take<&'a mut vec::IntoIter<Answer>>,
    fetch: &'a mut dyn FnMut(&mut PayloadAt),
    /// Bytes of payloads.
    shown: usize,
}

impl Heard<'_> {
    /// The next answer.
    pub(crate) fn one(&mut self) -> Answer {
        self.answers.next().expect("there are as many answers as commands")
    }

    /// The next answer, with the payloads that the client is shown.
    pub(crate) fn shown(&mut self) -> Answer {
        let mut answer = self.one();
        for payload in answer.payloads_mut() {
            self.shown += match payload {
                PayloadAt::Stored(stored) => stored.bytes as usize,
                PayloadAt::Here(payload) => payload.bytes.len(),
                PayloadAt::None | PayloadAt::Gone => 0,
            };
            if self.shown > SHOWN {
                *payload = PayloadAt::Gone;
            }
            (self.fetch)(payload);
        }
        answer
    }
}

impl Iterator for Heard<'_> {
    type Item = Answer;

    fn next(&mut self) -> Option<Answer> {
        self.answers.next()
    }
}
