//! What Duly and a broker say to each other: the few methods that publishing with confirmation needs.
//!
//! What is heard is a value, what is said is written behind what is said already. A method that a broker
//! has no reason to send to somebody who only publishes is strange.

use bytes::{BufMut as _, BytesMut};

use super::Letter;
use super::wire::{
    AROUND, Frame, Kind, Reading, Strange, put_frame, put_number, put_short, put_sized, put_text,
    put_yes,
};
use crate::config::AmqpDestination;

/// The first thing that is said.
pub(super) const HELLO: &[u8] = b"AMQP\0\0\x09\x01";
/// The only channel.
pub(super) const CHANNEL: u16 = 1;

/// Methods by class and number.
mod id {
    pub(super) const START: (u16, u16) = (10, 10);
    pub(super) const START_OK: (u16, u16) = (10, 11);
    pub(super) const TUNE: (u16, u16) = (10, 30);
    pub(super) const TUNE_OK: (u16, u16) = (10, 31);
    pub(super) const OPEN: (u16, u16) = (10, 40);
    pub(super) const OPEN_OK: (u16, u16) = (10, 41);
    pub(super) const CLOSE: (u16, u16) = (10, 50);
    pub(super) const CLOSE_OK: (u16, u16) = (10, 51);
    pub(super) const BLOCKED: (u16, u16) = (10, 60);
    pub(super) const UNBLOCKED: (u16, u16) = (10, 61);
    pub(super) const CHANNEL_OPEN: (u16, u16) = (20, 10);
    pub(super) const CHANNEL_OPEN_OK: (u16, u16) = (20, 11);
    pub(super) const CHANNEL_CLOSE: (u16, u16) = (20, 40);
    pub(super) const PUBLISH: (u16, u16) = (60, 40);
    pub(super) const RETURN: (u16, u16) = (60, 50);
    pub(super) const ACK: (u16, u16) = (60, 80);
    pub(super) const NACK: (u16, u16) = (60, 120);
    pub(super) const SELECT: (u16, u16) = (85, 10);
    pub(super) const SELECT_OK: (u16, u16) = (85, 11);
}

/// Properties of a message, by the bit that says it is there, in the order in which they are written.
mod property {
    pub(super) const CONTENT_TYPE: u16 = 1 << 15;
    pub(super) const CONTENT_ENCODING: u16 = 1 << 14;
    pub(super) const HEADERS: u16 = 1 << 13;
    pub(super) const DELIVERY_MODE: u16 = 1 << 12;
    pub(super) const PRIORITY: u16 = 1 << 11;
    pub(super) const CORRELATION_ID: u16 = 1 << 10;
    pub(super) const REPLY_TO: u16 = 1 << 9;
    pub(super) const EXPIRATION: u16 = 1 << 8;
    pub(super) const MESSAGE_ID: u16 = 1 << 7;
    pub(super) const TIMESTAMP: u16 = 1 << 6;
    pub(super) const TYPE: u16 = 1 << 5;
    pub(super) const APP_ID: u16 = 1 << 3;
}

/// The class that messages belong to.
const BASIC: u16 = 60;
/// A message is kept when the broker restarts, if its queue is.
const PERSISTENT: u8 = 2;
/// A message that no queue takes comes back.
const MANDATORY: u8 = 1;

/// What a broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It greets, and lists its ways to log in.
    Start { mechanisms: String },
    /// The login is good; these are its limits, where 0 is none.
    Tune { frame_max: u32, heartbeat_s: u16 },
    /// The virtual host is there.
    OpenOk,
    /// The channel is there.
    ChannelOpenOk,
    /// It will confirm.
    SelectOk,
    /// It takes nothing for now, because of this.
    Blocked { reason: String },
    /// It does again.
    Unblocked,
    /// It has the message, and with `multiple` all before it.
    Ack { tag: u64, multiple: bool },
    /// It could not take the message.
    Nack { tag: u64, multiple: bool },
    /// The message that follows went nowhere.
    Return { why: String },
    /// A message that comes back: what it is called.
    Header { message_id: String },
    /// Its content.
    Body,
    /// It ends the channel.
    ChannelClose { why: String },
    /// It ends the connection.
    Close { why: String },
    /// It has heard that Duly ends the connection.
    CloseOk,
    /// It is still there.
    Heartbeat,
}

/// What a frame says.
pub(super) fn hear(frame: &Frame) -> Result<Heard, Strange> {
    if frame.channel > CHANNEL {
        return Err(Strange);
    }
    let mut reading = Reading(&frame.payload);
    match frame.kind {
        Kind::Heartbeat => Ok(Heard::Heartbeat),
        Kind::Body => Ok(Heard::Body),
        Kind::Header => header(&mut reading),
        Kind::Method => method(&mut reading),
    }
}

fn method(reading: &mut Reading<'_>) -> Result<Heard, Strange> {
    Ok(match (reading.u16()?, reading.u16()?) {
        id::START => {
            reading.u16()?; // its version
            reading.long()?; // what it tells about itself
            let mechanisms = String::from_utf8_lossy(reading.long()?).into_owned();
            Heard::Start { mechanisms }
        }
        id::TUNE => {
            reading.u16()?; // how many channels
            Heard::Tune { frame_max: reading.u32()?, heartbeat_s: reading.u16()? }
        }
        id::OPEN_OK => Heard::OpenOk,
        id::CHANNEL_OPEN_OK => Heard::ChannelOpenOk,
        id::SELECT_OK => Heard::SelectOk,
        id::BLOCKED => Heard::Blocked { reason: reading.short()? },
        id::UNBLOCKED => Heard::Unblocked,
        id::ACK => Heard::Ack { tag: reading.u64()?, multiple: reading.u8()? & 1 == 1 },
        id::NACK => Heard::Nack { tag: reading.u64()?, multiple: reading.u8()? & 1 == 1 },
        id::RETURN => Heard::Return { why: why(reading)? },
        id::CHANNEL_CLOSE => Heard::ChannelClose { why: why(reading)? },
        id::CLOSE => Heard::Close { why: why(reading)? },
        id::CLOSE_OK => Heard::CloseOk,
        _ => return Err(Strange),
    })
}

/// The broker's words, which begin with the name of their code, without the user whom they may name.
fn why(reading: &mut Reading<'_>) -> Result<String, Strange> {
    reading.u16()?; // the code
    let text = reading.short()?;
    Ok(match text.split_once(" for user '") {
        Some((before, user)) => {
            let after = user.split_once('\'').map_or("", |(_, after)| after);
            format!("{before} for its user{after}")
        }
        None => text,
    })
}

/// The id of a message that comes back. It is one of ours, so it has one.
fn header(reading: &mut Reading<'_>) -> Result<Heard, Strange> {
    reading.u32()?; // class and weight
    reading.u64()?; // the size of its content
    let flags = reading.u16()?;
    let is_there = |property: u16| flags & property != 0;
    for property in [property::CONTENT_TYPE, property::CONTENT_ENCODING] {
        if is_there(property) {
            reading.short()?;
        }
    }
    if is_there(property::HEADERS) {
        reading.long()?;
    }
    for property in [property::DELIVERY_MODE, property::PRIORITY] {
        if is_there(property) {
            reading.u8()?;
        }
    }
    for property in [property::CORRELATION_ID, property::REPLY_TO, property::EXPIRATION] {
        if is_there(property) {
            reading.short()?;
        }
    }
    if is_there(property::MESSAGE_ID) {
        Ok(Heard::Header { message_id: reading.short()? })
    } else {
        Err(Strange)
    }
}

fn say(out: &mut BytesMut, channel: u16, id: (u16, u16), arguments: impl FnOnce(&mut BytesMut)) {
    put_frame(out, Kind::Method, channel, |out| {
        out.put_u16(id.0);
        out.put_u16(id.1);
        arguments(out);
    });
}

/// Who logs in, and what it understands.
pub(super) fn start_ok(out: &mut BytesMut, connection: &str, user: &str, password: &str) {
    say(out, 0, id::START_OK, |out| {
        put_sized(out, |out| {
            put_text(out, "product", "Duly");
            put_text(out, "version", env!("CARGO_PKG_VERSION"));
            // What the broker's own tools show.
            put_text(out, "connection_name", connection);
            put_short(out, "capabilities");
            out.put_u8(b'F');
            put_sized(out, |out| {
                for known in [
                    "publisher_confirms",
                    "basic.nack",
                    "connection.blocked",
                    "authentication_failure_close",
                ] {
                    put_yes(out, known);
                }
            });
        });
        put_short(out, "PLAIN");
        put_sized(out, |out| out.put_slice(format!("\0{user}\0{password}").as_bytes()));
        put_short(out, "en_US");
    });
}

/// One channel, frames of this size at most, heartbeats this often.
pub(super) fn tune_ok(out: &mut BytesMut, frame_max: u32, heartbeat_s: u16) {
    say(out, 0, id::TUNE_OK, |out| {
        out.put_u16(CHANNEL);
        out.put_u32(frame_max);
        out.put_u16(heartbeat_s);
    });
}

/// Into this virtual host.
pub(super) fn open(out: &mut BytesMut, vhost: &str) {
    say(out, 0, id::OPEN, |out| {
        put_short(out, vhost);
        out.put_slice(b"\0\0");
    });
}

/// A channel, please.
pub(super) fn channel_open(out: &mut BytesMut) {
    say(out, CHANNEL, id::CHANNEL_OPEN, |out| out.put_u8(0));
}

/// Confirm what is published on it.
pub(super) fn select(out: &mut BytesMut) {
    say(out, CHANNEL, id::SELECT, |out| out.put_u8(0));
}

/// Goodbye.
pub(super) fn close(out: &mut BytesMut) {
    say(out, 0, id::CLOSE, |out| {
        out.put_u16(200);
        put_short(out, "goodbye");
        out.put_u32(0);
    });
}

/// Goodbye to you, too.
pub(super) fn close_ok(out: &mut BytesMut) {
    say(out, 0, id::CLOSE_OK, |_| {});
}

/// Still here.
pub(super) fn heartbeat(out: &mut BytesMut) {
    put_frame(out, Kind::Heartbeat, 0, |_| {});
}

/// A message: where to, what about, and its content in frames that are not too large.
pub(super) fn publish(out: &mut BytesMut, to: &AmqpDestination, letter: &Letter, frame_max: usize) {
    say(out, CHANNEL, id::PUBLISH, |out| {
        out.put_u16(0);
        put_short(out, &to.exchange);
        put_short(out, &to.routing_key);
        out.put_u8(MANDATORY);
    });
    put_frame(out, Kind::Header, CHANNEL, |out| {
        out.put_u16(BASIC);
        out.put_u16(0);
        out.put_u64(letter.body.len() as u64);
        out.put_u16(
            property::CONTENT_TYPE
                | property::HEADERS
                | property::DELIVERY_MODE
                | property::MESSAGE_ID
                | property::TIMESTAMP
                | property::TYPE
                | property::APP_ID,
        );
        put_short(out, "application/json");
        put_sized(out, |out| {
            put_text(out, "queue", &letter.queue);
            put_text(out, "key", &letter.key);
            put_number(out, "attempt", i64::from(letter.attempt));
        });
        out.put_u8(PERSISTENT);
        put_short(out, &letter.id);
        out.put_u64(letter.lapsed_at_s);
        put_short(out, "deadline.lapsed");
        put_short(out, "duly");
    });
    for part in letter.body.chunks(frame_max - AROUND) {
        put_frame(out, Kind::Body, CHANNEL, |out| out.put_slice(part));
    }
}
