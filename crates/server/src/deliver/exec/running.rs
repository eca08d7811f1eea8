//! One command at work: fed, listened to, and ended with everything it has started.
//!
//! It leads a process group of its own. The group is killed when its time is over, when it has ended and
//! left something behind, and when nobody waits for it any more; always before its leader is taken from
//! the system's table, so that the number of the group cannot be somebody else's yet. What it writes is
//! read to the end and all but the beginning is thrown away: a command that writes without end neither
//! blocks nor fills the memory.
//!
//! A process that makes itself a session of its own (`setsid`) leaves the group, as a service does
//! that is started on purpose; it is not followed.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, waitid, waitpgid,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

/// How long a command that was told to end may take to do so.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long what was written last may be on its way: nobody is left who could write more, unless it
/// has left the group.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How much of each output is kept, in bytes.
const KEPT: usize = 4 * 1024;
/// How much is read at a time, in bytes: as much as a pipe holds.
const READ: usize = 64 * 1024;
/// How often, and how many times, orphans are looked after that have fallen to us.
const ORPHANS: (Duration, u32) = (Duration::from_millis(10), 100);

/// How a command came to its end.
#[derive(Debug)]
pub(super) struct Ended {
    /// What the system says.
    pub(super) status: ExitStatus,
    /// Was it told to, because its time was over?
    pub(super) timed_out: bool,
    /// What it said first: on standard error, else on standard output.
    pub(super) words: String,
}

/// Starts a command, gives it `input`, and waits for its end.
pub(super) async fn run(command: Command, input: Vec<u8>, time: Duration) -> io::Result<Ended> {
    let (mut running, pipes) = Running::start(command)?;
    let (mut output, mut errors) = (Kept::new(pipes.output)?, Kept::new(pipes.errors)?);
    let talk = async {
        tokio::join!(feed(pipes.input, &input), output.hear(), errors.hear());
        // It may close everything and still go on.
        pending::<()>().await;
    };
    let timed_out = tokio::select! {
        timed_out = running.wait(time) => timed_out?,
        () = talk => unreachable!("it waits for ever"),
    };
    let status = running.reap().await?;
    let rest = async { tokio::join!(output.hear(), errors.hear()) };
    // Over time: whoever still writes there has left the group.
    timeout(LAST_WORDS, rest).await.map(drop).unwrap_or_default();
    let words = [errors, output].into_iter().map(|kept| kept.words());
    let words = words.into_iter().find(|words| !words.is_empty()).unwrap_or_default();
    Ok(Ended { status, timed_out, words })
}

/// The three pipes of a command.
struct Pipes {
    input: OwnedFd,
    output: OwnedFd,
    errors: OwnedFd,
}

/// A command and its group. Dropping it kills them.
struct Running {
    child: Child,
    group: Pid,
    /// Tells whenever some child has ended.
    news: tokio::signal::unix::Signal,
    is_over: bool,
}

impl Running {
    fn start(mut command: Command) -> io::Result<(Running, Pipes)> {
        // Listened for before there is anything to hear, so that no end is missed.
        let news = signal(SignalKind::child())?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = Pid::from_child(&child);
        let (input, output, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pipes = Pipes {
            input: input.expect("it was asked for").into(),
            output: output.expect("it was asked for").into(),
            errors: errors.expect("it was asked for").into(),
        };
        Ok((Running { child, group, news, is_over: false }, pipes))
    }

    /// Waits until the leader has ended; ends it when its time is over, first kindly. Says whether that
    /// was so.
    async fn wait(&mut self, time: Duration) -> io::Result<bool> {
        if let Ok(ended) = timeout(time, self.ended()).await {
            return ended.map(|()| false);
        }
        for signal in [Signal::TERM, Signal::KILL] {
            kill(self.group, signal);
            if let Ok(ended) = timeout(GOODBYE, self.ended()).await {
                return ended.map(|()| true);
            }
        }
        Err(io::Error::other("it took too long and cannot be killed"))
    }

    /// Waits until the leader has ended; it stays in the system's table.
    async fn ended(&mut self) -> io::Result<()> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while waitid(WaitId::Pid(self.group), look)?.is_none() {
            self.news.recv().await;
        }
        Ok(())
    }

    /// Kills what the leader has left behind and takes it from the system's table.
    async fn reap(&mut self) -> io::Result<ExitStatus> {
        kill(self.group, Signal::KILL);
        let status = self.child.wait()?;
        self.is_over = true;
        // Orphans fall to the first process of a container, which may be Duly.
        for _ in 0..ORPHANS.1 {
            match waitpgid(self.group, WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => sleep(ORPHANS.0).await,
                Err(_) => break,
            }
        }
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            kill(self.group, Signal::KILL);
            // Whether it has ended this very moment or ends soon: the process of ours does, too.
            self.child.try_wait().map(drop).unwrap_or_default();
        }
    }
}

/// A group that is gone needs no signal.
fn kill(group: Pid, signal: Signal) {
    kill_process_group(group, signal).unwrap_or_default();
}

/// Gives a command its input; one that does not want it may close it.
async fn feed(input: OwnedFd, bytes: &[u8]) {
    if let Ok(mut input) = pipe::Sender::from_owned_fd(input) {
        input.write_all(bytes).await.unwrap_or_default();
    }
}

/// The beginning of an output.
struct Kept {
    from: pipe::Receiver,
    bytes: Vec<u8>,
}

impl Kept {
    fn new(from: OwnedFd) -> io::Result<Kept> {
        Ok(Kept { from: pipe::Receiver::from_owned_fd(from)?, bytes: Vec::new() })
    }

    /// Reads until nobody can write any more.
    async fn hear(&mut self) {
        let mut buffer = vec![0; READ];
        while let Ok(read) = self.from.read(&mut buffer).await
            && read > 0
        {
            let room = KEPT - self.bytes.len();
            self.bytes.extend_from_slice(&buffer[..read.min(room)]);
        }
    }

    fn words(&self) -> String {
        String::from_utf8_lossy(&self.bytes).trim().to_owned()
    }
}

/// The signal that ended a process, if one did.
pub(super) fn killed_by(status: ExitStatus) -> Option<&'static str> {
    const NAMED: [(Signal, &str); 6] = [
        (Signal::KILL, "SIGKILL"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU, its limit of cpu time"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::SYS, "SIGSYS"),
    ];
    let number = status.signal()?;
    let known = NAMED.iter().find(|(signal, _)| signal.as_raw() == number);
    Some(known.map_or("a signal", |(_, name)| name))
}
