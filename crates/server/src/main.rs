//! The binary `duly`: the command line and nothing else.

use std::process::ExitCode;

/// What is asked for on one thread is let go on another, all the time; this one is good at that. It
/// is built without huge pages (`no_thp`): with them a small server takes twice the memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    duly::cli::main()
}
