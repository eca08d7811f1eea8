//! The promises of the store, kept on a disk that lies and on a real one.

mod archive;
mod clerk;
mod damage;
mod directory;
mod faults;
mod journal;
mod secret;
