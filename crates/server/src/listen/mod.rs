//! What others connect to.
//!
//! Each protocol is a room of its own that turns bytes into commands and answers into bytes. They
//! never import each other: they meet in [`crate::handle::Handle`].

pub mod http;
mod payload;
pub mod policy;
pub mod redis;

use tokio::sync::watch;

/// Returns when the server stops, or nobody is left who could say so.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: the server is on its way out.
    drop(stopping.wait_for(|stopping| *stopping).await);
}
