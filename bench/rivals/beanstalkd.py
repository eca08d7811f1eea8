"""beanstalkd: a delay queue with a binlog. Delays are whole seconds, and a job has no name of ours."""

from bench.rivals.server import Rival, Server, conversation, found, free_port, said

NO_KEY = "by the number that it gave, for it has no keys"


class Beanstalkd(Rival):
    generator = ("load", "beanstalkd")
    # A worker that waits has its connection to itself, so it takes one at a time.
    works = {"lateness": {"lease": 1}}

    def __init__(self, tools, sync_ms=0):
        self.tools, self.sync_ms = tools, sync_ms
        self.relaxed = f"{sync_ms} ms" if sync_ms else ""
        self.name = f"beanstalkd-{sync_ms}" if sync_ms else "beanstalkd"
        self.label = f"beanstalkd -f {sync_ms}"
        if not sync_ms:
            # A million syncs would take minutes, and memory does not depend on them.
            self.works = {**self.works, "pending": "measured with -f 50: a sync for each takes too long"}

    def missing(self):
        return "" if found("beanstalkd", "/usr/bin/beanstalkd") else "no beanstalkd (Debian: beanstalkd)"

    def version(self):
        return said(found("beanstalkd", "/usr/bin/beanstalkd"), "-v").split()[-1]

    def settings(self):
        return f"beanstalkd -b DIRECTORY -f {self.sync_ms}; settles go {NO_KEY}"

    def start(self, folder):
        port = free_port()
        (folder / "binlog").mkdir(exist_ok=True)
        command = [found("beanstalkd", "/usr/bin/beanstalkd"), "-l", "127.0.0.1", "-p", port, "-b", folder / "binlog",
                   "-f", self.sync_ms]
        server = Running(folder, command, lambda: b"OK" in conversation(port, b"stats\r\n"))
        server.port = port
        return server


class Running(Server):
    def pending(self):
        lines = conversation(self.port, b"stats\r\n", end=b"\n\r\n").decode().splitlines()
        return int(next(line for line in lines if line.startswith("current-jobs-delayed")).split()[-1])
