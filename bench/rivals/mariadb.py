"""MariaDB with a table of orders, and a job that comes every second: what most shops do today."""

import getpass
import shutil
import subprocess

from bench.install import node_missing, node_version
from bench.rivals.server import Rival, Server, by_node, found, said

DAEMON = ("mariadbd", "/usr/sbin/mariadbd")
OPTIONS = ["--no-defaults", "--skip-networking", "--innodb-flush-log-at-trx-commit=1", "--skip-log-bin",
           "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M", "--max-connections=120",
           "--default-time-zone=+00:00"]


class MariaDB(Rival):
    name = "mariadb"
    label = "cron each second on MariaDB"
    generator = ("node", "mariadb")
    works = by_node(1000)
    most_rounds = 3
    memory = False

    def __init__(self, tools):
        self.tools = tools

    def missing(self):
        if not (found(*DAEMON) and found("mariadb-install-db")):
            return "no mariadbd (Debian: mariadb-server)"
        return node_missing(self.tools, "mysql2")

    def version(self):
        server = said(found(*DAEMON), "--version").split()[2].split("-")[0]
        return f"{server}, mysql2 {node_version(self.tools, 'mysql2')}"

    def settings(self):
        return " ".join(["mariadbd", *OPTIONS])

    def start(self, folder):
        user = getpass.getuser()
        made = self.tools.templates / "mariadb"
        if not made.exists():
            made.mkdir(parents=True)
            subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={made}", f"--user={user}",
                            "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-log-bin",
                            "--innodb-log-file-size=256M"],
                           check=True, capture_output=True)
        shutil.copytree(made, folder / "data")
        socket = folder / "s"
        command = [found(*DAEMON), *OPTIONS, f"--datadir={folder}/data", f"--socket={socket}",
                   f"--pid-file={folder}/pid", f"--user={user}"]
        asked = ["mariadb-admin", "--no-defaults", f"--socket={socket}", "-uroot", "ping"]
        server = Running(folder, command, lambda: subprocess.run(asked, capture_output=True).returncode == 0)
        server.socket, server.port = socket, 0
        server.rested(5.0)
        return server


class Running(Server):
    def pending(self):
        return int(said("mariadb", "--no-defaults", f"--socket={self.socket}", "-uroot", "-NBe",
                        "select count(*) from bench.orders"))
