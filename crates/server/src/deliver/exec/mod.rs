//! Commands of the operator's: a script that acts on a lapse.
//!
//! What may be run is named in the operator's configuration and nowhere else; a queue's policy only
//! names it. A command is given its arguments as they are, never through a shell, and the lapse as JSON
//! on its standard input; its exit status is the verdict. `template` makes the arguments, `running` looks
//! after the process, `launch` is what the process does before it becomes the command.

mod launch;
mod running;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process;
use std::time::Duration;

use duly_engine::command::Verdict;
use duly_engine::time::Span;
use nix::unistd::{Group, User, geteuid};

use self::launch::{Bonds, COMPLAINT, NOT_RUN, OURSELVES};
pub use self::launch::{LAUNCH, Launched, launch};
use self::running::{Ended, killed_by};
use self::template::{BadEntry, Call};
use super::failure::{dead, retry};
use super::{BadSetting, Delivery, body};
use crate::config::ExecAction;
use crate::units::show_instant;

/// Where programs are looked for by a command that has no `PATH` of its own.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Exit statuses with a meaning; every other one is a retry.
const DONE: i32 = 0;
const SUPERSEDED: i32 = 99;

/// A checked command.
#[derive(Debug)]
struct Action {
    call: Call,
    /// As the launcher is told.
    bonds: String,
    env: BTreeMap<String, String>,
    timeout: Span,
}

/// All commands.
#[derive(Debug)]
pub(super) struct Commands {
    actions: BTreeMap<String, Action>,
}

impl Commands {
    /// Finds users and groups, and looks whether the programs are there. One that is not there yet is no
    /// error: its deliveries are retried.
    pub(super) fn start(settings: &BTreeMap<String, ExecAction>) -> Result<Commands, BadSetting> {
        let mut actions = BTreeMap::new();
        for (name, action) in settings {
            let call = read(name, action)?;
            let bonds = bonds(name, action)?;
            if let Some(why) = hindrance(Path::new(&call.program)) {
                let setting = format!("exec.{name}.argv[0]");
                tracing::warn!(
                    setting,
                    why,
                    "the command cannot be run; its deliveries are retried"
                );
            }
            if geteuid().is_root() && action.user.is_none() {
                let setting = format!("exec.{name}.user");
                tracing::warn!(setting, "names nobody: the command is run as root");
            }
            let bonds = serde_json::to_string(&bonds).expect("names and numbers are always JSON");
            let (env, timeout) = (action.env.clone(), action.timeout);
            actions.insert(name.clone(), Action { call, bonds, env, timeout });
        }
        Ok(Commands { actions })
    }

    /// Runs the named command for each lapse; one verdict each, in their order.
    pub(super) async fn attempt(&self, name: &str, deliveries: &[Delivery]) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            verdicts.push(match self.actions.get(name) {
                Some(action) => action.run(name, delivery).await,
                None => retry(&format!("unknown_command: there is no [exec.{name}]")),
            });
        }
        verdicts
    }
}

impl Action {
    async fn run(&self, name: &str, delivery: &Delivery) -> Verdict {
        let arguments = match self.call.arguments(delivery) {
            Ok(arguments) => arguments,
            Err((index, why)) => {
                return dead(&format!("argument: exec.{name}.argv[{index}] {why}"));
            }
        };
        let mut command = process::Command::new(OURSELVES);
        command.arg0("duly").args([LAUNCH, &self.bonds, "--", &self.call.program]).args(arguments);
        command.env_clear().env("PATH", PATH).envs(&self.env).envs(ours(delivery));
        let time = Duration::from_millis(self.timeout.millis());
        match running::run(command, body::single(delivery), time).await {
            Ok(ended) => {
                if !ended.words.is_empty() {
                    let delivery = delivery.leased.id.to_string();
                    tracing::debug!(command = name, delivery, words = ended.words, "it said");
                }
                verdict(name, &ended, self.timeout)
            }
            Err(error) => retry(&format!("cannot_run: {name}: {error}")),
        }
    }
}

/// What every command finds in its environment.
fn ours(delivery: &Delivery) -> [(&'static str, String); 6] {
    let leased = &delivery.leased;
    [
        ("DULY_DELIVERY_ID", leased.id.to_string()),
        ("DULY_QUEUE", leased.queue.as_str().to_owned()),
        ("DULY_KEY", leased.key.as_str().to_owned()),
        ("DULY_ATTEMPT", leased.attempt.to_string()),
        ("DULY_DUE", show_instant(leased.due)),
        ("DULY_LAPSED_AT", show_instant(leased.lapsed_at)),
    ]
}

/// What the end of a command means.
fn verdict(name: &str, ended: &Ended, timeout: Span) -> Verdict {
    let said = |what: String| match ended.words.as_str() {
        "" => retry(&what),
        words => retry(&format!("{what}: {words}")),
    };
    if ended.timed_out {
        // Also when it then ended with 0: told to stop, it may have acted or not.
        return said(format!("timeout: {name} took longer than {timeout}"));
    }
    match (ended.status.code(), killed_by(ended.status)) {
        (Some(DONE), _) => Verdict::Done,
        (Some(SUPERSEDED), _) => Verdict::Superseded,
        (Some(code), _) => match ended.words.strip_prefix(COMPLAINT) {
            Some(why) if u8::try_from(code).is_ok_and(|code| NOT_RUN.contains(&code)) => {
                retry(&format!("cannot_run: {name} {why}"))
            }
            _ => said(format!("exit: {name} ended with {code}")),
        },
        (None, by) => said(format!("killed: {name} by {}", by.unwrap_or("nobody knows what"))),
    }
}

/// Reads every command; starts nothing.
pub(super) fn check(settings: &BTreeMap<String, ExecAction>) -> Result<(), BadSetting> {
    settings.iter().try_for_each(|(name, action)| read(name, action).map(drop))
}

/// Why this cannot be run by whoever may run it.
pub fn hindrance(program: &Path) -> Option<String> {
    match fs::metadata(program) {
        Err(error) => Some(error.to_string()),
        Ok(found) if !found.is_file() => Some("it is not a file".to_owned()),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            Some("it is not executable".to_owned())
        }
        Ok(_) => None,
    }
}

fn read(name: &str, action: &ExecAction) -> Result<Call, BadSetting> {
    Call::parse(&action.argv).map_err(|(index, why): BadEntry| BadSetting {
        key: format!("exec.{name}.argv[{index}]"),
        why,
    })
}

/// What a command is bound to, with its user and group as numbers.
fn bonds(name: &str, action: &ExecAction) -> Result<Bonds, BadSetting> {
    let bad = |key: &str, why: String| BadSetting { key: format!("exec.{name}.{key}"), why };
    let changed = [("user", &action.user), ("group", &action.group)];
    if let Some((key, _)) = changed.iter().find(|(_, named)| named.is_some())
        && !geteuid().is_root()
    {
        return Err(bad(key, "can only be another one while Duly itself runs as root".to_owned()));
    }
    let found = |key: &str, what: &str, error: Option<nix::Error>| match error {
        Some(error) => bad(key, format!("{what:?} cannot be looked up: {error}")),
        None => bad(key, format!("the system does not know {what:?}")),
    };
    let user = match &action.user {
        None => None,
        Some(user) => match User::from_name(user) {
            Ok(Some(known)) => Some(known),
            Ok(None) => return Err(found("user", user, None)),
            Err(error) => return Err(found("user", user, Some(error))),
        },
    };
    let group = match &action.group {
        None => user.as_ref().map(|user| user.gid),
        Some(group) => match Group::from_name(group) {
            Ok(Some(known)) => Some(known.gid),
            Ok(None) => return Err(found("group", group, None)),
            Err(error) => return Err(found("group", group, Some(error))),
        },
    };
    let limits = action.limits;
    let is_root = user.as_ref().map_or_else(|| geteuid().is_root(), |user| user.uid.is_root());
    if limits.processes.is_some() && is_root {
        let why = "of processes bind nobody who is root; name a user".to_owned();
        return Err(bad("limits", why));
    }
    Ok(Bonds {
        cwd: action.cwd.clone(),
        user: user.map(|user| user.uid.as_raw()),
        group: group.map(nix::unistd::Gid::as_raw),
        cpu_seconds: limits.cpu_seconds,
        memory_bytes: limits.memory_bytes,
        files: limits.files,
        processes: limits.processes,
    })
}
