//! File systems of the attack's own: an image on a loop device whose power can be cut, and a small one
//! in memory that can be full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, bail};
use rustix::process::geteuid;

/// A file system of our own, mounted until it is dropped.
pub(super) struct Mount {
    point: PathBuf,
    /// The image, if it is on a loop device.
    image: Option<PathBuf>,
}

/// What becomes of the file system's own log when the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It still gets to the disk: names and lengths survive, data does not.
    LogSurvives,
    /// It is lost like everything else.
    LogLost,
}

impl Mount {
    /// An ext4 of this size on a loop device, empty.
    pub(super) fn image(folder: &Path, mebibytes: u64) -> anyhow::Result<Mount> {
        let (image, point) = (folder.join("disk.img"), folder.join("disk"));
        prepare(&point)?;
        let file = fs::File::create(&image).context("cannot make an image")?;
        file.set_len(mebibytes << 20).context("cannot make an image")?;
        command("mkfs.ext4", &["-q", "-F", text(&image)?])?;
        let mount = Mount { point, image: Some(image) };
        mount.mount()?;
        Ok(mount)
    }

    /// A file system of this size in memory, empty.
    pub(super) fn memory(folder: &Path, mebibytes: u64) -> anyhow::Result<Mount> {
        let point = folder.join("disk");
        prepare(&point)?;
        let size = format!("size={mebibytes}m");
        command("mount", &["-t", "tmpfs", "-o", &size, "duly-attack", text(&point)?])?;
        Ok(Mount { point, image: None })
    }

    /// Where it is.
    pub(super) fn point(&self) -> &Path {
        &self.point
    }

    /// Cuts the power: nothing reaches the disk any more.
    pub(super) fn cut(&self, cut: Cut) -> anyhow::Result<()> {
        // The request is the same for every file system that knows it; without `-f` the log is lost.
        let verb = match cut {
            Cut::LogSurvives => "shutdown -f",
            Cut::LogLost => "shutdown",
        };
        command("xfs_io", &["-x", "-c", verb, text(&self.point)?])
    }

    /// Power is back: what is on the disk is what there is.
    pub(super) fn power_up(&self) -> anyhow::Result<()> {
        command("umount", &[text(&self.point)?])?;
        self.mount()
    }

    fn mount(&self) -> anyhow::Result<()> {
        let image = self.image.as_deref().expect("only an image is mounted again");
        command("mount", &["-o", "loop", text(image)?, text(&self.point)?])
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Nobody can be told any more; a mount that stays is seen in the list of mounts.
        drop(Command::new("umount").arg("--lazy").arg(&self.point).output());
    }
}

fn prepare(point: &Path) -> anyhow::Result<()> {
    if !geteuid().is_root() {
        bail!("this attack mounts file systems of its own, which only root may: run it as root");
    }
    fs::create_dir_all(point).with_context(|| format!("cannot make {}", point.display()))
}

/// Runs a system's command that must succeed.
pub(super) fn command(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output();
    let package = match program {
        "xfs_io" => "xfsprogs",
        "mkfs.ext4" => "e2fsprogs",
        "strace" => "strace",
        _ => "mount",
    };
    let Output { status, stderr, .. } =
        output.with_context(|| format!("cannot run {program}; install the package {package}"))?;
    if !status.success() {
        let why = String::from_utf8_lossy(&stderr);
        bail!("{program} {}: {}", arguments.join(" "), why.trim());
    }
    Ok(())
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
