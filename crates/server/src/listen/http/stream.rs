//! Server-sent events: an answer that goes on, written by a task of its own.
//!
//! The task hands over one piece at a time and waits until the connection has taken it, so that a
//! slow reader slows nobody but his own task. A reader that has gone ends it. Whoever does not take
//! anything for a while is cut off by the connection itself (`serve`).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, interval};

use crate::listen::stopped;

/// The media type of a stream of events.
pub(super) const MEDIA_TYPE: &str = "text/event-stream";
/// After so long a silence something is said, so that nobody on the way thinks that all are gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The writing end.
pub(super) struct Stream {
    to: mpsc::Sender<Bytes>,
    stopping: watch::Receiver<bool>,
    heartbeat: Interval,
}

/// Nobody listens any more, or the server stops.
pub(super) struct Over;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// What was waited for has come.
    Called,
    /// It has been silent for long: say something.
    Heartbeat,
}

impl Stream {
    /// An answer that `talk` goes on writing until it returns.
    pub(super) fn open<F>(
        stopping: watch::Receiver<bool>,
        talk: impl FnOnce(Stream) -> F,
    ) -> Response
    where
        F: Future<Output = Result<(), Over>> + Send + 'static,
    {
        let (to, pieces) = mpsc::channel(1);
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.reset();
        let talk = talk(Stream { to, stopping, heartbeat });
        tokio::spawn(async move { drop(talk.await) });
        let mut response = Body::new(Pieces(pieces)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // A proxy that gathers an answer before it hands it on would hand on nothing.
        let unbuffered = HeaderName::from_static("x-accel-buffering");
        headers.insert(unbuffered, HeaderValue::from_static("no"));
        response
    }

    /// Says this, as soon as the reader has taken what was said before.
    pub(super) async fn say(&mut self, text: String) -> Result<(), Over> {
        self.heartbeat.reset();
        tokio::select! {
            biased;
            () = stopped(&mut self.stopping) => Err(Over),
            sent = self.to.send(text.into()) => sent.map_err(|_| Over),
        }
    }

    /// Waits for `call`.
    pub(super) async fn wait(&mut self, call: impl Future<Output = ()>) -> Result<Woken, Over> {
        tokio::select! {
            biased;
            () = stopped(&mut self.stopping) => Err(Over),
            () = self.to.closed() => Err(Over),
            () = call => Ok(Woken::Called),
            _ = self.heartbeat.tick() => Ok(Woken::Heartbeat),
        }
    }
}

/// The reading end, as a body.
struct Pieces(mpsc::Receiver<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
