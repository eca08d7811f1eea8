//! The integration tests of the server, in one binary: one file or folder a subject.
//!
//! They use the crate as its own `main` does, over real sockets on free ports and directories of
//! their own, and wait for conditions, never for a length of time. The suites that drive the built
//! binary from outside (kills, browsers, other people's clients) live in `tests/` at the root of
//! the repository.

mod bench;
mod cli;
mod deliveries;
mod demo;
mod doctor;
mod duty;
mod http;
mod tidy;
