"""A shop that never sleeps: orders come at a steady pace, most are paid, the others are cancelled by workers.

Each order has so many seconds; seven of ten are paid in a quarter of that, and the rest fall due and are
handed to two workers. So after the first seconds as many come as go: memory, the archive's lag and
lateness ought to stay where they are, and only the archive grows. It ends with an error if an order is
cancelled early, although it was paid, twice, or never.
"""

import argparse
import json
import pathlib
import shutil
import socket
import tempfile
import threading
import time

from bench import machine
from bench.rivals.duly import DulyRedis
from bench.rivals.server import asked

SECONDS = 20
"""So long after it was placed an order is due."""
PAYLOAD = json.dumps({"items": ["x" * 20] * 8})
TICK = 0.05
"""Orders are placed and paid so often, some at a time, in seconds."""
PATIENCE = 60.0


class Redis:
    """A connection over the Redis protocol: requests in, replies out, as many under way as one likes."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.socket.makefile("rb")

    def ask(self, requests):
        """The replies to several requests, sent together."""
        self.socket.sendall(b"".join(map(written, requests)))
        return [self.reply() for _ in requests]

    def reply(self):
        line = self.lines.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"+":
            return rest.decode()
        number = int(rest)
        if kind == b":" or number < 0:
            return number if kind == b":" else None
        if kind == b"$":
            return self.lines.read(number + 2)[:-2].decode()
        return [self.reply() for _ in range(number)]


def written(words):
    """A request as it is sent."""
    words = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def named(reply):
    """The fields of a reply: names and values take turns."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


class Shop:
    """What was promised and what came of it."""

    def __init__(self, port, rate):
        self.port, self.rate = port, rate
        self.lock = threading.Lock()
        self.stops, self.is_empty = threading.Event(), threading.Event()
        self.placed = self.paid = self.cancelled = 0
        self.unpaid, self.late, self.faults = {}, [], []

    def guarded(self, work):
        """Does it; whatever ends it is a fault."""
        try:
            work()
        except Exception as error:
            self.faults.append(f"{work.__name__}: {error!r}")

    def sell(self):
        """Places orders, and pays those that are to be paid when a quarter of their time is over."""
        redis, number, paying = Redis(self.port), 0, []
        each, turn = max(1, round(self.rate * TICK)), time.monotonic()
        while not self.stops.is_set() or paying:
            now = time.time_ns() // 1_000_000
            if not self.stops.is_set():
                due = now + SECONDS * 1_000
                fresh = range(number, number + each)
                number += each
                with self.lock:
                    self.unpaid.update((str(one), due) for one in fresh if one % 10 >= 7)
                replies = redis.ask([("SET", f"orders:{one}", PAYLOAD, "PXAT", due) for one in fresh])
                self.faults += [f"an order was answered with {reply}" for reply in replies if reply != "OK"]
                self.placed += each
                paying.append((now + SECONDS * 250, [one for one in fresh if one % 10 < 7]))
            while paying and paying[0][0] <= now:
                paid = paying.pop(0)[1]
                replies = redis.ask([("DEL", f"orders:{one}") for one in paid])
                self.faults += [f"a payment was answered with {reply}" for reply in replies if reply != 1]
                self.paid += len(paid)
            turn += TICK
            time.sleep(max(0.0, turn - time.monotonic()))
        self.is_empty.set()

    def cancel(self):
        """Takes what has lapsed and says that it is done."""
        redis, end = Redis(self.port), None
        while end is None or time.monotonic() < end and self.unpaid:
            if end is None and self.is_empty.is_set():
                end = time.monotonic() + SECONDS + PATIENCE
            leased = named(redis.ask([("DULY.LEASE", "orders", "MAX", 100, "WAIT", "1s")])[0])
            now = time.time_ns() // 1_000_000
            handed = [named(one) for one in leased["deliveries"]]
            with self.lock:
                for one in handed:
                    due = self.unpaid.pop(one["key"], None)
                    if due is None:
                        self.faults.append(f"order {one['key']} was paid, or cancelled before")
                    elif now < due:
                        self.faults.append(f"order {one['key']} was cancelled {due - now} ms early")
                    else:
                        self.late.append(now - due)
            if handed:
                redis.ask([("DULY.VERDICT", one["id"], one["token"], "done") for one in handed])
                with self.lock:
                    self.cancelled += len(handed)

    def look(self):
        """What was cancelled since the last look: how many, and how late, in ms."""
        with self.lock:
            late, self.late = sorted(self.late), []
        part = lambda share: late[min(len(late) - 1, int(len(late) * share))] if late else None
        return {"cancelled": len(late), "p50_ms": part(0.5), "p99_ms": part(0.99), "worst_ms": late[-1] if late else None}


def row(shop, server, folder, spent):
    """How everything is at this moment."""
    ready = json.loads(asked(server.http, "/readyz")[1])
    archive = sum(path.stat().st_size for path in (folder / "data").glob("archive*"))
    return {
        "minute": spent // 60, **shop.look(), "placed": shop.placed, "paid": shop.paid,
        "memory_mib": round(machine.resident_bytes(server.process.pid) / 2**20, 1),
        "archive_lag": ready["archive_lag"], "archive_mib": round(archive / 2**20, 1),
        "journal_mib": round(server.journal() / 2**20, 1),
        "processor_seconds": round(machine.processor_seconds(server.process.pid), 1),
        "machine_load": machine.load(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--duly", type=lambda path: pathlib.Path(path).resolve(), required=True, help="the server's binary")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=int, default=2_000, help="orders a second")
    parser.add_argument("--on", default="/var/tmp", help="a directory of the disk")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="duly-soak-", dir=options.on))
    server = DulyRedis(options).start(folder)
    try:
        Redis(server.port).ask([("DULY.QUEUE", "PUT", "orders", json.dumps({"target": "pull"}))])
        shop = Shop(server.port, options.rate)
        work = [threading.Thread(target=shop.guarded, args=[target], daemon=True)
                for target in (shop.sell, shop.cancel, shop.cancel)]
        for thread in work:
            thread.start()
        begun, minute = time.monotonic(), 60.0
        while minute <= options.minutes * 60 and all(thread.is_alive() for thread in work):
            time.sleep(max(0.0, begun + minute - time.monotonic()))
            print(json.dumps(row(shop, server, folder, int(minute))), flush=True)
            minute += 60.0
        shop.stops.set()
        for thread in work:
            thread.join(SECONDS + 2 * PATIENCE)
        if any(thread.is_alive() for thread in work) or not shop.is_empty.is_set():
            shop.faults.append("the shop or a worker did not come to its end")
        shop.faults += [f"order {number} was never cancelled" for number in shop.unpaid]
        if shop.paid + shop.cancelled != shop.placed:
            shop.faults.append(f"{shop.placed} orders, but {shop.paid} paid and {shop.cancelled} cancelled")
        print(json.dumps({"placed": shop.placed, "paid": shop.paid, "cancelled": shop.cancelled,
                          "faults": len(shop.faults), "first_faults": shop.faults[:5]}))
        raise SystemExit(1 if shop.faults else 0)
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
