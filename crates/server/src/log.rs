//! How the log looks: one structured line per notable event, for people or for machines.
//!
//! Lines go to standard error, so that standard output stays free. Nothing is logged per request at
//! `info`, and no line ever holds a payload or a secret; that is up to those who write the lines.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Log, LogFormat};

/// Begins to log; a second call changes nothing. Colours are for terminals, unless `no_color`.
pub fn begin(log: Log, no_color: bool) {
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(LevelFilter::from_level(log.level))
        .with_target(false)
        .with_span_events(FmtSpan::NONE);
    // A log that is there already (in a test, of another server in this process) stays.
    let begun = match log.format {
        LogFormat::Text => lines.with_ansi(!no_color && std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    drop(begun);
}
