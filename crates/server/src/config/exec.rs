//! Commands of the operator's: what an `exec` target may run.
//!
//! The form as it is typed and what it means. What a command is given is written as a template, which
//! the deliverer reads; whether the program is there is looked at when the server starts. Nothing is
//! run or opened here.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use duly_engine::time::Span;
use serde::Deserialize;

use super::typed::{Size, Wrong};
use crate::units::WrittenDuration;

/// A command that lapsed deadlines may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecAction {
    /// The program, by its absolute path, and its arguments, in which parameters may stand.
    pub argv: Vec<String>,
    /// Its whole environment, beside what every command gets.
    pub env: BTreeMap<String, String>,
    /// The directory it starts in.
    pub cwd: PathBuf,
    /// Whom it runs as, if not as Duly itself.
    pub user: Option<String>,
    /// Its group, if not the user's own.
    pub group: Option<String>,
    /// How long it may take.
    pub timeout: Span,
    /// What it may use.
    pub limits: ExecLimits,
}

/// What a command may use; the system's own limits where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecLimits {
    /// Time on a processor, in seconds.
    pub cpu_seconds: Option<u64>,
    /// Address space, in bytes.
    pub memory_bytes: Option<u64>,
    /// Open files.
    pub files: Option<u64>,
    /// Processes of its user.
    pub processes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecForm {
    argv: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<PathBuf>,
    user: Option<String>,
    group: Option<String>,
    timeout: Option<WrittenDuration>,
    #[serde(default)]
    limits: LimitsForm,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsForm {
    cpu: Option<WrittenDuration>,
    memory: Option<Size>,
    files: Option<u64>,
    processes: Option<u64>,
}

/// How long a command may take that says nothing.
const TIMEOUT: Span = Span::from_secs(60);
/// The longest ends well before the lease of its attempt, so that no two run for one delivery.
const TIMEOUTS: RangeInclusive<Span> = Span::from_millis(100)..=Span::from_mins(9);
/// With less a program is killed before its first line.
const LEAST_MEMORY: u64 = 16 << 20;
/// The three standard ones and those of its libraries.
const LEAST_FILES: u64 = 16;
/// Variables that are Duly's to set.
const OURS: &str = "DULY_";

impl ExecForm {
    pub(super) fn mean(self) -> Result<ExecAction, Wrong> {
        if !self.argv.first().is_some_and(|program| program.starts_with('/')) {
            let why = "begins with the absolute path of a program, such as \"/usr/bin/php\"";
            return Err(("argv", why.to_owned()));
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let why = format!("has a variable {name:?} that cannot be one");
                return Err(("env", why));
            }
            if name.starts_with(OURS) {
                let why = format!("sets {name}; what begins with {OURS} is set by Duly");
                return Err(("env", why));
            }
        }
        let cwd = self.cwd.unwrap_or_else(|| PathBuf::from("/"));
        if !cwd.is_absolute() {
            return Err(("cwd", "is not an absolute path".to_owned()));
        }
        let timeout = match self.timeout {
            Some(written) => written.span().map_err(|bad| ("timeout", bad.to_string()))?,
            None => TIMEOUT,
        };
        if !TIMEOUTS.contains(&timeout) {
            return Err(("timeout", "is 100ms to 9m".to_owned()));
        }
        Ok(ExecAction {
            argv: self.argv,
            env: self.env,
            cwd,
            user: self.user,
            group: self.group,
            timeout,
            limits: self.limits.mean()?,
        })
    }
}

impl LimitsForm {
    fn mean(self) -> Result<ExecLimits, Wrong> {
        let wrong = |why: &str| Err(("limits", why.to_owned()));
        let cpu = match self.cpu {
            Some(written) => Some(written.span().map_err(|bad| ("limits", bad.to_string()))?),
            None => None,
        };
        if cpu.is_some_and(|cpu| cpu < Span::from_secs(1)) {
            return wrong("allow less than a second of cpu");
        }
        let memory_bytes = self.memory.map(|size| size.0);
        if memory_bytes.is_some_and(|bytes| bytes < LEAST_MEMORY) {
            return wrong("allow less than 16MiB of memory");
        }
        if self.files.is_some_and(|files| files < LEAST_FILES) {
            return wrong("allow less than 16 files");
        }
        if self.processes == Some(0) {
            return wrong("allow no process, not even the command itself");
        }
        Ok(ExecLimits {
            cpu_seconds: cpu.map(|cpu| cpu.millis().div_ceil(1_000)),
            memory_bytes,
            files: self.files,
            processes: self.processes,
        })
    }
}
