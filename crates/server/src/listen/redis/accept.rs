//! Lets clients in, so many at once, until told to stop.
//!
//! One that finds no place is told so in the words that clients of Redis know, and not left waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use duly_wire::Session;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Room;
use super::conversation::Conversation;
use crate::listen::stopped;

/// Clients at once.
const CLIENTS: u32 = 10_000;
/// What one more is told.
const FULL: &[u8] = b"-ERR max number of clients reached\r\n";
/// How long what is under way may take when the server stops.
const LAST_REQUESTS: Duration = Duration::from_secs(10);
/// How long to let go of a failing accept (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Lets clients in.
pub(super) async fn accept(listener: TcpListener, mut room: Room) {
    let places = Arc::new(Semaphore::new(CLIENTS as usize));
    let number = AtomicU64::new(1);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut room.stopping) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    let conversation = converse(stream, room.clone(), number);
                    tokio::spawn(async move {
                        conversation.await;
                        drop(place);
                    });
                }
                Err(_) => refuse(stream),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client of the Redis protocol");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Every conversation holds a place: all places free means that all are over.
    let all_over = tokio::time::timeout(LAST_REQUESTS, places.acquire_many(CLIENTS)).await;
    if all_over.is_err() {
        tracing::warn!("conversations still under way are cut off");
    }
}

async fn converse(stream: TcpStream, room: Room, number: u64) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the client is gone already");
        return;
    }
    let session = Session::new(Arc::clone(&room.settings), number);
    Conversation::new(stream, session, room.handle, room.stopping).hold().await;
}

/// Tells a client that there is no place, if its socket takes that at once.
fn refuse(mut stream: TcpStream) {
    tokio::spawn(async move {
        // A client that does not listen will see that it is cut off.
        drop(tokio::time::timeout(ACCEPT_PAUSE, stream.write_all(FULL)).await);
    });
}
