//! A client's stream, and the bytes between it and the session.
//!
//! Whatever can be moved is moved, in both directions, in one go: all that has arrived becomes one
//! question to the engine, all that was said leaves in one write.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use duly_wire::Session;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::RedisFigures;

/// Bytes that may wait to be understood before no more are read, unless they are one request.
pub(super) const AHEAD: usize = 256 << 10;
/// Bytes read at once; they lie on the stack of whoever reads, so that idle clients cost none.
const PIECE: usize = 64 << 10;
/// Room for what is said that a client keeps while it says nothing.
const KEPT: usize = 4 << 10;

/// A client's stream.
pub(super) struct Socket<S> {
    pub(super) stream: S,
    /// The client will send no more.
    pub(super) has_ended: bool,
    /// So many of the bytes that were said have been taken.
    taken: usize,
    figures: RedisFigures,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Over this stream.
    pub(super) fn new(stream: S, figures: RedisFigures) -> Socket<S> {
        Socket { stream, has_ended: false, taken: 0, figures }
    }

    /// How much was said and not taken yet.
    pub(super) fn untaken(&self, session: &mut Session) -> usize {
        session.said().len() - self.taken
    }

    /// Waits until some bytes could be moved, and moves all that can be; how many were written? Bytes
    /// are read up to what may wait; at least some if they are wanted.
    pub(super) async fn exchange(
        &mut self,
        session: &mut Session,
        wants_to_read: bool,
    ) -> io::Result<usize> {
        std::future::poll_fn(|context| {
            let written = self.write(session.said(), context)?;
            let has_read = self.read(session, wants_to_read, context)?;
            if written > 0 || has_read { Poll::Ready(Ok(written)) } else { Poll::Pending }
        })
        .await
    }

    fn write(&mut self, said: &mut Vec<u8>, context: &mut Context<'_>) -> io::Result<usize> {
        let before = self.taken;
        while self.taken < said.len() {
            match Pin::new(&mut self.stream).poll_write(context, &said[self.taken..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(bytes)) => self.taken += bytes,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        let written = self.taken - before;
        if self.taken == said.len() {
            said.clear();
            said.shrink_to(KEPT);
            self.taken = 0;
        } else if self.taken > said.len() / 2 {
            said.drain(..self.taken);
            self.taken = 0;
        }
        if written == 0 {
            return Ok(0);
        }
        self.figures.sent(written);
        // TLS keeps what was written until it is told to let go of it.
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(written),
        }
    }

    #[expect(clippy::large_stack_arrays, reason = "the stack is there anyway and is not touched")]
    fn read(
        &mut self,
        session: &mut Session,
        wants_to_read: bool,
        context: &mut Context<'_>,
    ) -> io::Result<bool> {
        let (mut read, had_ended) = (0, self.has_ended);
        while !self.has_ended && (session.unread() < AHEAD || (wants_to_read && read == 0)) {
            let mut room = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut room);
            match Pin::new(&mut self.stream).poll_read(context, &mut piece) {
                Poll::Ready(Ok(())) => {
                    let bytes = piece.filled();
                    read += bytes.len();
                    self.has_ended = bytes.is_empty();
                    session.receive(bytes);
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        self.figures.received(read);
        Ok(read > 0 || self.has_ended != had_ended)
    }
}
