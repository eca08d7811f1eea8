#!/usr/bin/env python3
"""64 clients race settle against lapse on 10,000 deadlines that are all due in the same instant.

Promise 1: exactly one of settle and lapse wins each deadline, and everybody is told the same: the
answers the clients got, a second round of questions, the webhook requests that arrived, and the
archive as `sqlite3` reads it. Promise 5: nobody whose settle won is ever delivered.
"""

import json
import random
import sqlite3
import threading
import time

from blackbox import Suite, in_parallel, instant, now_ms, rfc3339, until

CLIENTS = 64
DEADLINES = 10_000
QUEUES = {"one-by-one": 1, "batched": 100}


def main():
    with Suite("race", floor=DEADLINES * 8) as suite:
        server = suite.server()
        receiver = suite.receiver(done)
        with server.client() as client:
            for queue, batch in QUEUES.items():
                client.queue(queue, target=receiver.target(batch=batch))
        keys = [(random.choice(list(QUEUES)), f"k{number}") for number in range(DEADLINES)]
        due = schedule(suite, server, keys)
        answers = race(server, keys, due)
        winners = agree(suite, server, keys, answers, due)
        lapsed = {which: who for which, who in winners.items() if who is not None}
        print(f"{len(keys) - len(lapsed)} settled, {len(lapsed)} lapsed")
        suite.check(len(lapsed) > 500, "at least 500 deadlines were won by the lapse")
        suite.check(len(keys) - len(lapsed) > 500, "at least 500 were won by the settle")
        delivered(suite, receiver, winners, lapsed)
        archived(suite, server, winners)


def done(call):
    """Everything is done; of many in one request each is named."""
    results = [{"delivery_id": each["delivery_id"], "verdict": "done"} for each in lapses(call)]
    return 200, {}, json.dumps({"verdict": "done", "results": results}).encode()


def lapses(call):
    """The lapses of one request, however many it carries."""
    data = call.json["data"]
    return data if isinstance(data, list) else [data]


def schedule(suite, server, keys):
    """Schedules them all for one instant far enough ahead to be done with it by then."""
    with server.client() as client:
        began = time.monotonic()
        for number in range(200):
            client.schedule("pace", f"w{number}", after="1h")
        pace = (time.monotonic() - began) / 200
    due = now_ms() + round(4_000 + pace * DEADLINES * 1_000)

    def some(number):
        with server.client() as client:
            for queue, key in keys[number::CLIENTS]:
                reply = client.schedule(queue, key, due=rfc3339(due))
                suite.equal(reply.status, 201, f"schedule {queue}/{key}")

    in_parallel(CLIENTS, some)
    suite.check(now_ms() < due, "all were scheduled before they were due")
    return due


def race(server, keys, due):
    """Every client settles its share around the instant; returns what each key was answered."""
    answers, lock = {}, threading.Lock()

    def some(number):
        mine = keys[number::CLIENTS]
        dice = random.Random(number)
        with server.client() as client:
            # A quarter well before, the rest as close to the instant as each client happens to be.
            early = len(mine) // 4
            wake = due + dice.randrange(-1_000, 10)
            for at, (queue, key) in enumerate(mine):
                if at == early:
                    time.sleep(max(0, wake - now_ms()) / 1000)
                reply = client.act(queue, key, "settle", outcome="paid")
                with lock:
                    answers[queue, key] = reply

    in_parallel(CLIENTS, some)
    return answers


def agree(suite, server, keys, answers, due):
    """Every later question has the same answer; returns the delivery's id, or None if settled."""
    winners, lock = {}, threading.Lock()

    def some(number):
        with server.client() as client:
            for queue, key in keys[number::CLIENTS]:
                first = answers[queue, key]
                again = client.act(queue, key, "settle", outcome="paid")
                record = client.read(queue, key)
                who = f"{queue}/{key}"
                if first.status == 200:
                    winner = None
                    suite.equal(first["result"], "settled", f"{who} first")
                    suite.equal(again["result"], "already_settled", f"{who} again")
                    suite.equal(record["state"], "settled", f"{who} state")
                    suite.check(
                        instant(record["settled_at"]) < due, f"{who} settled before it was due"
                    )
                else:
                    winner = first["deadline"]["delivery"]["id"]
                    suite.equal(first["result"], "too_late", f"{who} first")
                    suite.equal(again["result"], "too_late", f"{who} again")
                    suite.equal(record["state"], "lapsed", f"{who} state")
                    suite.equal(record["delivery"]["id"], winner, f"{who} delivery")
                    suite.check(instant(record["lapsed_at"]) >= due, f"{who} lapsed early")
                with lock:
                    winners[queue, key] = winner

    in_parallel(CLIENTS, some)
    return winners


def delivered(suite, receiver, winners, lapsed):
    """Each lapse arrives under its one id; nothing else ever does."""
    arrived = {}

    def all_there():
        arrived.clear()
        for call in receiver.seen():
            for lapse in lapses(call):
                arrived.setdefault((lapse["queue"], lapse["key"]), set()).add(lapse["delivery_id"])
        return len(arrived) >= len(lapsed)

    until(all_there, f"{len(lapsed)} lapses arrive")
    for which, winner in winners.items():
        wanted = {winner} if winner else None
        suite.equal(arrived.get(which), wanted, f"deliveries of {which}")
    ids = [winner for winner in lapsed.values()]
    suite.equal(len(set(ids)), len(ids), "every delivery has an id of its own")


def archived(suite, server, winners):
    """The archive says the same, read with SQLite while the server runs."""
    archive = sqlite3.connect(f"file:{server.data}/archive.db?mode=ro", uri=True)
    marks = ",".join("?" * len(QUEUES))
    rows = {}

    def all_there():
        rows.clear()
        question = f"SELECT queue, key, state, delivery_id FROM deadlines WHERE queue IN ({marks})"
        for queue, key, state, delivery in archive.execute(question, list(QUEUES)):
            key = key.decode() if isinstance(key, bytes) else key
            rows.setdefault((queue, key), []).append((state, delivery))
        return len(rows) >= len(winners)

    until(all_there, "every final record is in the archive")
    for which, winner in winners.items():
        found = rows.get(which, [])
        suite.equal(len(found), 1, f"rows of {which}")
        state, delivery = found[0]
        suite.equal((state == "settled", delivery or None), (winner is None, winner), f"row {which}")


if __name__ == "__main__":
    main()
