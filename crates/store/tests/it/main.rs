//! The promises of the store, kept on a disk that lies and on a real one.

mod desk;
mod directory;
mod journal;
