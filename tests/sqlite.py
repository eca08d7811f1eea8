#!/usr/bin/env python3
"""The archive as a public interface: "how many orders lapsed unpaid yesterday, by queue?"

The server runs on a manual clock over two days, so that there is a yesterday; then the documented
view is asked with the `sqlite3` program while the server is running, and after it has stopped.
"""

import re
import subprocess

from blackbox import Suite, instant, until

DAYS = 2
QUEUES = {"orders": (12, 30), "carts": (7, 9), "seats": (0, 5)}
"""For each queue: how many lapse and how many are paid, on each day."""


def main():
    with Suite("sqlite", floor=20) as suite:
        server = suite.server(args=["--clock", "manual"])
        with server.client() as client:
            for queue in QUEUES:
                client.queue(queue, target="none")
            for day in range(DAYS):
                one_day(suite, client, day)
            everything = sum(lapsed + paid for lapsed, paid in QUEUES.values()) * DAYS
            rows = until(
                lambda: rows_of(server, "SELECT count(*) FROM deadlines") == [[str(everything)]],
                f"{everything} records are in the archive",
            )
            suite.check(rows, "all final records are in the archive")
            questions(suite, server)
        server.stop()
        questions(suite, server)


def one_day(suite, client, day):
    """One day of the shop: what is paid, what lapses, then midnight passes."""
    for queue, (lapsed, paid) in QUEUES.items():
        for number in range(lapsed + paid):
            key = f"d{day}-{number}"
            suite.equal(client.schedule(queue, key, after="30m").status, 201, f"{queue}/{key}")
            if number >= lapsed:
                reply = client.act(queue, key, "settle", outcome="paid")
                suite.equal(reply["result"], "settled", f"settle {queue}/{key}")
    reply = client.ask("POST", "/v1/clock/advance", {"by": "24h"})
    suite.equal(reply.status, 200, f"advance: {reply!r}")
    for queue, (lapsed, _) in QUEUES.items():
        if lapsed:
            record = lambda: client.read(queue, f"d{day}-0")
            until(lambda: record()["state"] == "lapsed", f"{queue} of day {day} lapses")


def questions(suite, server):
    """The question from the documents, and its relatives."""
    last = rows_of(server, "SELECT max(day) FROM lapsed_unpaid")[0][0]
    suite.check(re.fullmatch(r"\d{4}-\d\d-\d\d", last), f"a day is a date: {last}")
    found = rows_of(
        server,
        f"SELECT queue, sum(lapsed) FROM lapsed_unpaid WHERE day = '{last}' GROUP BY queue ORDER BY 1",
    )
    wanted = sorted([queue, str(lapsed)] for queue, (lapsed, _) in QUEUES.items() if lapsed)
    suite.equal(found, wanted, "how many lapsed unpaid on that day, by queue")


def rows_of(server, question):
    """What the `sqlite3` program prints, as rows of columns."""
    said = subprocess.run(
        ["sqlite3", "-readonly", "-cmd", ".timeout 5000", f"{server.data}/archive.db", question],
        capture_output=True, text=True, check=True,
    )
    return [line.split("|") for line in said.stdout.splitlines()]


if __name__ == "__main__":
    main()
