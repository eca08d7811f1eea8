//! A thread of the server, as the kernel shows it: how often it has slept, and whether somebody
//! holds it. It changes nothing.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use rustix::process::Pid;

/// One thread.
pub(super) struct Thread {
    pub(super) id: i32,
    status: PathBuf,
}

impl Thread {
    /// The thread of this name.
    pub(super) fn named(process: Pid, name: &str) -> anyhow::Result<Thread> {
        let folder = PathBuf::from(format!("/proc/{}/task", process.as_raw_nonzero()));
        let tasks = fs::read_dir(&folder).context("the server's threads cannot be listed")?;
        let found = tasks.filter_map(Result::ok).find(|task| {
            let known = fs::read_to_string(task.path().join("comm"));
            known.is_ok_and(|known| known.trim_end() == name)
        });
        let path = found.with_context(|| format!("the server has no thread {name}"))?.path();
        let id = path.file_name().and_then(|id| id.to_str()).and_then(|id| id.parse().ok());
        Ok(Thread { id: id.context("a thread has no number")?, status: path.join("status") })
    }

    /// How often it has gone to sleep by itself: once more after each time it was woken.
    pub(super) fn sleeps(&self) -> anyhow::Result<u64> {
        self.figure("voluntary_ctxt_switches:")
    }

    /// Does somebody trace it?
    pub(super) fn is_traced(&self) -> anyhow::Result<bool> {
        Ok(self.figure("TracerPid:")? > 0)
    }

    fn figure(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(&self.status).context("the server's thread is gone")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|value| value.trim().parse().ok());
        value.with_context(|| format!("the kernel says nothing about {name}"))
    }
}
