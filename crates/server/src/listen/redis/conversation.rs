//! One client: its bytes, and what its session wants done.
//!
//! Bytes are moved whenever they can be, also while the engine is asked: what a client sends
//! meanwhile makes the next question, so that a pipeline is one commit however it was cut, and a
//! client that hangs up while it waits is noticed. What is read ahead and what is said and not taken
//! are bounded; a client that does not read is not read from, and one that never does is cut off.
//!
//! The stream is any: a port's, a Unix socket's, one in TLS.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use duly_engine::deadline::PayloadAt;
use duly_engine::id::Seq;
use duly_engine::time::Span;
use duly_wire::{Listing, Page, Session, Todo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Room;
use super::patience::Patience;
use super::socket::{AHEAD, Socket};
use crate::handle::Stopped;
use crate::listen::stopped;
use crate::metrics::Cut;

/// Bytes that may wait to be taken before nothing is added that nobody has asked for.
const UNTAKEN: usize = 64 << 10;
/// How long a client may take to take its last answer, and to see that it was the last.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
}

/// One client.
pub(super) struct Conversation<S> {
    socket: Socket<S>,
    session: Session,
    number: u64,
    room: Room,
    hearing: Option<Hearing>,
    patience: Patience,
    /// Held while a request is read that is longer than what is read ahead.
    long: Option<OwnedSemaphorePermit>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// One that begins.
    pub(super) fn new(stream: S, session: Session, number: u64, room: Room) -> Conversation<S> {
        let socket = Socket::new(stream, room.figures.clone());
        let patience = Patience::new(room.idle);
        Conversation { socket, session, number, room, hearing: None, patience, long: None }
    }

    /// Talks until it is over.
    pub(super) async fn hold(mut self) {
        let over = loop {
            if let Err(over) = self.go_on().await {
                break over;
            }
        };
        match over {
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
            Over::Stopping => drop(tokio::time::timeout(LAST_WORDS, self.send()).await),
            Over::Said => drop(tokio::time::timeout(LAST_WORDS, self.part()).await),
        }
    }

    /// Does the next thing that is to be done.
    async fn go_on(&mut self) -> Result<(), Over> {
        if *self.room.stopping.borrow() {
            return Err(Over::Stopping);
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
                let handle = self.room.handle.clone();
                let reply = self.meanwhile(handle.ask_unfetched(commands)).await??;
                let mut fetch = |payload: &mut PayloadAt| reply.pins.fetch(payload);
                self.session.answered(reply.answers, handle.now(), &mut fetch);
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
                self.session.leased(leased, handle.now());
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
            let begun = || Hearing { news: events.news(), heard: events.last() };
            self.hearing = self.session.listens().then(begun);
        }
    }

    /// Reads something.
    async fn read(&mut self) -> Result<(), Over> {
        let before = self.session.unread();
        if before >= AHEAD && self.long.is_none() {
            let places = Arc::clone(&self.room.long);
            let place = self.meanwhile(async move { places.acquire_owned().await }).await?;
            self.long = Some(place.expect("nobody closes it"));
        }
        while self.session.unread() == before {
            if self.socket.has_ended {
                self.send().await?;
                return Err(Over::Left);
            }
            self.step(true).await?;
        }
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
        let Conversation { socket, session, room, hearing, patience, .. } = self;
        tokio::select! {
            biased;
            moved = socket.exchange(session, wants_to_read) => {
                let has_written = moved.map_err(Over::Broken)?;
                if has_written {
                    self.patience.renew();
                }
                return Ok(());
            }
            () = news(hearing.as_mut()), if untaken < UNTAKEN => {}
            () = stopped(&mut room.stopping), if wants_to_read => return Err(Over::Stopping),
            () = patience.run_out(wait) => return Err(wait.map_or(Over::Left, Over::Cut)),
        }
        self.hear()
    }

    /// Tells what has happened. Who has fallen behind what is kept is cut off: it was told nothing
    /// that is not so, and will come back.
    fn hear(&mut self) -> Result<(), Over> {
        let Some(hearing) = &mut self.hearing else { return Ok(()) };
        hearing.news.borrow_and_update();
        let events = self.room.handle.events();
        let page = events.read(hearing.heard).map_err(|_| Over::Cut(Cut::Slow))?;
        self.session.hear(&page.announcements);
        hearing.heard = page.up_to;
        if page.more {
            hearing.news.mark_changed();
        }
        Ok(())
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
