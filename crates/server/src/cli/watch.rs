//! `duly watch check` and `duly init`: table watches before they are started.
//!
//! Both ask the database themselves, with the code that a server would use, because there may be no
//! server yet. Neither changes anything.

use std::process::ExitCode;

use super::args::{Init, WatchCheck};
use super::exit::Exit;
use super::{bad_configuration, finish, flag, print, settings};
use crate::config::{Environment, Flag, Settings};
use crate::run::{self, Preview};
use crate::units::show_instant;

/// Says what each watch would do.
pub(super) fn check(args: &WatchCheck, environment: &Environment) -> ExitCode {
    let flags: Vec<Flag> = flag("--data", "data", args.data.as_deref()).into_iter().collect();
    let settings = match settings(args.config.as_deref(), environment, &flags) {
        Ok(settings) => settings,
        Err(mistake) => return bad_configuration(&mistake).into(),
    };
    if settings.watches.is_empty() {
        return bad_configuration(&"the configuration has no [watches.NAME]").into();
    }
    let previews = match run::preview_watches(&settings) {
        Ok(previews) => previews,
        Err(fault) => return finish(Err(fault)),
    };
    let mut exit = Exit::Done;
    for (name, preview) in previews {
        let acts = settings.watches[&name].acts;
        match preview {
            Ok(preview) => {
                let printed = print::out(&told(name.as_str(), &preview, acts));
                if printed.is_err() {
                    return print::ended(printed).into();
                }
            }
            Err(why) => {
                print::complain(format!("{name}: {why}"), None);
                exit = Exit::BadConfig;
            }
        }
    }
    exit.into()
}

/// A preview in a few lines.
fn told(name: &str, preview: &Preview, acts: bool) -> String {
    let Preview { open, overdue, ahead, armed, .. } = preview;
    let more = if preview.is_cut { " and more" } else { "" };
    let (would, verb) =
        if preview.has_begun { ("have or get", "began") } else { ("would get", "would begin") };
    let start = show_instant(preview.start);
    let does = if acts { "it acts" } else { "it only observes" };
    let mut lines = vec![
        format!("{name}: {open}{more} open, {overdue} overdue, {armed} {would} a deadline"),
        format!("  it {verb} with rows created at {start}; {does}"),
    ];
    if let Some(newest) = preview.newest {
        lines.push(format!("  the newest open row was created at {}", show_instant(newest)));
    }
    if *ahead > 0 {
        lines.push(format!("  {ahead} were created in the future: is time_zone right?"));
    }
    if let (count, Some(why)) = &preview.unreadable {
        lines.push(format!("  no deadline can be made of {count}: {}", print::clean(why)));
    }
    lines.join("\n") + "\n"
}

/// Prints a configuration for a table.
pub(super) fn init(args: &Init, environment: &Environment) -> ExitCode {
    let quoted = serde_json::to_string(&args.dsn).expect("text is plain JSON");
    let text = format!("[databases.shop]\ndsn = {quoted}\n");
    let settings = match Settings::parse("the DSN", &text, environment, &[]) {
        Ok(settings) => settings,
        Err(mistake) => return bad_configuration(&mistake).into(),
    };
    match run::draft_watch(&settings, &args.dsn, &args.table) {
        Ok(text) => print::ended(print::out(&text)).into(),
        Err(why) => {
            print::complain(why, Some("is the database there, and may this user read the table?"));
            Exit::Refused.into()
        }
    }
}
