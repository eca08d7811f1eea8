//! System calls that fail or take long, by way of `strace`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The calls by which anything is made to last.
const SYNCS: &str = "fdatasync,fsync";
/// The calls by which anything is written.
const WRITES: &str = "pwrite64,pwritev,write,writev";

/// What becomes of calls.
#[derive(Clone, Debug)]
pub(super) enum Calls {
    /// In each thread the sync of this number fails, and takes its time over it.
    FailingSync { nth: u64, error: &'static str, linger_ms: u64 },
    /// In each thread the write of this number to one of these files fails, and every later one.
    FailingWrites { nth: u64, error: &'static str, linger_ms: u64, files: Vec<PathBuf> },
    /// Each sync waits for so long before it begins.
    SlowSyncs { wait_ms: u64 },
}

/// Starts the server so; what was done to it is written to this file.
pub(super) fn through(calls: &Calls, log: &Path) -> Vec<String> {
    let (names, what, files) = match calls {
        Calls::FailingSync { nth, error, linger_ms } => {
            let what = format!("error={error}:when={nth}:delay_exit={}", linger_ms * 1_000);
            (SYNCS, what, &[][..])
        }
        Calls::FailingWrites { nth, error, linger_ms, files } => {
            let what = format!("error={error}:when={nth}+:delay_exit={}", linger_ms * 1_000);
            (WRITES, what, &files[..])
        }
        Calls::SlowSyncs { wait_ms } => {
            (SYNCS, format!("delay_enter={}", wait_ms * 1_000), &[][..])
        }
    };
    let line = [
        "strace".to_owned(),
        "--follow-forks".to_owned(),
        "--seccomp-bpf".to_owned(),
        "--quiet=all".to_owned(),
        "--decode-fds=path".to_owned(),
        "--absolute-timestamps=format:unix,precision:us".to_owned(),
        format!("--output={}", log.display()),
        format!("--trace={names}"),
        format!("--inject={names}:{what}"),
    ];
    let only = files.iter().map(|file| format!("--trace-path={}", file.display()));
    line.into_iter().chain(only).collect()
}

/// A call that was made to fail.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// When it was called, by the wall clock.
    pub(super) at_ms: u64,
    pub(super) file: PathBuf,
}

impl Failure {
    /// The journal's own, before which no answer leaves?
    pub(super) fn is_of_journal(&self) -> bool {
        self.file.extension().is_some_and(|extension| extension == "seg")
    }
}

/// The failures that this file tells of, the first one first.
pub(super) fn failures(log: &Path) -> Vec<Failure> {
    read(&fs::read_to_string(log).unwrap_or_default())
}

/// Lines as these, of which the last two are one call that others came in between:
///
/// ```text
/// 17 1795355680.093123 fdatasync(9</d/journal/01.seg>) = -1 EIO (…) (INJECTED) (DELAYED)
/// 18 1795355680.193123 fdatasync(9</d/journal/01.seg> <unfinished ...>
/// 18 1795355680.293123 <... fdatasync resumed>) = -1 EIO (…) (INJECTED) (DELAYED)
/// ```
fn read(text: &str) -> Vec<Failure> {
    let mut begun: HashMap<&str, Failure> = HashMap::new();
    let mut failures = Vec::new();
    for line in text.lines() {
        let Some(thread) = line.split_whitespace().next() else { continue };
        if let Some(call) = call(line) {
            begun.insert(thread, call);
        }
        if line.contains("(INJECTED)")
            && let Some(call) = begun.remove(thread)
        {
            failures.push(call);
        }
    }
    failures
}

/// When a line's call was made, and for which file; none if the line only tells of its end.
fn call(line: &str) -> Option<Failure> {
    let (seconds, micros) = line.split_whitespace().nth(1)?.split_once('.')?;
    let millis: u64 = micros.get(..3)?.parse().ok()?;
    let at_ms = seconds.parse::<u64>().ok()? * 1_000 + millis;
    let (_, rest) = line.split_once("</")?;
    let (file, _) = rest.split_once('>')?;
    Some(Failure { at_ms, file: Path::new("/").join(file) })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn failures_are_read_whole_or_in_two_pieces() {
        let log = "17  1795355680.093123 fdatasync(9</d/journal/01.seg>) = 0\n\
             18  1795355680.100123 fdatasync(9</d/journal/02.seg> <unfinished ...>\n\
             17  1795355680.123123 fsync(8</d/archive.db-wal>) = -1 EIO (I) (INJECTED) (DELAYED)\n\
             18  1795355680.200123 <... fdatasync resumed>) = -1 EIO (I) (INJECTED) (DELAYED)\n";
        let failures = read(log);
        let found: Vec<_> =
            failures.iter().map(|failure| (failure.at_ms, failure.is_of_journal())).collect();
        assert_eq!(found, [(1_795_355_680_123, false), (1_795_355_680_100, true)]);
    }
}
