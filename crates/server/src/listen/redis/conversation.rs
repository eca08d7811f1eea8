//! One client: its bytes, and what its session wants done.
//!
//! Bytes are moved whenever they can be, also while the engine is asked: what a client sends
//! meanwhile makes the next question, so that a pipeline is one commit however it was cut, and a
//! client that hangs up while it waits is noticed. What is read ahead and what is said and not taken
//! are bounded; a client that does not read is not read from, and one that never does is cut off.
//!
//! The stream is any: a port's, a Unix socket's, one in TLS.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use duly_engine::announce::Announcement;
use duly_engine::deadline::PayloadAt;
use duly_engine::id::Seq;
use duly_engine::time::Span;
use duly_wire::{Listing, Page, Session, Todo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Sleep, sleep, timeout};

use super::Room;
use super::patience::Patience;
use super::socket::{AHEAD, Socket};
use crate::handle::{Payloads, Stopped};
use crate::listen::stopped;
use crate::metrics::Cut;

/// Bytes that may wait to be taken before nothing is added that nobody has asked for.
const UNTAKEN: usize = 64 << 10;
/// How long a client may take to take its last answer, and to see that it was the last.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Bytes taken that count as progress, if something is left.
const PROGRESS: usize = 256 << 10;
/// How long a client may take to take what it was answered to one question: the journal keeps it
/// until then.
const TELLING: Duration = Duration::from_mins(5);
/// How long the rest of a long request may take, so that others get their turn, and how long these
/// wait for it.
const LONG: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));
/// How often a request may still ask after its client has said that it says no more: that may be the
/// end of a script, which waits for replies, or of the client.
const LAST_QUESTIONS: u32 = 64;

/// Why a conversation is over.
#[derive(Debug)]
enum Over {
    /// The client has gone.
    Left,
    /// The client was told what it was told, and that is all.
    Said,
    /// The socket has failed.
    Broken(io::Error),
    /// The client takes too long.
    Cut(Cut),
    /// The server stops.
    Stopping,
}

impl From<Stopped> for Over {
    fn from(_: Stopped) -> Over {
        Over::Stopping
    }
}

/// What a client that listens has heard.
struct Hearing {
    heard: Seq,
    news: watch::Receiver<Seq>,
    /// What it has not been told yet of what was read.
    page: VecDeque<Announcement>,
}

/// One client.
pub(super) struct Conversation<S> {
    socket: Socket<S>,
    session: Session,
    number: u64,
    room: Room,
    hearing: Option<Hearing>,
    patience: Patience,
    /// Held while a request is read that is longer than what is read ahead, and how long it may be.
    long: Option<(OwnedSemaphorePermit, Pin<Box<Sleep>>)>,
    /// Held while a large question is asked.
    large: Option<OwnedSemaphorePermit>,
    /// What keeps the payloads of answers that are not told yet, and how long it does.
    telling: Option<(Payloads, Option<Pin<Box<Sleep>>>)>,
    /// Bytes taken since the last progress.
    taken: usize,
    /// Questions asked for a request that was begun before the client had ended.
    last_questions: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// One that begins.
    pub(super) fn new(stream: S, session: Session, number: u64, room: Room) -> Conversation<S> {
        let socket = Socket::new(stream, room.figures.clone());
        let patience = Patience::new(room.idle);
        Conversation {
            socket,
            session,
            number,
            room,
            hearing: None,
            patience,
            long: None,
            large: None,
            telling: None,
            taken: 0,
            last_questions: 0,
        }
    }

    /// Talks until it is over.
    pub(super) async fn hold(mut self) {
        let over = loop {
            if let Err(over) = self.go_on().await {
                break over;
            }
        };
        match self.judged(over) {
            Over::Left => {}
            Over::Broken(error) => tracing::debug!(%error, "a client's connection broke"),
            Over::Cut(cut) => {
                self.room.figures.cut(cut);
                tracing::warn!(
                    client = self.number,
                    why = cut.reason(),
                    "a client of the Redis protocol is cut off"
                );
            }
            // Who does not take it now sees that it is cut off.
            Over::Stopping => drop(timeout(LAST_WORDS, self.send()).await),
            Over::Said => drop(timeout(LAST_WORDS, self.part()).await),
        }
    }

    /// The kernel's patience with who takes nothing may end before ours: that is the same.
    fn judged(&mut self, over: Over) -> Over {
        match over {
            Over::Broken(error)
                if error.kind() == io::ErrorKind::TimedOut
                    && self.socket.untaken(&mut self.session) > 0 =>
            {
                Over::Cut(Cut::Slow)
            }
            over => over,
        }
    }

    /// Does the next thing that is to be done.
    async fn go_on(&mut self) -> Result<(), Over> {
        if *self.room.stopping.borrow() && !self.session.is_under_way() {
            return Err(Over::Stopping);
        }
        if self.session.is_under_way() && self.socket.has_ended {
            self.last_questions += 1;
            if self.last_questions > LAST_QUESTIONS {
                return Err(Over::Left);
            }
        }
        let todo = self.session.todo();
        self.listen();
        let mut has_begun = false;
        for command in self.session.begun() {
            self.room.figures.command(command);
            has_begun = true;
        }
        if has_begun {
            self.patience.renew();
            self.long = None;
        }
        match todo {
            Todo::Read => self.read().await,
            Todo::Send => self.send().await,
            Todo::Ask(commands) => {
                self.telling = None;
                if !self.session.is_large() {
                    self.large = None;
                } else if self.large.is_none() {
                    let places = Arc::clone(&self.room.large);
                    let place = self.meanwhile(async move { places.acquire_owned().await }).await?;
                    self.large = Some(place.expect("nobody closes it"));
                }
                let handle = self.room.handle.clone();
                let reply = self.meanwhile(handle.ask_unfetched(commands)).await??;
                self.session.answered(reply.answers);
                self.telling = Some((reply.pins.payloads(), None));
                Ok(())
            }
            Todo::Tell => {
                let (payloads, until) = self.telling.as_mut().expect("what is told was answered");
                self.session.tell(&mut |payload: &mut PayloadAt| payloads.fetch(payload));
                // A walk goes back to the end of those who wait for a place with each of its questions.
                self.large = None;
                if self.session.is_under_way() {
                    until.get_or_insert_with(|| Box::pin(sleep(TELLING)));
                } else {
                    self.telling = None;
                }
                Ok(())
            }
            Todo::Lease(wait) => {
                let handle = self.room.handle.clone();
                let mut stopping = self.room.stopping.clone();
                // Who will say no more may still take what is there, but does not wait.
                let until = if self.socket.has_ended { Span::ZERO } else { wait.wait };
                let leasing = async {
                    tokio::select! {
                        biased;
                        leased = handle.lease(wait.queue, wait.max, wait.span, until) => leased,
                        () = stopped(&mut stopping) => Ok(Ok(Vec::new())),
                    }
                };
                let leased = self.unless_it_leaves(leasing).await??;
                self.session.leased(leased);
                Ok(())
            }
            Todo::List(listing) => self.list(listing).await,
            Todo::Close => {
                self.send().await?;
                Err(Over::Said)
            }
        }
    }

    /// Tells a page of records. What is read for it may be many MiB, so it takes a place.
    async fn list(&mut self, listing: Listing) -> Result<(), Over> {
        let Listing { queue, filter, after, limit } = listing;
        let (places, handle) = (Arc::clone(&self.room.long), self.room.handle.clone());
        let listing = async move {
            let place = places.acquire_owned().await;
            (place, handle.list(queue, filter, after, limit).await)
        };
        let (place, page) = self.unless_it_leaves(listing).await?;
        let page = page?.map(|page| Page { deadlines: page.deadlines, next: page.next });
        self.session.listed(page);
        drop(place);
        Ok(())
    }

    /// Begins to hear what happens, or stops.
    fn listen(&mut self) {
        if self.session.listens() != self.hearing.is_some() {
            let events = self.room.handle.events();
            let page = VecDeque::new();
            let begun = || Hearing { news: events.news(), heard: events.last(), page };
            self.hearing = self.session.listens().then(begun);
        }
    }

    /// Reads something.
    async fn read(&mut self) -> Result<(), Over> {
        let before = self.session.unread();
        if before >= AHEAD && self.long.is_none() {
            let places = Arc::clone(&self.room.long);
            let place = async move { timeout(LONG.1, places.acquire_owned()).await };
            let place = self.meanwhile(place).await?.map_err(|_| Over::Cut(Cut::Unfinished))?;
            self.long = Some((place.expect("nobody closes it"), Box::pin(sleep(LONG.0))));
        }
        let mut long = self.long.take();
        while self.session.unread() == before {
            if self.socket.has_ended {
                self.send().await?;
                return Err(Over::Left);
            }
            let over = over(long.as_mut().map(|(_, until)| until));
            tokio::select! {
                biased;
                moved = self.step(true) => moved?,
                () = over => return Err(Over::Cut(Cut::Unfinished)),
            }
        }
        self.long = long;
        Ok(())
    }

    /// Sends what was said.
    async fn send(&mut self) -> Result<(), Over> {
        while !self.session.said().is_empty() {
            self.step(false).await?;
        }
        Ok(())
    }

    /// Ends the conversation so that its last word arrives: closing over bytes that nobody has read
    /// would take it back.
    async fn part(&mut self) -> Result<(), Over> {
        self.socket.stream.shutdown().await.map_err(Over::Broken)?;
        while !self.socket.has_ended {
            self.step(true).await?;
        }
        Ok(())
    }

    /// Moves bytes while something is waited for.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Over> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                moved = self.step(false) => moved?,
            }
        }
    }

    /// The same, but what is waited for is nobody's when the client has gone.
    async fn unless_it_leaves<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Over> {
        let had_ended = self.socket.has_ended;
        let mut work = pin!(work);
        while self.socket.has_ended == had_ended {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                moved = self.step(false) => moved?,
            }
        }
        Err(Over::Left)
    }

    /// Waits until something has happened: bytes were moved, or there was something to hear. Whoever
    /// wants to read may read more than is read ahead.
    async fn step(&mut self, wants_to_read: bool) -> Result<(), Over> {
        let untaken = self.socket.untaken(&mut self.session);
        let wait = if untaken > 0 {
            Some(Cut::Slow)
        } else if !wants_to_read {
            None
        } else if self.session.unread() > 0 {
            Some(Cut::Unfinished)
        } else {
            Some(Cut::Idle).filter(|_| self.hearing.is_none())
        };
        let Conversation { socket, session, room, hearing, patience, telling, .. } = self;
        tokio::select! {
            biased;
            moved = socket.exchange(session, wants_to_read) => {
                // Whoever takes a byte now and then does not hold the rest for ever.
                self.taken += moved.map_err(Over::Broken)?;
                let has_all = self.taken > 0 && self.socket.untaken(&mut self.session) == 0;
                if has_all || self.taken >= PROGRESS {
                    self.patience.renew();
                    self.taken = 0;
                }
                return Ok(());
            }
            () = news(hearing.as_mut()), if untaken < UNTAKEN => {}
            () = stopped(&mut room.stopping), if wants_to_read => return Err(Over::Stopping),
            () = over(telling.as_mut().and_then(|(_, until)| until.as_mut())) => {
                return Err(Over::Cut(Cut::Slow));
            }
            () = patience.run_out(wait) => return Err(wait.map_or(Over::Left, Over::Cut)),
        }
        self.hear()
    }

    /// Tells what has happened, as much as may wait to be taken. Who has fallen behind what is kept is
    /// cut off: it was told nothing that is not so, and will come back.
    fn hear(&mut self) -> Result<(), Over> {
        let Some(hearing) = &mut self.hearing else { return Ok(()) };
        hearing.news.borrow_and_update();
        if hearing.page.is_empty() {
            let events = self.room.handle.events();
            let page = events.read(hearing.heard).map_err(|_| Over::Cut(Cut::Slow))?;
            hearing.heard = page.up_to;
            hearing.page = page.announcements.into();
            if page.more {
                hearing.news.mark_changed();
            }
        }
        while self.socket.untaken(&mut self.session) < UNTAKEN
            && let Some(announcement) = hearing.page.pop_front()
        {
            self.session.hear(&announcement);
        }
        if !hearing.page.is_empty() {
            hearing.news.mark_changed();
        }
        Ok(())
    }
}

/// Returns when the time is over, if it is bounded.
async fn over(until: Option<&mut Pin<Box<Sleep>>>) {
    match until {
        Some(until) => until.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Returns when there is something to hear.
async fn news(hearing: Option<&mut Hearing>) {
    let Some(hearing) = hearing else { return std::future::pending().await };
    if hearing.news.changed().await.is_err() {
        // The driver has stopped, and the server is about to.
        std::future::pending::<()>().await;
    }
}
