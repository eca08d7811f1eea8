//! The HTTP API against a whole server in this process: port 0, a manual clock, a directory of its
//! own, small journal segments.
//!
//! Every answer that is received here is also held against `/openapi.json`: a status or a media type
//! that the document does not describe fails the test that met it.

mod deadlines;
mod deliveries;
mod events;
mod links;
mod many;
mod queues;
mod server;
mod stream;
mod wire;
