//! A session at work: the socket under the talk.
//!
//! It reads and writes at the same time, because a broker that takes nothing still has to be heard. It
//! ends with its connection, or when nobody can give it messages any more; then it says goodbye. All who
//! wait have their answer before.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::handshake::{self, Opened};
use super::method::{self, Heard};
use super::talk::Talk;
use super::wire::take_frame;
use super::{Account, Letter};
use crate::clock::stopwatch;
use crate::deliver::publish::connect::{Stream, in_time, words};

/// While so many bytes wait to be written nothing more is taken.
const ROOM: usize = 1 << 20;
/// What is read at once, in bytes.
const READ: usize = 16 * 1024;
/// How long a goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves whoever gives letters, until there is nobody or the connection ends.
pub(super) async fn run(account: Arc<Account>, mut letters: mpsc::Receiver<Vec<Letter>>) {
    let name = account.name.as_str();
    let (mut connection, mut talk) = match in_time(handshake::open(&account)).await {
        Ok(opened) => Connection::new(opened, &account),
        Err(why) => return refuse(&mut letters, &why).await,
    };
    tracing::debug!(publish = name, "a session with the broker has begun");
    let ended = connection.serve(&mut talk, &mut letters).await;
    if let Err(why) = &ended {
        tracing::debug!(publish = name, why, "a session with the broker has ended");
        talk.end(why);
        refuse(&mut letters, why).await;
    }
    // A connection that is broken fails at once, and one that hangs is left.
    if timeout(FAREWELL, connection.part(talk.goodbye())).await.is_err() {
        tracing::debug!(publish = name, "the broker heard no goodbye");
    }
}

/// Takes no more letters, and answers those that have come.
async fn refuse(letters: &mut mpsc::Receiver<Vec<Letter>>, why: &str) {
    letters.close();
    while let Some(refused) = letters.recv().await {
        for letter in refused {
            letter.said.send(Err(why.to_owned())).unwrap_or_default();
        }
    }
}

/// An open connection in its two directions.
struct Connection {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    incoming: BytesMut,
    frame_max: usize,
}

impl Connection {
    fn new(opened: Opened, account: &Account) -> (Connection, Talk) {
        let Opened { stream, incoming, frame_max, heartbeat } = opened;
        let (reader, writer) = split(stream);
        let talk = Talk::new(account.place.clone(), frame_max, heartbeat, stopwatch());
        (Connection { reader, writer, incoming, frame_max }, talk)
    }

    /// Reads, writes and waits, until nobody can give letters any more. An error has ended it.
    async fn serve(
        &mut self,
        talk: &mut Talk,
        letters: &mut mpsc::Receiver<Vec<Letter>>,
    ) -> Result<(), String> {
        let mut flushed = true;
        loop {
            let now = stopwatch();
            while let Some(frame) = take_frame(&mut self.incoming, self.frame_max)? {
                talk.hear(&frame, now)?;
            }
            talk.pass(now)?;
            self.incoming.reserve(READ);
            let has_room = talk.outgoing.len() < ROOM;
            let has_something = !talk.outgoing.is_empty() || !flushed;
            let wake_at = talk.wake_at();
            tokio::select! {
                read = self.reader.read_buf(&mut self.incoming) => match read {
                    Ok(0) => return Err("it ended the connection".to_owned()),
                    Ok(_) => talk.has_heard(stopwatch()),
                    Err(error) => return Err(words(&error)),
                },
                written = write(&mut self.writer, &mut talk.outgoing, &mut flushed), if has_something => {
                    written.map_err(|error| words(&error))?;
                    talk.has_said(stopwatch());
                }
                given = letters.recv(), if has_room => match given {
                    Some(given) => talk.publish(given, stopwatch()),
                    None => return Ok(()),
                },
                () = sleep_until(wake_at.into()) => {}
            }
        }
    }

    /// Writes what is left, and hears whether the goodbye at its end is understood.
    async fn part(mut self, outgoing: BytesMut) {
        if self.writer.write_all(&outgoing).await.is_err() || self.writer.flush().await.is_err() {
            return;
        }
        loop {
            match take_frame(&mut self.incoming, self.frame_max) {
                Ok(Some(frame)) => match method::hear(&frame) {
                    Ok(Heard::CloseOk) | Err(_) => return,
                    Ok(_) => {}
                },
                Ok(None) => match self.reader.read_buf(&mut self.incoming).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                },
                Err(_) => return,
            }
        }
    }
}

/// Writes some of it, or what the encryption still holds. What was written is gone from `outgoing` also
/// when this is given up halfway.
async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    outgoing: &mut BytesMut,
    flushed: &mut bool,
) -> std::io::Result<()> {
    if !outgoing.is_empty() {
        *flushed = false;
        let written = writer.write(outgoing).await?;
        outgoing.advance(written);
    }
    writer.flush().await?;
    *flushed = true;
    Ok(())
}
