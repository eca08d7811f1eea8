"""redis-server: a sorted set of due times and a hash of payloads, changed together by Lua; and BullMQ on it."""

import shlex

from bench.install import node_missing, node_version
from bench.rivals.server import Rival, Server, by_node, conversation, found, free_port, said

FSYNC = {"always": "", "everysec": "a second"}


class Redis(Rival):
    generator = ("load", "redis")

    def __init__(self, tools, fsync="always"):
        self.tools, self.fsync = tools, fsync
        self.relaxed = FSYNC[fsync]
        self.name = "redis" if fsync == "always" else f"redis-{fsync}"
        self.label = f"Redis, appendfsync {fsync}"

    def missing(self):
        return "" if found("redis-server") else "no redis-server (Debian: redis-server)"

    def version(self):
        words = said("redis-server", "--version").split()
        return next(word for word in words if word.startswith("v=")).removeprefix("v=")

    def settings(self):
        return shlex.join(["redis-server", *self.options()])

    def options(self):
        # Nothing is written anew meanwhile, and there is no second copy.
        return ["--appendonly", "yes", "--appendfsync", self.fsync, "--save", "", "--auto-aof-rewrite-percentage", "0",
                "--bind", "127.0.0.1"]

    def start(self, folder):
        port = free_port()
        command = ["redis-server", "--port", port, "--dir", folder, *self.options()]
        server = Running(folder, command, lambda: conversation(port, b"PING\r\n") == b"+PONG\r\n")
        server.port = port
        return server


class Running(Server):
    def pending(self):
        return int(conversation(self.port, b"ZCARD {bench}:due\r\n").strip(b":\r\n"))

    def carried_out(self):
        for stat in conversation(self.port, b"INFO commandstats\r\n").decode().splitlines():
            if stat.startswith("cmdstat_setex:"):
                fields = dict(field.split("=") for field in stat.split(":")[1].split(","))
                return int(fields["calls"]) - int(fields["failed_calls"])
        return 0


class BullMQ(Redis):
    generator = ("node", "bullmq")
    works = by_node(500)
    most_rounds = 3

    def __init__(self, tools):
        super().__init__(tools)
        self.name, self.label = "bullmq", "BullMQ on Redis, appendfsync always"

    def missing(self):
        return super().missing() or node_missing(self.tools, "bullmq")

    def version(self):
        return f"{node_version(self.tools, 'bullmq')} on Redis {super().version()}"

    def start(self, folder):
        server = super().start(folder)
        server.pending = lambda: int(conversation(server.port, b"ZCARD bull:bench:delayed\r\n").strip(b":\r\n"))
        return server
