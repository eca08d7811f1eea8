"""Duly, with the settings it comes with, over both of its protocols."""

import json
import time

from bench.rivals.server import Rival, Server, asked, free_port, said

RESERVE = 6
"""Spare segments that its journal keeps: zeroing files would disturb what is measured."""


class Duly(Rival):
    """Common to both: the server is the same."""

    def __init__(self, tools):
        self.tools = tools

    def version(self):
        return said(self.tools.duly, "--version").split()[-1]

    def settings(self):
        return "duly serve"

    def start(self, folder):
        http_port, redis_port = free_port(), free_port()
        command = [self.tools.duly, "serve", "--data", folder / "data",
                   "--http", f"127.0.0.1:{http_port}", "--redis", f"127.0.0.1:{redis_port}"]
        server = Running(folder, command, lambda: asked(http_port, "/readyz")[0] == 200)
        server.http = http_port
        server.port = http_port if self.generator[1] == "duly-http" else redis_port
        # What it prepares for itself after its start is not part of any work.
        server.rested()
        return server


class Running(Server):
    """A running Duly."""

    def settled(self, most=60.0):
        """Waits until the archive has everything and the reserve is full."""
        end = time.monotonic() + most
        while time.monotonic() < end:
            ready = json.loads(asked(self.http, "/readyz")[1])
            if ready["archive_lag"] == 0 and ready["spare_segments"] >= RESERVE:
                return
            time.sleep(0.02)
        raise RuntimeError("it did not come to rest")

    def rested(self, most=60.0):
        self.settled(most)
        return super().rested(most)

    def pending(self):
        queues = json.loads(asked(self.http, "/v1/stats")[1])["queues"]
        # One makes the queue before the first of ours.
        return sum(queue["now"]["pending"] for queue in queues) - 1

    def carried_out(self):
        return json.loads(asked(self.http, "/v1/queues/orders/stats")[1])["queue"]["total"]["scheduled"]

    def journal(self):
        """Bytes written to the journal: its files are preallocated and say nothing."""
        for line in asked(self.http, "/metrics")[1].splitlines():
            if line.startswith("duly_journal_bytes_total "):
                return int(float(line.split()[1]))
        raise RuntimeError("no duly_journal_bytes_total in /metrics")

    def written(self):
        archive = sum(path.stat().st_blocks * 512 for path in (self.folder / "data").glob("archive*"))
        return self.journal() + archive


class DulyRedis(Duly):
    name = "duly-redis"
    label = "Duly, Redis protocol"
    generator = ("load", "duly-redis")


class DulyHttp(Duly):
    name = "duly-http"
    label = "Duly, HTTP"
    generator = ("load", "duly-http")
    works = {
        "batch": {"connections": 8, "depth": 1, "batch": 1000},
        "pending": "the same server as over the Redis protocol",
    }
