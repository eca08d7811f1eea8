#!/usr/bin/env python3
"""Keys that expire: what Redis makes of them, and what Duly does with the same commands.

Shops cancel an order when a key expires. Redis finds expired keys by looking at some of them now and
then, so that a few among many others are found late, and it tells only who listens in that moment.
Both are shown with Debian's redis-server, then Duly is asked the same. The table is printed; what Duly
promises is checked: every key is told, once, never early; with nobody there nothing is lost.

    redis_expiry.py DULY           Redis is waited for three seconds after the due time
    redis_expiry.py DULY 45        for so many
"""

import os
import signal
import subprocess
import sys
import time

from blackbox import Suite, free_port, instant, now_ms, until
from peers.resp import Resp

DUE, LATER, AWAY = 2_000, 200_000, 1_000
"""Keys that are due, keys that are not, and keys that are due while nobody listens."""
AT_ONCE = 5_000
"""Requests in one pipeline."""


def main():
    patience = float(sys.argv[2]) if len(sys.argv) > 2 else 3.0
    with Suite("redis_expiry", floor=4_000) as suite:
        redis = Redis(suite)
        told = among_many(redis.port, patience)
        away = unheard(redis.port, patience)
        redis.stop()
        table = [("redis-server", told, f"{away} of {AWAY}")]
        server = suite.server(
            redis=True, config="[journal]\nsegment_size = '4MiB'\n"
        )
        told = among_many(server.redis, 60.0)
        suite.equal(len(told), DUE, "Duly tells of every key")
        suite.equal(len({key for key, _ in told}), DUE, "and of each once")
        for key, late in told:
            suite.check(late >= 0, f"{key} was told {-late} ms early")
        leased = worker_returns(suite, server)
        table.append(("duly", told, f"{leased} of {AWAY}"))
        show(table, patience)


def show(table, patience):
    """Prints what came of it."""
    print(f"{DUE:,} keys due among {LATER:,} that are not; {AWAY:,} due while nobody is there")
    print(f"(redis-server was given {patience:.0f} s after the due time)")
    for name, told, away in table:
        late = sorted(late for _, late in told)
        at = (lambda share: f"{late[int((len(late) - 1) * share)]} ms") if late else lambda _: "-"
        print(f"{name:>14}: {len(late):>5} told, late p50 {at(0.5)}, p99 {at(0.99)}, max {at(1)}; "
              f"away: {away}", flush=True)


def among_many(port, patience):
    """Sets many keys that expire in an hour and some that expire soon; which of these were told,
    and how late in milliseconds."""
    told = []
    with Resp(port) as sets, Resp(port) as hears:
        sets.call("CONFIG", "SET", "notify-keyspace-events", "Ex")
        hears.call("SUBSCRIBE", "__keyevent@0__:expired")
        for start in range(0, LATER, AT_ONCE):
            sets.many([("SETEX", f"later:{n}", 3_600, "x") for n in range(start, start + AT_ONCE)])
        due = now_ms() + 3_000
        sets.many([("SET", f"soon:{n}", "x", "PXAT", due + n % 1_000) for n in range(DUE)])
        dues = {f"soon:{n}": due + n % 1_000 for n in range(DUE)}
        end = (due + 1_000) / 1_000 + patience
        while len(told) < DUE and (left := end - time.time()) > 0:
            hears.socket.settimeout(left)
            try:
                key = hears.answer()[2].decode()
            except TimeoutError:
                break
            told.append((key, now_ms() - dues[key]))
    return told


def unheard(port, patience):
    """Keys expire while nobody listens: how many are told to who comes back."""
    with Resp(port) as sets:
        sets.many([("PSETEX", f"away:{n}", 500, "x") for n in range(AWAY)])
        time.sleep(1.0)
        # Redis deletes a key that is looked at after its time.
        left = sum(sets.many([("EXISTS", f"away:{n}") for n in range(AWAY)]))
        assert left == 0, f"{left} keys are still there"
    told, end = 0, time.time() + min(patience, 3.0)
    with Resp(port) as hears:
        hears.call("SUBSCRIBE", "__keyevent@0__:expired")
        while (left := end - time.time()) > 0:
            hears.socket.settimeout(left)
            try:
                told += hears.answer()[2].startswith(b"away:")
            except TimeoutError:
                break
    return told


def worker_returns(suite, server):
    """The same with Duly, and a queue whose lapses workers take: all are there to be leased."""
    with server.client() as http, Resp(server.redis) as sets:
        http.queue("away", target="pull")
        answers = sets.many([("PSETEX", f"away:{n}", 500, "x") for n in range(AWAY)])
        suite.equal(answers.count("OK"), AWAY, "all are set")
        # Nobody is there when they expire, not even the server.
        server.kill()
        time.sleep(1.0)
        server.start(server.port, server.redis)
    keys = []
    with server.client() as http:
        while len(keys) < AWAY:
            reply = http.lease("away", max=100, wait="10s", lease="60s")
            if not suite.check(reply["deliveries"], f"the worker finds more than {len(keys)}"):
                break
            for delivery in reply["deliveries"]:
                keys.append(delivery["key"])
                suite.check(instant(delivery["lapsed_at"]) >= instant(delivery["due"]), "not early")
                done = http.verdict(delivery["id"], delivery["token"], "done")
                suite.equal(done.status, 200, f"a verdict: {done!r}")
        suite.equal(sorted(keys), sorted(str(n) for n in range(AWAY)), "each of them once")
        left = http.lease("away", max=1)
        suite.equal(left["deliveries"], [], "and nothing more")
    return len(keys)


class Redis:
    """Debian's redis-server, keeping its keys in memory, as it comes."""

    def __init__(self, suite):
        self.port = free_port()
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--dir", suite.directory, "--daemonize", "no"],
            stdout=subprocess.DEVNULL,
        )
        suite.to_stop.append(self)
        until(self.answers, "redis-server answers")

    def answers(self):
        """Whether it does."""
        try:
            with Resp(self.port) as client:
                return client.call("PING") == "PONG"
        except OSError:
            return False

    def stop(self):
        """Stops it, once."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        self.process.wait()


if __name__ == "__main__":
    main()
