//! The binary `duly`: the command line and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    duly::cli::main()
}
