//! The last thing of Duly's that runs before a command does: `duly launch`, its own second program.
//!
//! A process can only bind itself for good (limits, a user, no new privileges) between its birth and
//! its program, and in Rust code there takes `unsafe`. So Duly starts *itself* instead, as a child
//! that has one thread, one purpose and nothing open, binds itself with ordinary safe calls, and
//! then becomes the command. It costs a second exec of a program that is in memory already, and it
//! needs `/proc`. It needs no other program, and there is no moment at which the command runs and its
//! limits do not hold yet, as there would be with limits set on it from outside.
//!
//! It never has a child of its own and never goes on after the command has begun.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::set_no_new_privs;
use serde::{Deserialize, Serialize};

/// Where the program that runs now can be found, also after its file was replaced: the launcher is
/// always of the same version as the server.
pub(super) const OURSELVES: &str = "/proc/self/exe";
/// The verb of the command line.
pub const LAUNCH: &str = "launch";
/// What the launcher's own complaints begin with.
pub(super) const COMPLAINT: &str = "duly: ";
/// Exit statuses for a command that was never run, as `env` and `nice` have them.
pub(super) const NOT_RUN: std::ops::RangeInclusive<u8> = 125..=127;

/// The descriptors a command gets: its input, output and errors.
const STANDARD: i32 = 2;

/// What a command is bound to.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Bonds {
    pub(super) cwd: PathBuf,
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) cpu_seconds: Option<u64>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) files: Option<u64>,
    pub(super) processes: Option<u64>,
}

/// Why a command was not run.
#[derive(Debug)]
pub struct Launched {
    /// What went wrong, for the server to hear on standard error.
    pub why: String,
    /// The exit status that says so.
    pub status: u8,
}

/// Becomes the command; comes back only if that fails.
pub fn launch(bonds: &str, argv: &[OsString]) -> Launched {
    let own = |why: String| Launched { why, status: 125 };
    let Ok(bonds) = serde_json::from_str::<Bonds>(bonds) else {
        return own("this is for the server's own use".to_owned());
    };
    let Some((program, arguments)) = argv.split_first() else {
        return own("there is nothing to run".to_owned());
    };
    if let Err(error) = bind(&bonds) {
        return own(format!("cannot be bound to its limits: {error}"));
    }
    let mut command = process::Command::new(program);
    command.args(arguments).current_dir(&bonds.cwd);
    if let Some(group) = bonds.group {
        command.gid(group);
    }
    if let Some(user) = bonds.user {
        // This also gives up the supplementary groups of root.
        command.uid(user);
    }
    let error = command.exec();
    let status = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Launched { why: format!("cannot be run: {error}"), status }
}

fn bind(bonds: &Bonds) -> io::Result<()> {
    close_inherited()?;
    set_no_new_privs(true)?;
    let limit = |resource, soft: u64, hard: u64| {
        setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })
    };
    // A dump would lay the payload and the environment into a file.
    limit(Resource::Core, 0, 0)?;
    if let Some(seconds) = bonds.cpu_seconds {
        // The signal of the soft limit says what happened; the hard one is for those who ignore it.
        limit(Resource::Cpu, seconds, seconds.saturating_add(1))?;
    }
    if let Some(files) = bonds.files {
        limit(Resource::Nofile, files, files)?;
    }
    if let Some(processes) = bonds.processes {
        limit(Resource::Nproc, processes, processes)?;
    }
    if let Some(bytes) = bonds.memory_bytes {
        limit(Resource::As, bytes, bytes)?;
    }
    Ok(())
}

/// Closes what is open beyond the standard three. Everything Duly opens closes itself; this is for what
/// it was itself started with.
fn close_inherited() -> io::Result<()> {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > STANDARD)
        .collect();
    for descriptor in open {
        // The one that listed them is gone already.
        nix::unistd::close(descriptor).unwrap_or_default();
    }
    Ok(())
}
