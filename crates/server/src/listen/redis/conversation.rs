//! One client: its bytes, and what its session wants done.
//!
//! Bytes are moved whenever they can be, also while the engine is asked: what a client sends
//! meanwhile makes the next question, so that a pipeline is one commit however it was cut, and a
//! client that hangs up while it waits is noticed. What is read ahead and what is said and not taken
//! are bounded; a client that does not read is not read from.

use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use duly_engine::id::Seq;
use duly_wire::{Session, Todo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;

use crate::handle::{Handle, Stopped};
use crate::listen::stopped;

/// Bytes read at once.
const PIECE: usize = 64 << 10;
/// Bytes that may wait to be understood before no more are read, unless they are one request.
const AHEAD: usize = 256 << 10;
/// Bytes that may wait to be taken before nothing is added that nobody has asked for.
const UNTAKEN: usize = 64 << 10;
/// How long a client may leave untaken what it was told.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same when the server stops.
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
    /// The client does not take what it is told.
    Slow,
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
    stream: S,
    session: Session,
    handle: Handle,
    stopping: watch::Receiver<bool>,
    hearing: Option<Hearing>,
    /// So many of the bytes that were said have been taken.
    taken: usize,
    /// The client will send no more.
    has_ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// One that begins.
    pub(super) fn new(
        stream: S,
        session: Session,
        handle: Handle,
        stopping: watch::Receiver<bool>,
    ) -> Conversation<S> {
        let (hearing, taken, has_ended) = (None, 0, false);
        Conversation { stream, session, handle, stopping, hearing, taken, has_ended }
    }

    /// Talks until it is over.
    pub(super) async fn hold(mut self) {
        let over = loop {
            if let Err(over) = self.go_on().await {
                break over;
            }
        };
        match over {
            Over::Left => return,
            Over::Said => {}
            Over::Broken(error) => {
                tracing::debug!(%error, "a client's connection broke");
                return;
            }
            Over::Slow => {
                tracing::warn!("a client that does not take what it is told is cut off");
                return;
            }
            Over::Stopping => {
                // Who does not take it now sees that it is cut off.
                drop(tokio::time::timeout(LAST_WORDS, self.send()).await);
            }
        }
        drop(self.stream.shutdown().await);
    }

    /// Does the next thing that is to be done.
    async fn go_on(&mut self) -> Result<(), Over> {
        if *self.stopping.borrow() {
            return Err(Over::Stopping);
        }
        let todo = self.session.todo();
        self.listen();
        match todo {
            Todo::Read => self.read().await,
            Todo::Send => self.send().await,
            Todo::Ask(commands) => {
                let handle = self.handle.clone();
                let answers = self.meanwhile(handle.ask_all(commands)).await??;
                self.session.answered(answers, handle.now());
                Ok(())
            }
            Todo::Lease(wait) => {
                let handle = self.handle.clone();
                let mut stopping = self.stopping.clone();
                let leasing = async {
                    tokio::select! {
                        biased;
                        leased = handle.lease(wait.queue, wait.max, wait.span, wait.wait) => leased,
                        () = stopped(&mut stopping) => Ok(Ok(Vec::new())),
                    }
                };
                let leased = self.meanwhile(leasing).await??;
                self.session.leased(leased, handle.now());
                Ok(())
            }
            Todo::Close => {
                self.send().await?;
                Err(Over::Said)
            }
        }
    }

    /// Begins to hear what happens, or stops.
    fn listen(&mut self) {
        if self.session.listens() != self.hearing.is_some() {
            let events = self.handle.events();
            self.hearing = self
                .session
                .listens()
                .then(|| Hearing { news: events.news(), heard: events.last() });
        }
    }

    /// Reads something.
    async fn read(&mut self) -> Result<(), Over> {
        let before = self.session.unread();
        while self.session.unread() == before {
            if self.has_ended {
                self.send().await?;
                return Err(Over::Left);
            }
            self.wait(true).await?;
        }
        Ok(())
    }

    /// Sends what was said.
    async fn send(&mut self) -> Result<(), Over> {
        while !self.session.said().is_empty() {
            self.wait(false).await?;
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
                moved = self.wait(false) => moved?,
            }
        }
    }

    /// Waits until something has happened: bytes were moved, or there was something to hear.
    /// Whoever wants to read may read more than is read ahead.
    async fn wait(&mut self, wants_to_read: bool) -> Result<(), Over> {
        let has_room = self.session.said().len() - self.taken < UNTAKEN;
        let Conversation { stream, session, hearing, stopping, taken, has_ended, .. } = self;
        let mut socket = Socket { stream, session, taken, has_ended };
        let may_be_slow = !socket.session.said().is_empty();
        let heard = tokio::select! {
            biased;
            moved = socket.exchange(wants_to_read) => return moved.map_err(Over::Broken),
            () = news(hearing.as_mut()), if has_room => true,
            () = stopped(stopping), if wants_to_read => return Err(Over::Stopping),
            () = tokio::time::sleep(PATIENCE), if may_be_slow => false,
        };
        if heard { self.hear() } else { Err(Over::Slow) }
    }

    /// Tells what has happened. Who has fallen behind what is kept is cut off: it was told nothing
    /// that is not so, and will come back.
    fn hear(&mut self) -> Result<(), Over> {
        let Some(hearing) = &mut self.hearing else { return Ok(()) };
        hearing.news.borrow_and_update();
        let page = self.handle.events().read(hearing.heard).map_err(|_| Over::Slow)?;
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
        std::future::pending().await
    }
}

/// The part of a conversation that moves bytes.
struct Socket<'a, S> {
    stream: &'a mut S,
    session: &'a mut Session,
    taken: &'a mut usize,
    has_ended: &'a mut bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<'_, S> {
    /// Waits until some bytes could be moved, and moves all that can be.
    async fn exchange(&mut self, wants_to_read: bool) -> io::Result<()> {
        std::future::poll_fn(|context| {
            let has_written = self.write(context)?;
            let has_read = self.read(context, wants_to_read)?;
            if has_written || has_read { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    fn write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let before = *self.taken;
        let said = self.session.said();
        while *self.taken < said.len() {
            match Pin::new(&mut *self.stream).poll_write(context, &said[*self.taken..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => *self.taken += bytes,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        let has_written = *self.taken > before;
        if *self.taken == said.len() {
            said.clear();
            said.shrink_to(PIECE);
            *self.taken = 0;
        } else if *self.taken > said.len() / 2 {
            said.drain(..*self.taken);
            *self.taken = 0;
        }
        if !has_written {
            return Ok(false);
        }
        // TLS keeps what was written until it is told to let go of it.
        match Pin::new(&mut *self.stream).poll_flush(context) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(true),
        }
    }

    fn read(&mut self, context: &mut Context<'_>, wants_to_read: bool) -> io::Result<bool> {
        let mut has_read = false;
        while !*self.has_ended && (self.session.unread() < AHEAD || (wants_to_read && !has_read)) {
            let mut room = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut room);
            match Pin::new(&mut *self.stream).poll_read(context, &mut piece) {
                Poll::Ready(Ok(())) => {
                    has_read = true;
                    *self.has_ended = piece.filled().is_empty();
                    self.session.receive(piece.filled());
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        Ok(has_read)
    }
}
