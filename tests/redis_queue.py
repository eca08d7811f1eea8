#!/usr/bin/env python3
"""The delay queue that everybody writes over a sorted set, with its usual loop, and a server that is
killed in the middle.

Producers ZADD members with the time at which they are due. Four workers poll: ZRANGEBYSCORE up to now,
ZREM each, and whoever is answered 1 has it; a fifth waits with BZPOPMIN. Meanwhile members are moved,
and some are removed before their time. The server is killed with SIGKILL again and again and comes back
over the same directory. In the end nobody had a member that another had, none was had too early, and
none is lost: whoever was told nothing, because the server was killed before it could answer, may have
had it and may not, and nobody else had it then.

The workers are redis-py's, as they are; the loop is the one of a hundred blog posts.
"""

import collections
import random
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from blackbox import Suite, in_parallel, until

MEMBERS = 4_000
WORKERS = 4
KILLS = 4
AHEAD = (0.5, 12.0)
"""How far ahead members are due, in seconds."""
QUEUE = "mails"
TOGETHER = 500
"""Members that are added, moved and claimed in one pipeline."""
NEVER = Retry(NoBackoff(), 0)


class Ledger:
    """Who claimed what, and who asked for what and was told nothing."""

    def __init__(self):
        self.lock = threading.Lock()
        self.claimed = collections.defaultdict(list)
        self.untold = collections.defaultdict(list)
        self.due = {}
        self.waits_cut_off = 0

    def claim(self, member, by):
        """`by` was told that it has it."""
        with self.lock:
            self.claimed[member].append((by, time.time()))

    def unknown(self, member, by):
        """`by` asked for it and was told nothing."""
        with self.lock:
            self.untold[member].append(by)


def main():
    with Suite("redis_queue", floor=3 * MEMBERS) as suite:
        server = suite.server(redis=True, config="[journal]\nsegment_size = '1MiB'\n")
        ledger, over = Ledger(), threading.Event()
        schedule(server, ledger)
        workers = [lambda at=at: poll(server, ledger, over, at) for at in range(WORKERS)]
        workers += [lambda: wait(server, ledger, over), lambda: customers(server, ledger, over)]
        threads = threading.Thread(target=in_parallel, args=(len(workers), lambda at: workers[at]()))
        threads.start()
        for _ in range(KILLS):
            time.sleep(2.5)
            server.kill()
            server.start(server.port, server.redis)
        # What was claimed when the server was killed, and nobody told, comes back after a while.
        until(lambda: left(server) == 0, "nothing is left in the queue")
        with connection(server) as client:
            suite.equal(client.zcard(QUEUE), 0, "ZCARD")
            suite.equal(client.zcount(QUEUE, 0, "(" + str(time.time() + 60)), 0, "ZCOUNT")
            suite.equal(client.zrange(QUEUE, "-inf", "+inf", byscore=True), [], "ZRANGE")
        together(suite, server)
        over.set()
        threads.join(60)
        suite.check(not threads.is_alive(), "all workers have ended")
        judge(suite, server, ledger)


def connection(server):
    """A client that does not repeat anything by itself: a repeated ZREM is answered 0."""
    return redis.Redis(port=server.redis, decode_responses=True, retry=NEVER, socket_timeout=30)


def left(server):
    """How many members are in the queue or in somebody's hands."""
    with server.client() as http:
        now = http.get(f"/v1/queues/{QUEUE}/stats")["queue"]["now"]
    return now["pending"] + now["ready"] + now["leased"] + now["dead"]


def schedule(server, ledger):
    """Members with their times; those that are added twice are where they were put last."""
    dice = random.Random(1)
    begin = time.time()
    with connection(server) as client:
        for first in range(0, MEMBERS, 500):
            batch = {f"m{n}": round(begin + dice.uniform(*AHEAD), 3) for n in range(first, first + 500)}
            assert client.zadd(QUEUE, batch) == 500, "all of them are new"
            assert client.zadd(QUEUE, batch) == 0, "none of them is new"
            moved = {member: batch[member] + 1 for member in list(batch)[:20]}
            assert client.zadd(QUEUE, moved, gt=True, ch=True) == 20, "all of these are moved"
            ledger.due.update({**batch, **moved})


def poll(server, ledger, over, name):
    """The loop."""
    with connection(server) as client:
        while not over.is_set():
            try:
                due = client.zrangebyscore(QUEUE, 0, time.time(), start=0, num=20)
            except redis.RedisError:
                time.sleep(0.02)
                continue
            if not due:
                time.sleep(0.01)
            for member in due:
                take(client, ledger, member, name)


def take(client, ledger, member, name):
    """Who is answered 1 has it."""
    try:
        if client.zrem(QUEUE, member) == 1:
            ledger.claim(member, name)
    except redis.RedisError:
        ledger.unknown(member, name)
        time.sleep(0.02)


def wait(server, ledger, over):
    """A worker that waits instead of polling."""
    with connection(server) as client:
        while not over.is_set():
            try:
                found = client.bzpopmin(QUEUE, timeout=0.3)
            except redis.RedisError:
                # It may have been given something and not been told what.
                ledger.waits_cut_off += 1
                time.sleep(0.02)
                continue
            if found:
                ledger.claim(found[1], "pop")
                time.sleep(0.01)


def customers(server, ledger, over):
    """Some members are not needed any more, and are removed before their time or too late for it."""
    dice = random.Random(2)
    members = dice.sample(range(MEMBERS), MEMBERS // 8)
    with connection(server) as client:
        while members and not over.is_set():
            take(client, ledger, f"m{members.pop()}", "customer")
            time.sleep(0.005)


def together(suite, server):
    """What is added, moved and claimed in one pipeline is on the disk in few commits."""
    due = time.time() + 600
    with connection(server) as client:
        before = syncs(server)
        pipe = client.pipeline(transaction=False)
        for later in (0, 60):
            for n in range(TOGETHER):
                pipe.zadd("together", {f"m{n}": due + later})
        for n in range(TOGETHER):
            pipe.zrem("together", f"m{n}")
        replies = pipe.execute()
        commits = syncs(server) - before
        suite.equal(client.zcard("together"), 0, "all of them are claimed")
    suite.equal(replies, [1] * TOGETHER + [0] * TOGETHER + [1] * TOGETHER, "added, moved, claimed")
    suite.check(commits <= TOGETHER // 10, f"{3 * TOGETHER} commands took {commits} commits")
    print(f"{3 * TOGETHER} commands in one pipeline: {commits} commits")


def syncs(server):
    """How often the journal was synced."""
    with server.client() as http:
        text = http.get("/metrics").raw.decode()
    line = next(line for line in text.splitlines() if line.startswith("duly_fsync_seconds_count"))
    return int(float(line.split()[1]))


def judge(suite, server, ledger):
    """Nobody had what another had, and nothing is lost."""
    lost = []
    with server.client() as http:
        for member, due in ledger.due.items():
            claims = ledger.claimed[member]
            suite.check(len(claims) <= 1, f"{member} was had by {claims}")
            early = [by for by, at in claims if by != "customer" and at < due]
            suite.check(not early, f"{member}, due at {due}, was had too early by {claims}")
            record = http.read(QUEUE, member)
            state = record.get("delivery", record)["state"]
            suite.check(state in ("done", "settled"), f"{member} is {state}: {record}")
            if not claims and not ledger.untold[member]:
                lost.append(member)
        stats = http.get(f"/v1/queues/{QUEUE}/stats")["queue"]
    suite.check(len(lost) <= ledger.waits_cut_off, f"nobody had {lost}")
    untold = sum(1 for member in ledger.due if not ledger.claimed[member])
    suite.check(untold <= KILLS * (WORKERS + 2), f"{untold} members were had by nobody who was told")
    by = collections.Counter(claims[0][0] for claims in ledger.claimed.values() if claims)
    suite.check(len(by) == WORKERS + 2, f"all of them had some: {by}")
    ended = stats["total"]["done"] + sum(stats["total"]["settled"].values())
    suite.equal(ended, MEMBERS, "each member has ended once")
    print(f"{MEMBERS} members, {KILLS} kills: had by {dict(sorted(by.items(), key=str))}, "
          f"{untold} by who was killed before it was told")


if __name__ == "__main__":
    main()
