"""What every server has in common: a directory of its own, a free port, a process that is ended by its number."""

import http.client
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

from bench import machine

PATIENCE = 60.0
LOOK_EVERY = 0.002


def by_node(batch):
    """The works of a library for Node: by its own way of many at once, and fewer where it takes long."""
    return {
        "batch": {"connections": 4, "batch": batch},
        "paced": "its client is part of it, and not made for this generator",
        "pending": {"count": 100_000, "connections": 4, "batch": batch},
    }


class Rival:
    """One row of every table: a server, set up in one way.

    `works` has what is particular in a work: options for the generator, or a text that says why it is not
    done. `relaxed` is how much may be lost when the power fails; nothing, where it is empty.
    """

    name = ""
    label = ""
    relaxed = ""
    generator = ("load", "redis")
    works = {}
    most_rounds = 99
    memory = True
    """Whether its resident memory is what its deadlines need: a database's is what it was given."""

    def missing(self):
        """Why it cannot be measured, or nothing."""
        return ""

    def version(self):
        raise NotImplementedError

    def settings(self):
        """What was set, as a person would type it."""
        raise NotImplementedError

    def start(self, folder):
        """A server that answers, on an empty folder."""
        raise NotImplementedError


class Server:
    """A running server."""

    def __init__(self, folder, command, ready, user=None):
        self.folder, self.command, self.is_ready, self.user = pathlib.Path(folder), command, ready, user
        self.process = None
        self.seconds_to_ready = 0.0
        self.start()

    def start(self):
        """Starts it and waits until it answers."""
        with open(self.folder / "log", "ab") as log:
            begun = time.monotonic()
            self.process = subprocess.Popen(
                [str(word) for word in self.command], cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, user=self.user, start_new_session=True,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"})
        try:
            while not self.answers():
                if self.process.poll() is not None:
                    raise RuntimeError(f"it ended at its start: {self.last_words()}")
                if time.monotonic() - begun > PATIENCE:
                    raise RuntimeError(f"it was not ready in {PATIENCE:.0f} s: {self.last_words()}")
                time.sleep(LOOK_EVERY)
        except BaseException:
            self.kill()
            raise
        self.seconds_to_ready = time.monotonic() - begun

    def answers(self):
        try:
            return self.is_ready()
        except (OSError, EOFError, ValueError):
            return False

    def last_words(self):
        text = (self.folder / "log").read_text(errors="replace")
        return "; ".join(text.splitlines()[-5:])

    def kill(self):
        """As `kill -9` does, with everything it had started."""
        for number in machine.tree(self.process.pid) if self.process.poll() is None else ():
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def written(self):
        """What it has on the disk."""
        return machine.disk_bytes(self.folder)

    def journal(self):
        """What it wrote to a journal, where it tells."""
        return None

    def rested(self, most=20.0):
        """Its processor time when it has done what was left to do: hardly any in half a second."""
        end = time.monotonic() + most
        spent = machine.processor_seconds(self.process.pid)
        while time.monotonic() < end:
            time.sleep(0.5)
            now = machine.processor_seconds(self.process.pid)
            if now - spent <= 0.02:
                return now
            spent = now
        return spent


def conversation(port, *said, end=b"\r\n"):
    """Says something to a port of this machine and returns what comes back, up to `end`."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as one:
        one.sendall(b"".join(said))
        heard = b""
        while not heard.endswith(end):
            more = one.recv(1 << 16)
            if not more:
                raise EOFError(heard.decode(errors="replace"))
            heard += more
        return heard


def asked(port, path):
    """The status and the text of an answer over HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except http.client.HTTPException as error:
        raise EOFError(str(error)) from error
    finally:
        connection.close()


def free_port():
    """A port that nobody listens on, below those the system hands out by itself."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def found(*names):
    """The first of these programs that there is."""
    for name in names:
        places = sorted(pathlib.Path("/").glob(name.lstrip("/"))) if name.startswith("/") else [shutil.which(name)]
        for place in reversed(places):
            if place:
                return str(place)
    return None


def said(*command):
    """What a program says of itself."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
