//! The built binary over directories that earlier builds left behind.

mod upgrade;
