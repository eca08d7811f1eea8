//! Where clients come: a port, a Unix socket, or both.
//!
//! A socket that an earlier process left behind is taken away; one that somebody answers on is not,
//! and neither is a file that is no socket. Who may connect is the file's mode.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, UnixListener};

use crate::config::Redis;

/// Clients that may wait to be let in.
const BACKLOG: i32 = 1_024;

/// Where clients come.
#[derive(Debug, Default)]
pub struct Listeners {
    pub(super) tcp: Option<TcpListener>,
    pub(super) unix: Option<UnixListener>,
    file: Option<File>,
}

/// A socket's file, which goes when nobody listens on it any longer.
#[derive(Debug)]
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        // Whoever starts next takes away what is left.
        fs::remove_file(&self.0).unwrap_or_default();
    }
}

impl Listeners {
    /// Takes the places that the operator names.
    pub async fn bind(redis: &Redis) -> anyhow::Result<Listeners> {
        let mut listeners = Listeners::default();
        if let Some(address) = redis.listen {
            let listener = TcpListener::bind(address).await;
            listeners.tcp = Some(listener.with_context(|| format!("cannot listen on {address}"))?);
        }
        if let Some(path) = &redis.unix {
            let cannot = || format!("cannot listen on {}", path.display());
            make_way(path).with_context(cannot)?;
            let socket = bound(path).with_context(cannot)?;
            listeners.file = Some(File(path.clone()));
            let mode = fs::Permissions::from_mode(redis.unix_mode);
            fs::set_permissions(path, mode).with_context(cannot)?;
            // Nobody could connect before, whatever the mode was.
            listeners.unix = Some(listening(socket).with_context(cannot)?);
        }
        Ok(listeners)
    }

    /// The address that was really taken.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|listener| listener.local_addr().ok())
    }
}

/// A socket with a name, on which nobody listens yet.
fn bound(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn listening(socket: OwnedFd) -> io::Result<UnixListener> {
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}

/// Takes away a socket that nobody listens on.
fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(there) if !there.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) => Err(error),
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        },
    }
}

/// So many clients as are wanted, unless the process may not open as many files: half of what it
/// may open stays for everything else.
pub(super) fn clients(wanted: u32) -> u32 {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = u32::try_from(files / 2).unwrap_or(u32::MAX);
    if most < wanted {
        tracing::warn!(
            wanted,
            clients = most,
            "the process may not open more files: raise its limit, or lower redis.connections"
        );
    }
    wanted.min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("duly-redis-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    }

    fn on(path: &Path) -> Redis {
        Redis { listen: None, unix: Some(path.to_owned()), unix_mode: 0o600, ..Redis::default() }
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_taken_away_and_one_in_use_is_not() {
        let folder = folder("socket");
        let path = folder.join("duly.sock");
        // Dropping a listener leaves its file, as a killed process does.
        drop(UnixListener::bind(&path).expect("it can be bound"));
        let listeners = Listeners::bind(&on(&path)).await.expect("it is taken away");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let taken = Listeners::bind(&on(&path)).await.expect_err("somebody answers there");
        let cause = taken.downcast_ref::<io::Error>().expect("it is the system's");
        assert_eq!(cause.kind(), io::ErrorKind::AddrInUse);
        drop(listeners);
        assert!(!path.exists());
        fs::remove_dir_all(folder).expect("it is the test's own");
    }

    #[tokio::test]
    async fn nobody_can_connect_before_the_mode_is_set() {
        let folder = folder("mode");
        let path = folder.join("duly.sock");
        let socket = bound(&path).expect("it can be bound");
        let early = std::os::unix::net::UnixStream::connect(&path);
        let refused = early.expect_err("nobody listens").kind();
        assert_eq!(refused, io::ErrorKind::ConnectionRefused);
        let listener = listening(socket).expect("it can listen");
        std::os::unix::net::UnixStream::connect(&path).expect("somebody listens");
        drop(listener);
        fs::remove_dir_all(folder).expect("it is the test's own");
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = folder("file");
        let path = folder.join("orders.db");
        fs::write(&path, "precious").expect("it can be written");
        let refused = Listeners::bind(&on(&path)).await.expect_err("it is no socket");
        let cause = refused.downcast_ref::<io::Error>().expect("it is the system's");
        assert_eq!(cause.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
        fs::remove_dir_all(folder).expect("it is the test's own");
    }
}
