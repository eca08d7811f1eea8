//! `MULTI` and `EXEC`, which Duly does not have, refused so that nothing is half done.
//!
//! Clients send a whole transaction at once. If `MULTI` were an error, the commands behind it would
//! be carried out one by one, and `EXEC` would say that nothing was. So a transaction is opened and
//! its commands are taken in, as in Redis, and `EXEC` says that it was discarded, and what to do.
//! None of it was ever begun.

use super::{Client, Next, No};
use crate::reading::Words;
use crate::reply::Reply;

const NONE: &str = "EXECABORT Transaction discarded, nothing of it was done: Duly has no \
    transactions. Send the commands without MULTI and EXEC, as a pipeline (redis-py: \
    pipeline(transaction=False)): each is decided at once and whole, and those sent together are \
    durable together";

/// `MULTI`
pub(super) fn multi(_: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    if std::mem::replace(&mut client.is_in_transaction, true) {
        return Err(No::err("MULTI calls can not be nested"));
    }
    Ok(Next::Say(Reply::OK))
}

/// `EXEC`
pub(super) fn exec(_: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    if !std::mem::take(&mut client.is_in_transaction) {
        return Err(No::err("EXEC without MULTI"));
    }
    Err(No(NONE.to_owned()))
}

/// `DISCARD`
pub(super) fn discard(_: &Words<'_>, client: &mut Client) -> Result<Next, No> {
    if !std::mem::take(&mut client.is_in_transaction) {
        return Err(No::err("DISCARD without MULTI"));
    }
    Ok(Next::Say(Reply::OK))
}
