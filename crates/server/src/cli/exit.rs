//! How a command ends: the few exit statuses there are, after `sysexits.h`.
//!
//! They are a public interface: scripts and service managers look at them. The list in the help and
//! in `docs/cli.md` is this one.

use std::io::ErrorKind;
use std::process::ExitCode;

use crate::run::{BadSetting, BadWatch};

/// An exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Done = 0,
    /// The server refused; the code says why.
    Refused = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The data directory is damaged, or of a newer version.
    Corrupt = 65,
    /// No answer from the server, or none that is Duly's.
    NoServer = 69,
    /// Something in the data directory cannot be created.
    CannotCreate = 73,
    /// The disk failed, or the output cannot be written.
    Io = 74,
    /// Somebody else has the data directory or the port.
    Taken = 75,
    /// The system does not permit it.
    NotPermitted = 77,
    /// The configuration is wrong.
    BadConfig = 78,
}

/// The list, as the help shows it.
pub(super) const HELP: &str = "Exit status:
   0  done
   1  the server refused: too late, settled otherwise, unknown, …
   2  the command line makes no sense
  65  the data directory is damaged, or was written by a newer version
  69  no answer from the server, or none that is Duly's
  73  something in the data directory cannot be created
  74  the disk failed, or the output cannot be written
  75  another process has the data directory or the port
  77  the system does not permit it
  78  the configuration is wrong";

impl Exit {
    /// The status for a server that could not go on.
    pub(super) fn of_fault(error: &anyhow::Error) -> Exit {
        for cause in error.chain() {
            if let Some(fault) = cause.downcast_ref::<duly_store::Error>() {
                match fault.exit_status() {
                    65 => return Exit::Corrupt,
                    75 => return Exit::Taken,
                    _ => {}
                }
            }
            if cause.is::<BadSetting>() || cause.is::<BadWatch>() {
                return Exit::BadConfig;
            }
            if let Some(fault) = cause.downcast_ref::<std::io::Error>() {
                return Exit::of_io(fault.kind());
            }
        }
        Exit::Io
    }

    /// What a person can do about a server that did not start or could not go on.
    pub(super) fn hint(self) -> Option<&'static str> {
        match self {
            Exit::Taken => {
                Some("is another `duly` running? --data, --http and --redis choose other places")
            }
            Exit::NotPermitted => Some("look at the owner and the mode of the directory"),
            Exit::CannotCreate => Some("--data names the directory to use"),
            Exit::BadConfig => Some("`duly config` prints every key with its meaning"),
            Exit::Corrupt => Some("nothing was changed; keep the directory as it is"),
            _ => None,
        }
    }

    fn of_io(kind: ErrorKind) -> Exit {
        match kind {
            ErrorKind::AddrInUse | ErrorKind::WouldBlock => Exit::Taken,
            ErrorKind::PermissionDenied => Exit::NotPermitted,
            ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::ReadOnlyFilesystem => Exit::CannotCreate,
            _ => Exit::Io,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_status_and_no_other() {
        let all = [
            Exit::Done,
            Exit::Refused,
            Exit::Usage,
            Exit::Corrupt,
            Exit::NoServer,
            Exit::CannotCreate,
            Exit::Io,
            Exit::Taken,
            Exit::NotPermitted,
            Exit::BadConfig,
        ];
        let listed: Vec<u8> = HELP
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().next().unwrap_or_default())
            .map(|number| number.parse().expect("each line begins with a status"))
            .collect();
        assert_eq!(listed, all.map(|exit| exit as u8));
    }

    #[test]
    fn faults_of_the_system_are_told_apart() {
        let fault = |kind| {
            let cause = std::io::Error::from(kind);
            Exit::of_fault(&anyhow::Error::from(cause).context("cannot listen on 127.0.0.1:7830"))
        };
        assert_eq!(fault(ErrorKind::AddrInUse), Exit::Taken);
        assert_eq!(fault(ErrorKind::PermissionDenied), Exit::NotPermitted);
        assert_eq!(fault(ErrorKind::NotADirectory), Exit::CannotCreate);
        assert_eq!(fault(ErrorKind::StorageFull), Exit::Io);
    }

    #[test]
    fn a_setting_found_wrong_after_the_start_is_a_wrong_configuration() {
        let mistake = BadSetting { key: "sql.x.steps[0]".to_owned(), why: "is wrong".to_owned() };
        assert_eq!(Exit::of_fault(&anyhow::Error::from(mistake)), Exit::BadConfig);
    }
}
