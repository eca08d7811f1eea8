//! The Redis protocol from outside: bytes in, commands out, answers in, bytes out.
//!
//! Sessions are driven through [`world::World`], which has a real engine behind it and a clock that
//! is set by hand, so that what is asked is also answered. What a client is to see stands in
//! conversations in plain text, and however its bytes are cut, it must see the same.

mod costs;
mod cutting;
mod limits;
mod race;
mod script;
mod show;
mod world;
