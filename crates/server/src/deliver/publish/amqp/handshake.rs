//! The beginning of a session: login, limits, virtual host, a channel that confirms.
//!
//! Each step is one question and one answer. A broker that refuses says why, and its words are handed on.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Account;
use super::method::{self, HELLO, Heard};
use super::wire::{Strange, take_frame};
use crate::deliver::publish::connect::{Stream, words};

/// The largest frame that is read or written, in bytes; what `RabbitMQ` proposes.
const FRAME: u32 = 128 * 1024;
/// The smallest that a broker may ask for.
const SMALLEST_FRAME: u32 = 4096;
/// How often a sign of life is expected at the latest, in seconds.
const HEARTBEAT_S: u16 = 20;
/// Whom a URL without a user means; `RabbitMQ` lets this one in from its own machine only.
const GUEST: &str = "guest";

/// A connection that is ready to publish.
pub(super) struct Opened {
    pub(super) stream: Box<dyn Stream>,
    /// What was read and not yet understood.
    pub(super) incoming: BytesMut,
    pub(super) frame_max: usize,
    pub(super) heartbeat: Duration,
}

/// Connects and logs in.
pub(super) async fn open(account: &Account) -> Result<Opened, String> {
    let mut asking = Asking { stream: account.way.connect().await?, incoming: BytesMut::new() };
    let action = &account.way.action;
    let user = action.user.as_deref().unwrap_or(GUEST);
    let password = action.password.as_ref().map_or(GUEST, |password| password.reveal());

    asking.write(HELLO).await?;
    let Heard::Start { mechanisms } = asking.hear().await? else { return Err(Strange.into()) };
    if !mechanisms.split(' ').any(|offered| offered == "PLAIN") {
        return Err("it takes no login with user and password".to_owned());
    }
    asking
        .say(|out| {
            method::start_ok(out, &format!("duly: {}", account.name), user, password);
        })
        .await?;
    let Heard::Tune { frame_max, heartbeat_s } = asking.hear().await? else {
        return Err(Strange.into());
    };
    // Zero is no limit, and no heartbeat.
    let frame_max = if frame_max == 0 { FRAME } else { frame_max.clamp(SMALLEST_FRAME, FRAME) };
    let heartbeat_s = if heartbeat_s == 0 { HEARTBEAT_S } else { heartbeat_s.min(HEARTBEAT_S) };
    asking
        .say(|out| {
            method::tune_ok(out, frame_max, heartbeat_s);
            method::open(out, &account.place.vhost);
        })
        .await?;
    asking.expect(&Heard::OpenOk).await?;
    asking.say(method::channel_open).await?;
    asking.expect(&Heard::ChannelOpenOk).await?;
    asking.say(method::select).await?;
    asking.expect(&Heard::SelectOk).await?;
    Ok(Opened {
        stream: asking.stream,
        incoming: asking.incoming,
        frame_max: frame_max as usize,
        heartbeat: Duration::from_secs(heartbeat_s.into()),
    })
}

/// A connection on which nothing is under way.
struct Asking {
    stream: Box<dyn Stream>,
    incoming: BytesMut,
}

impl Asking {
    async fn say(&mut self, what: impl FnOnce(&mut BytesMut)) -> Result<(), String> {
        let mut out = BytesMut::new();
        what(&mut out);
        self.write(&out).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).await.map_err(|error| words(&error))?;
        self.stream.flush().await.map_err(|error| words(&error))
    }

    /// The next answer; one that ends the connection or the channel is an error.
    async fn hear(&mut self) -> Result<Heard, String> {
        loop {
            while let Some(frame) = take_frame(&mut self.incoming, FRAME as usize)? {
                match method::hear(&frame)? {
                    Heard::Heartbeat => {}
                    Heard::Close { why } | Heard::ChannelClose { why } => return Err(why),
                    heard => return Ok(heard),
                }
            }
            let read = self.stream.read_buf(&mut self.incoming).await;
            if read.map_err(|error| words(&error))? == 0 {
                return Err("it ended the connection".to_owned());
            }
        }
    }

    async fn expect(&mut self, expected: &Heard) -> Result<(), String> {
        if self.hear().await? == *expected { Ok(()) } else { Err(Strange.into()) }
    }
}
