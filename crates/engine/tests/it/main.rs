//! The engine from outside: scenarios in plain text, and random commands against a naive reference.
//!
//! Both drive the engine through [`world::World`], a shell in miniature: it keeps the journal in
//! memory, the archive in a map, and the clocks in two numbers. Whatever is tried here, replaying
//! the journal must give the state that is there.

mod base;
mod model;
mod reference;
mod script;
mod show;
mod words;
mod world;
