//! The command line: what `duly` does when it is typed.
//!
//! `serve` and `demo` become the server; everything else is one request to a running one, over the
//! same HTTP API that anybody else uses. This file ties the parts together: words (`args`), requests
//! (`call`), what people see (`show`, `table`, `print`) and how it ends (`exit`).

mod answer;
mod args;
mod ask;
pub mod bench;
mod call;
mod doctor;
mod exit;
mod print;
mod report;
mod show;
mod table;
mod tail;
mod watch;

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::config::{self, DEFAULT_FILE, Environment, Flag, Settings};
use crate::{demo, log, run};
use args::{CommandLine, Config, Demo, Launch, Request, Serve, Verb, Watch, WatchVerb};
use exit::Exit;

/// Runs what was typed; the exit status is documented in the help.
pub fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // Help and version come this way too.
            let printed = error.print();
            return if error.use_stderr() { Exit::Usage } else { print::ended(printed) }.into();
        }
    };
    let environment = Environment::of_the_process();
    match line.verb {
        Verb::Serve(args) => serve(&args, &environment),
        Verb::Demo(args) => demonstrate(&args, &environment),
        Verb::Bench(args) => bench::run(&args, &environment),
        Verb::Config(args) => configuration(&args, &environment).into(),
        Verb::Watch(Watch { verb: WatchVerb::Check(args) }) => watch::check(&args, &environment),
        Verb::Watch(Watch { verb: WatchVerb::Report(args) }) => {
            ask::run(Request::Report(args), &environment).into()
        }
        Verb::Init(args) => watch::init(&args, &environment),
        Verb::Doctor(args) => doctor::run(&args, &environment).into(),
        Verb::Launch(args) => launch(&args),
        Verb::Ask(request) => ask::run(request, &environment).into(),
    }
}

fn serve(args: &Serve, environment: &Environment) -> ExitCode {
    let flags = [
        flag("--data", "data", args.data.as_deref()),
        flag("--http", "http.listen", args.http.as_deref()),
        flag("--redis", "redis.listen", args.redis.as_deref()),
        flag("--public", "http.public", args.public.as_deref()),
        flag("--clock", "clock.source", args.clock.as_deref()),
    ];
    let flags: Vec<Flag> = flags.into_iter().flatten().collect();
    match settings(args.config.as_deref(), environment, &flags) {
        Ok(settings) => {
            begin_log(&settings, environment);
            finish(run::serve(settings, None, || ()))
        }
        Err(mistake) => bad_configuration(&mistake).into(),
    }
}

/// The server has started this process to become a command.
fn launch(args: &Launch) -> ExitCode {
    let failed = run::launch(&args.bonds, &args.argv);
    print::complain(failed.why, None);
    failed.status.into()
}

/// The settings, as far as they can be checked without a directory, a database or the network.
fn settings(
    file: Option<&Path>,
    environment: &Environment,
    flags: &[Flag],
) -> Result<Settings, String> {
    let settings =
        Settings::load(file, environment, flags).map_err(|mistake| mistake.to_string())?;
    let named = file.or_else(|| environment.get("DULY_CONFIG").map(Path::new));
    let name = named.map_or_else(|| "configuration".to_owned(), |file| file.display().to_string());
    run::check(&settings).map_err(|mistake| format!("{name}: {mistake}"))?;
    Ok(settings)
}

fn demonstrate(args: &Demo, environment: &Environment) -> ExitCode {
    let flags: Vec<Flag> =
        flag("--http", "http.listen", args.http.as_deref()).into_iter().collect();
    // The demonstration is a whole of its own: neither DULY_CONFIG nor DULY_DATA means it.
    let settings = match Settings::parse("demo", "", &Environment::default(), &flags) {
        Ok(settings) => settings,
        Err(mistake) => return bad_configuration(&mistake).into(),
    };
    let Some(address) = settings.http.filter(|address| address.port() != 0) else {
        print::complain("the shop needs an address with a port", Some("--http 127.0.0.1:7830"));
        return Exit::Usage.into();
    };
    match demo::open(&args.data, address, settings) {
        Ok((settings, shop)) => {
            begin_log(&settings, environment);
            let welcome = demo::welcome(address, &args.data);
            finish(run::serve(settings, Some(shop), || {
                print::ended(print::out(&welcome));
            }))
        }
        Err(fault) => finish(Err(fault)),
    }
}

fn configuration(args: &Config, environment: &Environment) -> Exit {
    let Some(file) = &args.check else {
        return print::ended(print::out(DEFAULT_FILE));
    };
    match settings(Some(file), environment, &[]) {
        Ok(_) => {
            let text = format!("{} is good\n", print::clean(&file.display().to_string()));
            print::ended(print::out(&text))
        }
        Err(mistake) => bad_configuration(&mistake),
    }
}

fn flag(name: &'static str, key: &'static str, value: Option<&str>) -> Option<Flag> {
    value.map(|value| Flag { name, key, value: value.to_owned() })
}

fn begin_log(settings: &Settings, environment: &Environment) {
    log::begin(settings.log, environment.get("NO_COLOR").is_some());
    for variable in config::unknown_variables(environment) {
        tracing::warn!(variable, "this variable is not a setting; see `duly config`");
    }
}

fn bad_configuration(mistake: &impl Display) -> Exit {
    print::complain(mistake, Exit::BadConfig.hint());
    Exit::BadConfig
}

/// How a server ended: by itself, or because it could not go on.
fn finish(ended: anyhow::Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|fault| {
        let exit = Exit::of_fault(&fault);
        print::complain(whole(&fault), exit.hint());
        exit.into()
    })
}

/// A fault with its causes; those that the sentence before has named already are left out.
fn whole(fault: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in fault.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::whole;

    #[test]
    fn a_cause_is_named_once() {
        let cause = || std::io::Error::other("no room");
        let named: anyhow::Result<()> = Err(cause()).context("cannot write: no room");
        let unnamed: anyhow::Result<()> = Err(cause()).context("cannot write");
        for fault in [named, unnamed] {
            assert_eq!(whole(&fault.expect_err("it failed")), "cannot write: no room");
        }
    }
}
