#!/usr/bin/env python3
"""What is streamed is what happened: every event once, in order, whatever happens to reader or server.

Three readers follow more than 10,000 events while the server is killed twice and one of them breaks off and comes back
at random; a reader that never reads holds up nobody and is cut off; `duly tail` goes on by itself. Watch links: no forged
one is taken, a page hears of its own deadline alone, and the public listener serves nothing else.
"""

import base64
import json
import os
import queue
import random
import signal
import socket
import subprocess
import threading

from blackbox import Server, Suite, free_port, now_ms, rfc3339, until

EVENTS = 10_000
KEYS = 4_000
BATCH = 100
GONE = "events_gone"


class Reader:
    """Follows /v1/events in a thread of its own, over however many connections it takes."""

    def __init__(self, server, after=0, restless=False):
        self.server, self.place, self.restless = server, after, restless
        self.heard = []
        self.breaks = 0
        self.refused = set()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        while not self.over.is_set():
            try:
                self.listen()
            except (OSError, ValueError):
                # The server is away; it comes back, perhaps elsewhere.
                self.over.wait(0.02)

    def listen(self):
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=20) as stream:
            stream.sendall(
                f"GET /v1/events?after=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Last-Event-ID: {self.place}\r\nConnection: close\r\n\r\n".encode()
            )
            lines = stream.makefile("rb")
            status = lines.readline().split()
            if status and status[1] != b"200":
                self.refused.add(int(status[1]))
                if status[1] == b"410":
                    # More was told meanwhile and pushed that place out: there is a newer one.
                    answer = lines.read().partition(b"\r\n\r\n")[2]
                    self.place = int(json.loads(answer)["kept_after"])
                raise OSError("refused")
            left = random.randrange(1, 400) if self.restless else None
            name, data = None, None
            seq = self.place
            for line in lines:
                if self.over.is_set():
                    return
                field, _, said = line.decode().rstrip("\r\n").partition(": ")
                if field == "id":
                    seq = int(said)
                elif field == "event":
                    name = said
                elif field == "data":
                    data = said
                elif not field and data is not None:
                    self.heard.append((seq, name, data))
                    self.place, data = seq, None
                    if left is not None:
                        left -= 1
                        if left == 0:
                            self.breaks += 1
                            return

    def stop(self):
        self.over.set()


def main():
    with Suite("events", floor=4 * EVENTS) as suite:
        streamed(suite)
        too_late(suite)
        never_reads(suite)
        tail(suite)
        links(suite)
        public(suite)


def together(server, lines):
    """Sends operations until the server has answered them; repeating them changes nothing."""
    body = "\n".join(json.dumps(line) for line in lines).encode()
    while True:
        try:
            with server.client(timeout=10) as client:
                reply = client.ask("POST", "/v1/batch", body)
            if reply.status == 200:
                return
        except OSError:
            threading.Event().wait(0.02)
        except Exception as error:  # a connection that broke in the middle of an answer
            if "Remote" not in type(error).__name__ and "Incomplete" not in type(error).__name__:
                raise


def streamed(suite):
    """Readers, kills and a restless reader: all hear the same, and it is the truth."""
    server = suite.server("streamed")
    with server.client() as client:
        client.queue("orders", target="none")
    readers = [Reader(server), Reader(server), Reader(server, restless=True)]
    batches = [range(begin, begin + BATCH) for begin in range(0, KEYS, BATCH)]
    kills = sorted(random.sample(range(3, len(batches) - 3), 2))
    streamed_before = []

    later = rfc3339(now_ms() + 3_600_000)

    def produce():
        for number, keys in enumerate(batches):
            together(server, [
                {"op": "schedule", "queue": "orders", "key": f"k{key}", "after": "5s"} for key in keys
            ])
            together(server, [
                {"op": "extend", "queue": "orders", "key": f"k{key}", "due": later}
                for key in keys if key % 3 == 0
            ])
            together(server, [
                {"op": "settle", "queue": "orders", "key": f"k{key}", "outcome": "paid"}
                for key in keys if key % 3 < 2
            ])
            reached.put(number)
        done.set()

    reached, done = queue.Queue(), threading.Event()
    producer = threading.Thread(target=produce)
    producer.start()
    for kill in kills:
        while reached.get(timeout=60) < kill:
            pass
        server.kill()
        streamed_before.append([list(reader.heard) for reader in readers])
        server.start()
    producer.join(120)
    suite.check(done.is_set(), "everything was produced")

    def all_lapsed():
        with server.client() as client:
            figures = client.get("/v1/queues/orders/stats")["queue"]
        return figures["total"]["done"] >= sum(1 for key in range(KEYS) if key % 3 == 2)

    until(all_lapsed, "everything unpaid has lapsed")
    fresh = Reader(server)
    until(lambda: complete(fresh.heard), "a new reader hears all of it")
    last = fresh.heard[-1][0]
    for reader in readers:
        until(lambda: reader.place >= last, "every reader hears all of it")
        reader.stop()
    fresh.stop()
    print(f"{len(fresh.heard)} events, {readers[2].breaks} breaks, kills after batches {kills}")
    suite.check(readers[2].breaks > 10, "the restless reader broke off more than ten times")
    suite.check(len(fresh.heard) >= EVENTS, "there were enough events")
    for which, reader in enumerate(readers):
        same = suite.check(len(reader.heard) == len(fresh.heard), f"reader {which} heard as many")
        for one, other in zip(reader.heard, fresh.heard):
            if not suite.check(one == other, f"reader {which}: {one} is {other}") and not same:
                break
    for lists in streamed_before:
        for which, heard in enumerate(lists):
            suite.check(
                heard == fresh.heard[:len(heard)],
                f"what reader {which} had heard before a kill is the truth after it",
            )
    suite.check(
        all(one[0] < other[0] for one, other in zip(fresh.heard, fresh.heard[1:])), "ids grow"
    )
    lives(suite, server, fresh.heard)


def complete(heard):
    """Has every deadline come to its end?"""
    return sum(1 for _, name, _ in heard if name in ("settled", "done")) >= KEYS


def lives(suite, server, heard):
    """What was told of each deadline is its life, and the record says the same."""
    told = {}
    for seq, name, data in heard:
        event = json.loads(data)
        suite.check(event["what"] == name and event["seq"] == str(seq), f"{seq} names itself")
        told.setdefault(event["key"], []).append(name)
    suite.equal(len(told), KEYS, "deadlines that were told of")
    for number in range(KEYS):
        names = told.get(f"k{number}", [])
        due = ["scheduled"] + (["extended"] if number % 3 == 0 else [])
        ends = [due + ["settled"], due + ["lapsed", "done"]]
        suite.check(names in ends, f"k{number}: {names}")
    with server.client() as client:
        for number in random.sample(range(KEYS), 100):
            record = client.read("orders", f"k{number}")
            timeline = [event["what"] for event in record["timeline"]]
            suite.equal(told[f"k{number}"], timeline, f"the timeline of k{number}")


def too_late(suite):
    """Who comes too late hears that, and goes on from where it is kept."""
    server = suite.server("late", config="[events]\nkeep = '64KiB'\n")
    for begin in range(0, 2_000, BATCH):
        together(server, [
            {"op": "schedule", "queue": "orders", "key": f"k{key}", "after": "1h"}
            for key in range(begin, begin + BATCH)
        ])
    with server.client() as client:
        gone = client.get("/v1/events?after=1")
        suite.equal((gone.status, gone["code"]), (410, GONE), "an old place")
        ahead = client.get("/v1/events?after=99999999")
        suite.equal((ahead.status, ahead["code"]), (410, GONE), "a place of another life")
    reader = Reader(server, after=int(gone["kept_after"]))
    until(lambda: len(reader.heard) > 100, "it goes on from kept_after")
    suite.check(reader.refused <= {410}, "nothing but a place that is gone refuses it")
    reader.stop()


def never_reads(suite):
    """A reader that never reads slows nobody, and is cut off."""
    server = suite.server("stuck")
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect(("127.0.0.1", server.port))
    stuck.sendall(b"GET /v1/events?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    reader = Reader(server)
    for begin in range(0, EVENTS, BATCH):
        together(server, [
            {"op": "schedule", "queue": "orders", "key": f"k{key}", "after": "1h"}
            for key in range(begin, begin + BATCH)
        ])
    until(lambda: len(reader.heard) >= EVENTS, "the other reader hears all of it")
    suite.equal(len(reader.heard), EVENTS, "what the other reader heard")
    suite.work += len(reader.heard)
    reader.stop()
    # Its own side may never hear of it: it takes nothing any more.
    until(lambda: not connected(server.port, stuck.getsockname()[1]), "it is cut off", patience=120)
    suite.work += 1
    stuck.close()


def connected(port, peer):
    """Does the system know an open connection between these two ports of this machine?"""
    ends = [f"0100007F:{port:04X}", f"0100007F:{peer:04X}", "01"]
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(line.split()[1:4] == ends for line in table)


def tail(suite):
    """`duly tail` misses nothing while the server is killed and started again, and ends in order."""
    server = suite.server("tailed")
    url = f"http://127.0.0.1:{server.port}"
    out, beside = suite.path("tail.out"), suite.path("tail.err")
    with open(out, "wb") as file, open(beside, "wb") as log:
        process = subprocess.Popen(
            [suite.binary, "tail", "--json", "--queue", "orders", "--after", "0", "--url", url],
            stdout=file, stderr=log,
        )

    def said():
        with open(beside, encoding="utf-8") as log:
            return log.read()

    def lines():
        with open(out, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    for round_ in range(3):
        together(server, [
            {"op": "schedule", "queue": queue_, "key": f"{round_}-{key}", "after": "1h"}
            for key in range(200) for queue_ in ("orders", "other")
        ])
        if round_ < 2:
            until(lambda: len(lines()) > 200 * round_ + random.randrange(200), "some are printed")
            server.kill()
            until(lambda: said().count("waiting") > round_, "it says that the server is away")
            server.start(port=server.port)
            until(lambda: said().count("back") > round_, "it says that the server is back")
    until(lambda: len(lines()) >= 600, "all are printed")
    keys = [line["key"] for line in lines()]
    suite.equal(keys, [f"{r}-{k}" for r in range(3) for k in range(200)], "what was printed")
    process.send_signal(signal.SIGINT)
    suite.equal(process.wait(20), 0, f"it ends in order: {said()}")
    with server.client() as client:
        client.act("orders", "0-0", "settle", outcome="paid")
    with subprocess.Popen(
        [suite.binary, "tail", "--queue", "orders", "--key", "0-0", "--after", "0", "--url", url],
        stdout=subprocess.PIPE, text=True,
    ) as people:
        suite.check("scheduled   orders/0-0  due" in people.stdout.readline(), "scheduled, for people")
        suite.check("settled     orders/0-0  paid" in people.stdout.readline(), "settled, for people")
        people.send_signal(signal.SIGTERM)
    suite.equal(people.returncode, 0, "SIGTERM ends it in order")
    late = once(suite, "tail", "--after", "99999999", "--url", url)
    suite.check(late.returncode == 1 and GONE in late.stderr, f"a place of another life: {late}")
    printed = once(suite, "link", "orders", "0-0", "--show-outcome", "--url", url)
    link = printed.stdout.strip()
    suite.check(link.startswith(f"{url}/w/"), f"`duly link` prints an address: {printed}")
    with server.client() as client:
        seen = client.get(link[len(url):])
    suite.equal((seen["state"], seen["outcome"]), ("settled", "paid"), "what it shows")


def once(suite, *words):
    """Runs a command to its end."""
    line = [suite.binary, *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=20, check=False)


def links(suite):
    """No forged link is taken; the secret is nobody else's to read."""
    server = suite.server("linked")
    with server.client() as client:
        client.schedule("orders", "42", after="30m")
        made = client.ask("POST", "/v1/links", {"queue": "orders", "key": "42"})
        token = made["token"]
        suite.equal(client.get(f"/w/{token}")["state"], "pending", "a link that was made here")
        key = os.stat(os.path.join(server.data, "links.key"))
        suite.equal(key.st_mode & 0o777, 0o600, "the mode of links.key")
        bytes_ = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        forged = [token[:-1], token + "A", token[::-1], "", "A" * 44, token.upper(), "%00", "." * 44]
        for bit in range(len(bytes_) * 8):
            flipped = bytearray(bytes_)
            flipped[bit // 8] ^= 1 << (bit % 8)
            forged.append(base64.urlsafe_b64encode(flipped).decode().rstrip("="))
        for other in forged:
            for path in (f"/w/{other}", f"/w/{other}/events"):
                reply = client.get(path)
                good = reply.status == 404 and reply["code"] in ("unknown_link", "unknown_path")
                suite.check(good, f"{path}: {reply!r}")
        suite.equal(client.get(f"/w/{token}")["remaining_ms"] > 0, True, "and the good one still holds")
        client.schedule("orders", "42", after="30m", if_exists="replace")
        server.kill()
        server.start()
    with server.client() as client:
        suite.equal(client.get(f"/w/{token}")["state"], "pending", "a link after a kill")


def public(suite):
    """The public listener serves links and nothing else, whatever it is asked."""
    port = free_port()
    server = suite.server("public", args=("--public", f"0.0.0.0:{port}"))
    outside = Server(suite, "outside")
    outside.port = port
    with server.client() as client, outside.client() as stranger:
        client.schedule("orders", "42", after="30m")
        made = client.ask("POST", "/v1/links", {"queue": "orders", "key": "42"})
        seen = stranger.ask("GET", made["url"], headers={"Host": "watch.shop.example"})
        suite.equal((seen.status, seen["state"]), (200, "pending"), "a link at the public listener")
        suite.equal(stranger.get("/w/duly.js").status, 200, "the script")
        paths = client.get("/openapi.json").json["paths"]
        suite.check(len(paths) > 20, "the document has many calls")
        asked = ["/", "/openapi.json", "/docs/http", "/docs/errors", "/demo", "/metrics"]
        asked += [path for path in paths if not path.startswith("/w/")]
        for path in asked:
            real = path.replace("{queue}", "orders").replace("{key}", "42").replace("{id}", "x")
            for method in ("GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"):
                reply = stranger.ask(method, real, b"{}" if method in ("PUT", "POST") else None)
                suite.check(reply.status == 404, f"{method} {real}: {reply!r}")
        suite.equal(client.read("orders", "42")["state"], "pending", "nothing happened to it")


if __name__ == "__main__":
    main()
