//! What others connect to.
//!
//! Each protocol is a room of its own that turns bytes into commands and answers into bytes. They
//! never import each other: they meet in [`crate::handle::Handle`].

pub mod http;
