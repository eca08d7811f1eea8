"""What the black-box suites share: a server process, a client, a webhook receiver, and a count.

Each suite beside this file is a program that takes the path of the built binary, starts its own
servers on free loopback ports over directories of its own, and stops them by process id. It knows
Duly only from outside. It counts what it checked and fails below its floor, so that a suite that
did nothing cannot pass. Nothing here needs more than Python's standard library.
"""

import base64
import http.client
import http.server
import json
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone

SECRET = "whsec_" + base64.b64encode(b"a secret for the suites, 32 byte").decode()
"""What webhooks are signed with where the signature does not matter."""

PATIENCE = 60.0
"""How long a condition may take before it counts as never, in seconds."""


def now_ms():
    """The wall clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def instant(text):
    """RFC 3339 to milliseconds since 1970."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def rfc3339(ms):
    """Milliseconds since 1970 to RFC 3339."""
    at = datetime.fromtimestamp(ms // 1000, timezone.utc)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def free_port():
    """A loopback port that nobody listens on, below those the system hands out by itself."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def until(condition, what, patience=PATIENCE):
    """Waits until `condition()` gives something true, and returns that."""
    end = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience:.0f} s in vain: {what}")
        time.sleep(0.01)


class Suite:
    """One run of a suite: its directory, its processes, what it checked and what it found."""

    def __init__(self, name, floor):
        self.name, self.floor = name, floor
        self.work, self.faults = 0, []
        self.binary = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else None
        if not self.binary or not os.access(self.binary, os.X_OK):
            sys.exit(f"usage: {sys.argv[0]} PATH-OF-THE-BUILT-BINARY")
        self.directory = tempfile.mkdtemp(prefix=f"duly-{name}-")
        self.to_stop = []
        self.lock = threading.Lock()

    def check(self, good, what):
        """Counts one check; a failed one is told at once and fails the suite at its end."""
        with self.lock:
            self.work += 1
            if not good:
                self.faults.append(what)
                if len(self.faults) <= 20:
                    print(f"FAULT: {what}", flush=True)
        return bool(good)

    def equal(self, found, wanted, what):
        """Counts one comparison."""
        return self.check(found == wanted, f"{what}: {found!r}, not {wanted!r}")

    def path(self, name):
        """A path of its own for `name`."""
        return os.path.join(self.directory, name)

    def server(self, data="data", config=None, **how):
        """A running server."""
        file = None
        if config is not None:
            file = self.path(f"{data}.toml")
            with open(file, "w", encoding="utf-8") as out:
                out.write(config)
        server = Server(self, self.path(data), file, **how)
        self.to_stop.append(server)
        return server.start()

    def receiver(self, answer=None):
        """A running webhook receiver."""
        receiver = Receiver(answer)
        self.to_stop.append(receiver)
        return receiver

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for started in reversed(self.to_stop):
            started.stop()
        bad = kind is not None or self.faults or self.work < self.floor
        if bad:
            for started in self.to_stop:
                if isinstance(started, Server):
                    print(f"the end of {started.log}:\n{started.said()[-3000:]}")
            print(f"kept for a look: {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self.faults:
            print(f"{len(self.faults)} of {self.work} checks failed")
        print(f"suite {self.name}: work={self.work}, floor={self.floor}", flush=True)
        if kind is None and bad:
            sys.exit(1)
        return False


class Server:
    """One server process over one directory; may be killed and started again."""

    def __init__(self, suite, data, config=None, env=None, args=(), command="serve", wait=True,
                 redis=False):
        self.suite, self.data, self.config = suite, data, config
        self.env, self.args, self.command, self.wait = env or {}, list(args), command, wait
        self.log = f"{data}.log"
        self.process, self.port = None, None
        self.speaks_redis, self.redis = redis, None

    def start(self, port=None, redis=None):
        """Starts it on new ports, unless they are given, and waits until it says it is ready."""
        self.port = port or free_port()
        line = [self.suite.binary, self.command, "--data", self.data]
        line += ["--http", f"127.0.0.1:{self.port}"]
        if self.command == "serve":
            if self.speaks_redis:
                self.redis = redis or free_port()
            line += ["--redis", f"127.0.0.1:{self.redis}" if self.redis else "off"]
        if self.config:
            line += ["--config", self.config]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                line + self.args,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
                cwd=self.suite.directory,
            )
        if self.wait:
            until(self.ready, f"{' '.join(line)} is ready")
        return self

    def ready(self):
        """Whether it answers that it is ready."""
        if self.process.poll() is not None:
            raise AssertionError(
                f"the server ended with {self.process.returncode}:\n{self.said()[-3000:]}"
            )
        try:
            with self.client() as client:
                return client.get("/readyz").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def client(self, **how):
        """A client of its own connection."""
        return Client("127.0.0.1", self.port, **how)

    def kill(self):
        """SIGKILL: no goodbye."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def stop(self):
        """SIGTERM, and SIGKILL to one that does not listen."""
        if self.process is None or self.process.poll() is not None:
            return None if self.process is None else self.process.returncode
        os.kill(self.process.pid, signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            return self.kill()

    def said(self):
        """Everything it has written so far."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()


class Reply:
    """An answer: its status, its headers by lower-case name, its bytes, and its JSON if it has any."""

    def __init__(self, status, headers, raw):
        self.status, self.headers, self.raw = status, headers, raw
        self.kind = headers.get("content-type", "").split(";")[0].strip()
        self.json = None
        if raw and self.kind in ("application/json", "application/problem+json"):
            self.json = json.loads(raw)

    def __getitem__(self, name):
        return (self.json or {}).get(name)

    def __repr__(self):
        return f"{self.status} {self.kind} {self.raw[:400]!r}"


class Client:
    """A client with one kept connection. It never repeats a request by itself."""

    def __init__(self, host, port, timeout=PATIENCE):
        self.connection = http.client.HTTPConnection(host, port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None):
        """Sends one request; a body that is not bytes is sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            raw = answer.read()
        except BaseException:
            self.connection.close()
            raise
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, raw)

    def get(self, path):
        """GET."""
        return self.ask("GET", path)

    def queue(self, queue, **policy):
        """Sets a queue's policy, which must succeed."""
        reply = self.ask("PUT", f"/v1/queues/{queue}", policy)
        assert reply.status in (200, 201), f"PUT queue {queue}: {reply!r}"
        return reply

    def schedule(self, queue, key, **how):
        """Schedules a deadline."""
        return self.ask("PUT", f"/v1/queues/{queue}/deadlines/{key}", how)

    def read(self, queue, key):
        """Reads a record; only the record, or nothing if there is none."""
        reply = self.get(f"/v1/queues/{queue}/deadlines/{key}")
        return reply["deadline"] if reply.status == 200 else None

    def act(self, queue, key, verb, **how):
        """Settles, extends, freezes or revives."""
        return self.ask("POST", f"/v1/queues/{queue}/deadlines/{key}/{verb}", how)

    def lease(self, queue, **how):
        """Leases deliveries."""
        return self.ask("POST", f"/v1/queues/{queue}/lease", how)

    def verdict(self, delivery, token, verdict):
        """Says how a delivery went."""
        return self.ask(
            "POST", f"/v1/deliveries/{delivery}/verdict", {"token": token, "verdict": verdict}
        )

    def close(self):
        """Closes the connection."""
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Call:
    """One webhook request as it came in."""

    def __init__(self, path, headers, body, at):
        self.path, self.headers, self.body, self.at = path, headers, body, at
        self.json = json.loads(body)

    @property
    def data(self):
        """The lapse, of a request that carries one."""
        return self.json["data"]


class Receiver:
    """A webhook receiver. `answer(call)` gives (status, headers, body); without it all is done."""

    def __init__(self, answer=None):
        self.answer = answer or (lambda call: (200, {}, b"{}"))
        self.calls = []
        self.lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {k.lower(): v for k, v in self.headers.items()}
                call = Call(self.path, headers, body, now_ms())
                with receiver.lock:
                    receiver.calls.append(call)
                status, headers, body = receiver.answer(call)
                self.send_response(status)
                headers = {"Content-Type": "application/json", **headers}
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_):
                """A caller that was killed in the middle is part of the game."""

        self.server = Listener(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/lapsed"

    def target(self, **how):
        """A queue's target that leads here."""
        return {"webhook": {"url": self.url, "secrets": [SECRET], **how}}

    def seen(self):
        """The calls so far."""
        with self.lock:
            return list(self.calls)

    def stop(self):
        """Stops listening."""
        self.server.shutdown()
        self.server.server_close()


def in_parallel(count, work):
    """Runs `work(number)` in `count` threads; the first error of any of them is raised."""
    errors = queue.SimpleQueue()

    def guarded(number):
        try:
            work(number)
        except BaseException as error:
            errors.put(error)

    threads = [threading.Thread(target=guarded, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not errors.empty():
        raise errors.get()
