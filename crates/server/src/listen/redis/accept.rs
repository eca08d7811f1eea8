//! Lets clients in, so many at once, until told to stop.
//!
//! One that finds no place is told so in the words that clients of Redis know, and not left waiting.
//! A conversation that panics ends alone. A client that vanished without a word is found by asking
//! its machine now and then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use duly_wire::Session;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::conversation::Conversation;
use super::{Listeners, Room};
use crate::listen::stopped;

/// What a client is told for whom there is no place.
const FULL: &[u8] = b"-ERR max number of clients reached\r\n";
/// How long it may take to take that.
const REFUSAL: Duration = Duration::from_secs(1);
/// How long what is under way may take when the server stops.
const LAST_REQUESTS: Duration = Duration::from_secs(10);
/// How long to let go of a failing accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a peer may leave unconfirmed what it was sent, in milliseconds.
const UNTAKEN_MS: u32 = 30_000;
/// After so long a silence its machine is asked whether it is still there.
const SILENCE: Duration = Duration::from_mins(5);

/// Lets clients in wherever they come, and waits until all are gone.
pub(super) async fn accept_all(mut listeners: Listeners, room: Room, clients: u32) {
    let tcp = listeners.tcp.take();
    let unix = listeners.unix.take();
    let ports = async {
        if let Some(listener) = tcp {
            let next = |context: &mut Context<'_>| {
                listener.poll_accept(context).map_ok(|(stream, _)| prepared(stream))
            };
            accept(next, room.clone()).await;
        }
    };
    let files = async {
        if let Some(listener) = unix {
            let next = |context: &mut Context<'_>| {
                listener.poll_accept(context).map_ok(|(stream, _)| stream)
            };
            accept(next, room.clone()).await;
        }
    };
    tokio::join!(ports, files);
    drop(listeners);
    // Every conversation holds a place: all places free means that all are over.
    let all_over = tokio::time::timeout(LAST_REQUESTS, room.places.acquire_many(clients)).await;
    if all_over.is_err() {
        tracing::warn!("conversations still under way are cut off");
    }
}

async fn accept<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut next: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    mut room: Room,
) {
    let mut is_full = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut room.stopping) => return,
            accepted = std::future::poll_fn(&mut next) => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client of the Redis protocol");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Ok(place) = Arc::clone(&room.places).try_acquire_owned() {
            is_full = false;
            let room = room.clone();
            tokio::spawn(async move {
                converse(stream, room).await;
                drop(place);
            });
        } else {
            room.figures.refuse();
            if !is_full {
                tracing::warn!("a client was refused: there are redis.connections of them");
            }
            is_full = true;
            tokio::spawn(refuse(stream));
        }
    }
}

/// A port's stream, with what it should do by itself. One that cannot is gone already, and its
/// conversation will find out.
fn prepared(stream: TcpStream) -> TcpStream {
    let set = stream.set_nodelay(true).and_then(|()| {
        sockopt::set_tcp_user_timeout(&stream, UNTAKEN_MS)?;
        sockopt::set_tcp_keepidle(&stream, SILENCE)?;
        Ok(sockopt::set_socket_keepalive(&stream, true)?)
    });
    if let Err(error) = set {
        tracing::debug!(%error, "the client is gone already");
    }
    stream
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, room: Room) {
    let connected = room.figures.connect();
    let number = room.next.fetch_add(1, Ordering::Relaxed);
    let session = Session::new(Arc::clone(&room.settings), number);
    Conversation::new(stream, session, number, room).hold().await;
    drop(connected);
}

/// Tells a client that there is no place.
async fn refuse<S: AsyncWrite + Unpin>(mut stream: S) {
    // A client that does not listen sees that it is cut off.
    drop(tokio::time::timeout(REFUSAL, stream.write_all(FULL)).await);
}
