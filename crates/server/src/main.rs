//! Duly.
fn main() {}
