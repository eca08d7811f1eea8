"""PostgreSQL under the two job queues for Node that people use with it: pg-boss and graphile-worker."""

import os
import pathlib
import shutil
import subprocess

from bench.install import node_missing, node_version
from bench.rivals.server import Rival, Server, by_node, found, free_port, said

PROGRAMS = "/usr/lib/postgresql/*/bin/"
OPTIONS = {"max_connections": "120", "listen_addresses": "''", "fsync": "on", "synchronous_commit": "on",
           "shared_buffers": "256MB", "max_wal_size": "4GB"}


class OnPostgres(Rival):
    """One of them; they differ in what node runs."""

    works = by_node(1000)
    most_rounds = 3
    memory = False

    def __init__(self, tools, name):
        self.tools, self.name, self.label = tools, name, f"{name} on PostgreSQL"
        self.generator = ("node", {"pg-boss": "pgboss", "graphile-worker": "graphile"}[name])

    def missing(self):
        if not found(PROGRAMS + "postgres"):
            return "no postgres (Debian: postgresql)"
        return node_missing(self.tools, self.name)

    def version(self):
        postgres = said(found(PROGRAMS + "postgres"), "--version").split()[2]
        return f"{node_version(self.tools, self.name)} on PostgreSQL {postgres}"

    def settings(self):
        return " ".join(["postgres", *(f"-c {name}={value}" for name, value in OPTIONS.items())])

    def start(self, folder):
        # It refuses to be root, whoever starts it; and the socket's path must be short.
        user = "postgres" if os.geteuid() == 0 else None
        socket = pathlib.Path("/tmp") / f"duly-bench-{os.getpid()}-{free_port()}"
        socket.mkdir(mode=0o755)
        made = self.tools.templates / "postgres"
        if not made.exists():
            made.mkdir(parents=True)
            own(made, user)
            subprocess.run([found(PROGRAMS + "initdb"), "-D", str(made), "-U", "postgres", "-A", "trust", "-N"],
                           check=True, capture_output=True, user=user, cwd="/")
        shutil.copytree(made, folder / "data")
        for place in (folder, socket):
            own(place, user)
        port = free_port()
        command = [found(PROGRAMS + "postgres"), "-D", folder / "data", "-p", port, "-k", socket]
        for name, value in OPTIONS.items():
            command += ["-c", f"{name}={value}".replace("''", "")]
        ready = [found(PROGRAMS + "pg_isready"), "-q", "-h", socket, "-p", str(port)]
        server = Running(folder, command, lambda: subprocess.run(ready).returncode == 0, user)
        server.port, server.socket = port, socket
        server.table = {"pg-boss": "pgboss.job", "graphile-worker": "graphile_worker._private_jobs"}[self.name]
        server.rested(5.0)
        return server


class Running(Server):
    def asked(self, question):
        return said(found(PROGRAMS + "psql", "psql"), "-h", str(self.socket), "-p", str(self.port), "-U", "postgres",
                    "-tAc", question)

    def pending(self):
        return int(self.asked(f"select count(*) from {self.table}"))

    def kill(self):
        super().kill()
        # A postmaster that is killed leaves its socket and its lock behind.
        for left in self.socket.glob(".s.PGSQL*") if hasattr(self, "socket") else ():
            left.unlink()

    def removed(self):
        shutil.rmtree(self.socket, ignore_errors=True)


def own(folder, user):
    """Gives a folder to a user, with all that is in it."""
    if user is None:
        return
    for place in (folder, *folder.rglob("*")):
        shutil.chown(place, user, user)
    folder.chmod(0o700 if (folder / "PG_VERSION").exists() else 0o755)
