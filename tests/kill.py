#!/usr/bin/env python3
"""`kill -9` amid mixed load, again and again on the same directory, against a memory of promises.

Every answer the server gave is remembered here, and held against it after every restart: nothing
acknowledged is lost, nothing lapses twice, no delivery changes its id, nobody whose settle won is
ever delivered, nothing is early, and what fell due while the server was down is delivered after.

Twice: with default settings, and with segments so small that the journal is cleaned all the time.
"""

import http.client
import os
import random
import sys
import threading
import time

from blackbox import Suite, in_parallel, instant, now_ms, rfc3339, until

CYCLES = 25
CALLERS = 10
WORKERS = 2
BROKEN = (OSError, http.client.HTTPException)
"""What a caller sees of a server that dies: the answer is then unknown, neither yes nor no."""


class Promise:
    """What the server has told about one deadline."""

    def __init__(self, queue, key, due, short):
        self.queue, self.key, self.short = queue, key, short
        self.dues = {due}  # every due time it may have, until an answer says which
        self.scheduled = False  # told that it exists
        self.settle_asked = False
        self.settled = False  # told that the settle won
        self.delivery = None  # the id it was told or delivered under
        self.lapsed_at = None
        self.done = None  # the attempt whose verdict `done` was taken

    def __repr__(self):
        return f"{self.queue}/{self.key}"

    def told(self):
        """What has been told before a question is asked: its answer may not say less, though it may
        be overtaken by what a webhook or a worker hears while it is on its way."""
        return self.delivery is not None, self.done is not None


class Oracle:
    """Every promise made so far, and the checks of each new piece of evidence against them."""

    def __init__(self, suite):
        self.suite = suite
        self.promises = {}
        self.lock = threading.RLock()
        self.acknowledged = 0

    def promise(self, queue, key, due, short):
        promise = Promise(queue, key, due, short)
        with self.lock:
            self.promises[queue, key] = promise
        return promise

    def all(self):
        with self.lock:
            return list(self.promises.values())

    def lapsed(self, promise, delivery, lapsed_at, due, how):
        """Somebody was told that it lapsed: by an answer, a request or a lease."""
        check = self.suite.check
        with self.lock:
            check(not promise.settled, f"{promise} settled, then lapsed ({how})")
            check(promise.delivery in (None, delivery), f"{promise}: id changed ({how})")
            check(promise.lapsed_at in (None, lapsed_at), f"{promise} lapsed twice ({how})")
            check(instant(due) in promise.dues, f"{promise}: due {due} was never asked ({how})")
            check(instant(lapsed_at) >= instant(due), f"{promise} lapsed early ({how})")
            promise.delivery, promise.lapsed_at = delivery, lapsed_at
            promise.dues = {instant(due)}

    def record(self, promise, record, how, before):
        """A record was shown; `before` is what had been told when it was asked for."""
        was_lapsed, was_done = before
        with self.lock:
            if record is None:
                self.suite.check(not promise.scheduled, f"{promise} is gone ({how})")
                return
            promise.scheduled = True
            state = record["state"]
            if state == "lapsed":
                delivery = record["delivery"]
                self.lapsed(promise, delivery["id"], record["lapsed_at"], record["due"], how)
                if was_done:
                    self.suite.equal(delivery["state"], "done", f"{promise} ({how})")
                return
            undone = was_lapsed or (state == "settled" and promise.delivery is not None)
            self.suite.check(not undone, f"{promise}: its lapse was undone ({how})")
            due = instant(record["due"])
            self.suite.check(due in promise.dues, f"{promise}: due {due} unknown ({how})")
            if state == "settled":
                self.suite.check(promise.settle_asked, f"{promise}: nobody settled it ({how})")
                self.suite.equal(record["outcome"], "paid", f"{promise} ({how})")
                promise.settled = True
            else:
                self.suite.equal(state, "pending", f"{promise} ({how})")
                self.suite.check(not promise.settled, f"{promise}: its settle was lost ({how})")

    def told(self):
        with self.lock:
            self.acknowledged += 1


def caller(oracle, server, cycle, number):
    """One client: schedules, settles, extends and reads deadlines of its own until the end."""
    dice = random.Random(f"{cycle} {number}")
    mine, serial = [], 0
    with server.client() as client:
        while True:
            serial += 1
            act = dice.random()
            try:
                if act < 0.5 or not mine:
                    mine.append(schedule(oracle, client, dice, f"{cycle}-{number}-{serial}"))
                elif act < 0.75:
                    settle(oracle, client, dice.choice(mine))
                elif act < 0.9:
                    extend(oracle, client, dice, dice.choice(mine))
                else:
                    read(oracle, client, dice.choice(mine))
            except BROKEN:
                return


def schedule(oracle, client, dice, key):
    queue = dice.choice(["hooks", "hooks", "workers"])
    short = dice.random() < 0.85
    due = now_ms() + (dice.randrange(50, 3_000) if short else dice.randrange(3_600_000, 7_200_000))
    promise = oracle.promise(queue, key, due, short)
    pad = "x" * dice.choice([10, 10, 10, 2_000])
    reply = client.schedule(queue, key, due=rfc3339(due), payload={"order": key, "pad": pad})
    oracle.suite.equal(reply.status, 201, f"schedule {promise}")
    oracle.told()
    promise.scheduled = True
    return promise


def settle(oracle, client, promise):
    promise.settle_asked, before = True, promise.told()
    reply = client.act(promise.queue, promise.key, "settle", outcome="paid")
    oracle.told()
    with oracle.lock:
        result = reply["result"]
        if reply.status == 404 and not promise.scheduled:
            return
        good = ("settled", "already_settled", "too_late")
        if oracle.suite.check(result in good, f"settle {promise}: {reply!r}"):
            oracle.record(promise, reply["deadline"], f"answer {result}", before)
            if result == "settled":
                promise.settled = True


def extend(oracle, client, dice, promise):
    due = now_ms() + dice.randrange(200, 3_000)
    if not promise.short or promise.settle_asked:
        return
    with oracle.lock:
        promise.dues.add(due)
        before = promise.told()
    reply = client.act(promise.queue, promise.key, "extend", due=rfc3339(due))
    oracle.told()
    with oracle.lock:
        if reply.status == 200:
            promise.dues = {due}
            oracle.record(promise, reply["deadline"], "extended", before)
        elif oracle.suite.equal(reply["code"], "too_late", f"extend {promise}: {reply!r}"):
            oracle.record(promise, reply["deadline"], "extend too late", before)


def read(oracle, client, promise):
    before = promise.told()
    record = client.read(promise.queue, promise.key)
    oracle.told()
    oracle.record(promise, record, "read", before)


def worker(oracle, server, cycle, number):
    """One worker of the pull queue; it drops one lease in five, which must come again."""
    dice = random.Random(f"worker {cycle} {number}")
    with server.client() as client:
        while True:
            try:
                reply = client.lease("workers", max=10, wait="1s", lease="1s")
                for each in reply["deliveries"] or []:
                    promise = oracle.promises[each["queue"], each["key"]]
                    attempt, how = each["attempt"], f"lease, attempt {each['attempt']}"
                    again = promise.done is not None and attempt > promise.done
                    oracle.suite.check(not again, f"{promise}: done, and leased again")
                    oracle.lapsed(promise, each["id"], each["lapsed_at"], each["due"], how)
                    if dice.random() < 0.2:
                        continue
                    said = client.verdict(each["id"], each["token"], "done")
                    oracle.told()
                    if said.status == 200:
                        promise.done = attempt
                    else:
                        oracle.suite.equal(said["code"], "lease_lost", f"verdict {promise}")
            except BROKEN:
                return


def webhook(oracle):
    """The receiver: one request in ten fails at first, and is remembered like the rest."""

    def answer(call):
        data = call.data
        promise = oracle.promises[data["queue"], data["key"]]
        how = f"webhook, attempt {data['attempt']}"
        oracle.lapsed(promise, data["delivery_id"], data["lapsed_at"], data["due"], how)
        oracle.suite.equal(call.headers["webhook-id"], data["delivery_id"], f"{promise} {how}")
        oracle.suite.check(call.at >= instant(data["due"]), f"{promise} delivered early")
        bad = data["attempt"] == 1 and random.random() < 0.1
        return (500 if bad else 200), {}, b"{}"

    return answer


def examine(oracle, server, promises, ask_again):
    """Reads the records and holds them against the promises; asks again what was left unknown."""

    def some(number):
        with server.client() as client:
            for promise in promises[number::CALLERS]:
                if ask_again and promise.settle_asked and not promise.settled:
                    settle(oracle, client, promise)
                before = promise.told()
                record = client.read(promise.queue, promise.key)
                oracle.record(promise, record, "after restart", before)

    in_parallel(CALLERS, some)


def punish(suite, oracle, name, env):
    """All cycles over one directory; returns how many segments of the journal were freed."""
    server = suite.server(data=name, env=env)
    receiver = suite.receiver(webhook(oracle))
    with server.client() as client:
        retry = {"retry": ["1s"], "retry_for": "1h"}
        client.queue("hooks", target=receiver.target(), **retry)
        client.queue("workers", target="pull", **retry)
    dice = random.Random(name)
    for cycle in range(CYCLES):
        load = [(caller, n) for n in range(CALLERS)] + [(worker, n) for n in range(WORKERS)]
        threads = [
            threading.Thread(target=work, args=(oracle, server, f"{name}{cycle}", n), daemon=True)
            for work, n in load
        ]
        before = oracle.acknowledged
        for thread in threads:
            thread.start()
        time.sleep(dice.uniform(0.3, 1.6))
        server.kill()
        for thread in threads:
            thread.join()
        time.sleep(dice.uniform(0, 1))
        began = time.monotonic()
        server.start()
        told = oracle.acknowledged - before
        print(f"{name} {cycle}: {told} acknowledged, open in {time.monotonic() - began:.2f} s")
        recent = oracle.all()[-3_000:]
        examine(oracle, server, recent, ask_again=cycle % 2 == 0)
    settle_down(suite, oracle, server, name)
    return freed(server)


def freed(server):
    """How many segments of the journal have come and gone: they are numbered from 1."""
    names = os.listdir(os.path.join(server.data, "journal"))
    return min(int(name.split(".")[0]) for name in names if name.endswith(".seg")) - 1


def settle_down(suite, oracle, server, name):
    """Everything due and not settled is delivered; then all is read once more."""
    stop = threading.Event()

    def drain():
        while not stop.is_set():
            worker(oracle, server, f"{name} end", 0)

    threading.Thread(target=drain, daemon=True).start()
    mine = [promise for promise in oracle.all() if promise.scheduled and promise.short]

    def left():
        waiting = [p for p in mine if not p.settled and p.delivery is None]
        examine(oracle, server, [p for p in waiting if max(p.dues) < now_ms()], ask_again=False)
        return not [p for p in mine if not p.settled and p.delivery is None]

    until(left, "everything overdue lapses")

    def all_done():
        with server.client() as client:
            counts = [client.read(p.queue, p.key)["delivery"]["state"] for p in sample]
        return all(state == "done" for state in counts)

    sample = [p for p in mine if p.delivery][-500:]
    until(all_done, "the last 500 lapses are done")
    stop.set()
    examine(oracle, server, oracle.all(), ask_again=False)


def main():
    with Suite("kill", floor=300_000) as suite:
        for name, env in RUNS.items():
            oracle = Oracle(suite)
            gone = punish(suite, oracle, name, env)
            delivered = [p for p in oracle.all() if p.delivery]
            settled = [p for p in oracle.all() if p.settled]
            print(
                f"{name}: {oracle.acknowledged} answers, {len(settled)} settled, "
                f"{len(delivered)} lapsed, {CYCLES} kills, {gone} segments gone"
            )
            if name == "small":
                suite.check(gone >= 5, f"{name}: the journal was cleaned: {gone} segments are gone")
            ids = {p.delivery for p in delivered}
            suite.equal(len(ids), len(delivered), "every delivery has an id of its own")
            suite.check(len(settled) > 200, f"{name}: at least 200 settles won")
            suite.check(len(delivered) > 500, f"{name}: at least 500 lapsed")


RUNS = {
    "default": {},
    "small": {"DULY_JOURNAL_SEGMENT_SIZE": "1MiB", "DULY_JOURNAL_KEEP": "1MiB"},
}

if __name__ == "__main__":
    main()
