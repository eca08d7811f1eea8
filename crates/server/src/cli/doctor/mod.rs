//! `duly doctor`: looks at a data directory and at the configuration, and says what it finds.
//!
//! A directory that nobody uses is read whole, by the code that a start uses, and checked further
//! than a start can afford. One that a server uses is left to that server, which is asked instead.
//! Nothing is ever changed, repaired or guessed: a doctor that writes could make things worse.

mod configuration;
mod directory;
mod server;

use std::io::{self, IsTerminal as _};

use duly_store::Error;
use serde_json::json;

use super::args::Doctor;
use super::exit::Exit;
use super::print::{self, Output, Tone};
use super::table::Table;
use super::{bad_configuration, flag, settings};
use crate::config::{self, Environment, Flag};
use crate::run;

/// One thing that was found.
struct Finding {
    level: Level,
    /// What it is about: `journal`, `archive`, a queue's name.
    about: String,
    text: String,
}

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Somebody should do something.
    Warning,
    /// It could not be looked at.
    Failed,
    /// Bytes are not what was written, or not of this version.
    Corrupt,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Good => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Failed => "failed",
            Level::Corrupt => "corrupt",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Level::Good => Tone::Good,
            Level::Note => Tone::Faint,
            Level::Warning => Tone::Open,
            Level::Failed | Level::Corrupt => Tone::Bad,
        }
    }

    fn of(fault: &Error) -> Level {
        match fault {
            Error::Corrupt { .. } | Error::NewerFormat { .. } => Level::Corrupt,
            Error::Io { .. } | Error::Locked { .. } | Error::Full { .. } => Level::Failed,
        }
    }
}

/// Everything that was found.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, about: &str, text: impl Into<String>) {
        self.0.push(Finding { level, about: about.to_owned(), text: text.into() });
    }

    fn worst(&self) -> Level {
        self.0.iter().map(|finding| finding.level).max().unwrap_or(Level::Good)
    }
}

/// Looks, prints, and ends with 65 if something is corrupt.
pub(super) fn run(args: &Doctor, environment: &Environment) -> Exit {
    let flags: Vec<Flag> = flag("--data", "data", args.data.as_deref()).into_iter().collect();
    let settings = match settings(args.config.as_deref(), environment, &flags) {
        Ok(settings) => settings,
        Err(mistake) => return bad_configuration(&mistake),
    };
    let mut findings = Findings::default();
    for variable in config::unknown_variables(environment) {
        let text = format!("the variable {variable} is not a setting; see `duly config`");
        findings.add(Level::Warning, "configuration", text);
    }
    configuration::look(&settings, &mut findings);
    let shows_progress = !args.json && io::stderr().is_terminal();
    let mut progress = |done: &str| {
        if shows_progress {
            print::say(&format!("\r\u{1b}[K{}", print::clean(done)));
        }
    };
    let examined = run::examine(&settings.data, settings.limits.clone(), &mut progress);
    if shows_progress {
        print::say("\r\u{1b}[K");
    }
    let (mut is_used, mut is_told) = (false, true);
    match examined {
        Ok(Some(examination)) => directory::tell(&examination, &settings, &mut findings),
        Ok(None) => {
            let text = format!("{} is empty; `duly serve` makes it", settings.data.display());
            findings.add(Level::Note, "directory", text);
        }
        Err(Error::Locked { .. }) => {
            is_used = true;
            let text = "a server is using it: its files are not looked at, it is asked instead";
            findings.add(Level::Note, "directory", text);
            let url = args.url.as_deref().or_else(|| environment.get("DULY_URL"));
            is_told = server::ask(url, &settings, &mut findings);
        }
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let what = format!("there is no data directory {}", settings.data.display());
            print::complain(what, Some("--data names it; `duly serve` makes a new one"));
            return Exit::BadConfig;
        }
        Err(fault) => findings.add(Level::of(&fault), "directory", fault.to_string()),
    }
    let printed = if args.json {
        let listed: Vec<_> = findings
            .0
            .iter()
            .map(|one| json!({"level": one.level.word(), "about": one.about, "text": one.text}))
            .collect();
        let whole = json!({
            "data": settings.data.display().to_string(),
            "in_use": is_used,
            "healthy": findings.worst() < Level::Warning && is_told,
            "findings": listed,
        });
        print::out(&format!("{whole}\n"))
    } else {
        print::out(&shown(&findings, Output::new(environment.get("NO_COLOR").is_some())))
    };
    match findings.worst() {
        Level::Corrupt => Exit::Corrupt,
        Level::Failed => Exit::Io,
        _ if !is_told => Exit::Taken,
        Level::Good | Level::Note | Level::Warning => print::ended(printed),
    }
}

/// A line for each finding, the gravest last, where the eye is.
fn shown(findings: &Findings, output: Output) -> String {
    let mut sorted: Vec<&Finding> = findings.0.iter().collect();
    sorted.sort_by_key(|finding| finding.level);
    let mut table = Table::bare();
    for finding in sorted {
        table.row(vec![
            (finding.level.word().to_owned(), finding.level.tone()),
            (finding.about.clone(), Tone::Strong),
            (finding.text.clone(), Tone::Plain),
        ]);
    }
    table.render(output)
}
