//! `duly bench`: what this server does on this machine, in one honest table.
//!
//! It starts servers of its own as child processes, loads them over HTTP or the Redis protocol, and prints
//! what was measured together with what it cost on both sides and who held it up: generator and
//! server share the machine, and a figure without that says nothing. It never touches a running
//! server and leaves nothing behind. Nothing here is tuned for the measurement: the server runs with
//! its default settings, every answer is on the disk before it is counted.

mod answers;
mod child;
mod disk;
mod due;
mod load;
mod measure;
mod meter;
mod process;
mod report;
mod requests;
mod stats;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum as _;

pub use answers::{Delivery, Head, Leased, all_good};
pub use measure::{Case, Over, Plan};
pub use report::{Cost, Figure, Report, Row, Times};

use super::args::Bench;
use super::exit::Exit;
use super::print::{self, Output};
use crate::config::Environment;
use measure::Site;

/// What a shell reports of a program that an interrupt ended.
const INTERRUPTED: u8 = 130;

/// Measures what was asked for and prints it.
pub(super) fn run(args: &Bench, environment: &Environment) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print::complain(format!("cannot begin: {error}"), None);
            return Exit::Io.into();
        }
    };
    let name = || PathBuf::from(format!("duly-bench-{}", std::process::id()));
    let wish = Wish {
        folder: args.data.clone().unwrap_or_else(name),
        quick: args.quick,
        plan: if args.quick { Plan::QUICK } else { Plan::WHOLE },
        over: args.over,
        cases: if args.only.is_empty() { Case::over(args.over) } else { &args.only },
    };
    let measured = runtime.block_on(async {
        let program = std::env::current_exe().context("cannot find this program")?;
        tokio::select! {
            measured = measure(&program, &wish) => measured.map(Some),
            _ = tokio::signal::ctrl_c() => Ok(None),
        }
    });
    match measured {
        Ok(Some(report)) if args.json => {
            let text = serde_json::to_string(&report).expect("a report has text for keys");
            print::ended(print::out(&(text + "\n"))).into()
        }
        Ok(Some(report)) => {
            let output = Output::new(environment.get("NO_COLOR").is_some());
            print::ended(print::out(&report.text(output))).into()
        }
        Ok(None) => ExitCode::from(INTERRUPTED),
        Err(fault) => {
            print::complain(format!("{fault:#}"), None);
            Exit::NoServer.into()
        }
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// Where the servers' directories are made: a directory that is empty or not there yet.
    pub folder: PathBuf,
    /// Is it the short run? Only noted.
    pub quick: bool,
    /// How much of it.
    pub plan: Plan,
    /// How the servers are spoken to.
    pub over: Over,
    /// What, in this order.
    pub cases: &'a [Case],
}

/// Measures, with servers that are `program serve`; says on standard error how far it is.
pub async fn measure(program: &Path, wish: &Wish<'_>) -> anyhow::Result<Report> {
    if let Some(case) = wish.cases.iter().find(|case| !Case::over(wish.over).contains(case)) {
        let name = case.to_possible_value();
        let name = name.as_ref().map_or("", clap::builder::PossibleValue::get_name);
        bail!("{name} is measured over HTTP only");
    }
    let workplace = Workplace::make(&wish.folder)?;
    let before = process::load();
    let disk_sync_ms = disk::sync_ms(&workplace.folder)?;
    let mut rows = Vec::new();
    for (number, case) in wish.cases.iter().enumerate() {
        let name = case.to_possible_value();
        let name = name.as_ref().map_or("", clap::builder::PossibleValue::get_name);
        print::say(&format!("duly bench: {name} ({} of {})\n", number + 1, wish.cases.len()));
        let folder = workplace.folder.join(name);
        let site = Site { program, folder, plan: wish.plan, over: wish.over };
        rows.extend(site.measure(*case).await.with_context(|| format!("in {name}"))?);
    }
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        machine: process::machine(),
        load: [before, process::load()],
        disk_sync_ms,
        over: wish.over,
        quick: wish.quick,
        rows,
    })
}

/// A directory for the servers' directories; what we made of it goes again.
struct Workplace {
    folder: PathBuf,
    is_ours: bool,
}

impl Workplace {
    fn make(folder: &Path) -> anyhow::Result<Workplace> {
        let shown = folder.display();
        let is_ours = !folder.exists();
        fs::create_dir_all(folder).with_context(|| format!("cannot create {shown}"))?;
        let folder = folder.canonicalize().with_context(|| format!("cannot use {shown}"))?;
        let mut inside = fs::read_dir(&folder).with_context(|| format!("cannot read {shown}"))?;
        ensure!(inside.next().is_none(), "{shown} is not empty: name a directory that is");
        Ok(Workplace { folder, is_ours })
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if self.is_ours {
            // It is empty by now; if it is not, it holds what somebody else put there.
            fs::remove_dir(&self.folder).unwrap_or_default();
        }
    }
}
