#!/usr/bin/env python3
"""The archive as a public interface: "how many orders lapsed unpaid yesterday, by queue?"

The server runs on a manual clock over two days, so that there is a yesterday; then the question is
asked with the `sqlite3` program exactly as docs/archive.md asks it, while the server is running and
after it has stopped. Every other question on that page is asked too: none may fail.
"""

import os
import re
import subprocess
from datetime import timedelta

from blackbox import Suite, instant, rfc3339, until

DAYS = 2
QUEUES = {"orders": (12, 30), "carts": (7, 9), "seats": (0, 5)}
"""For each queue: how many lapse and how many are paid, on each day."""

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "archive.md")


def main():
    with Suite("sqlite", floor=200) as suite:
        server = suite.server(args=["--clock", "manual"])
        with server.client() as client:
            for queue in QUEUES:
                client.queue(queue, target="none")
            early_in_the_day(suite, client)
            for day in range(DAYS):
                yesterday = one_day(suite, client, day)
            everything = sum(lapsed + paid for lapsed, paid in QUEUES.values()) * DAYS
            count = lambda: rows_of(server, "SELECT count(*) FROM deadlines")
            until(lambda: count() == [[str(everything)]], f"{everything} records are archived")
            questions(suite, server, yesterday)
        server.stop()
        questions(suite, server, yesterday)


def clock(client):
    """What time the server's clock shows, in milliseconds."""
    return instant(client.get("/v1/clock")["clock"]["now"])


def advance(suite, client, span):
    """Moves the server's clock."""
    by = f"{round(span.total_seconds())}s"
    reply = client.ask("POST", "/v1/clock/advance", {"by": by})
    suite.equal(reply.status, 200, f"advance by {by}: {reply!r}")


def early_in_the_day(suite, client):
    """To one in the morning of the next day, so that half an hour stays within it."""
    day = 24 * 3_600_000
    wanted = (clock(client) // day + 1) * day + 3_600_000
    advance(suite, client, timedelta(milliseconds=wanted - clock(client)))


def one_day(suite, client, day):
    """One day of the shop: what is paid, what lapses, then midnight passes. Returns its date."""
    date = rfc3339(clock(client))[:10]
    for queue, (lapsed, paid) in QUEUES.items():
        for number in range(lapsed + paid):
            key = f"d{day}-{number}"
            reply = client.schedule(queue, key, after="30m", payload={"total": "19.90"})
            suite.equal(reply.status, 201, f"schedule {queue}/{key}")
            if number >= lapsed:
                reply = client.act(queue, key, "settle", outcome="paid")
                suite.equal(reply["result"], "settled", f"settle {queue}/{key}")
    advance(suite, client, timedelta(minutes=31))
    for queue, (lapsed, _) in QUEUES.items():
        for number in range(lapsed):
            record = lambda: client.read(queue, f"d{day}-{number}")
            until(lambda: record()["state"] == "lapsed", f"{queue} of day {day} lapses")
    advance(suite, client, timedelta(hours=23, minutes=29))
    return date


def questions(suite, server, yesterday):
    """The question from the documents, and its neighbours."""
    with open(PAGE, encoding="utf-8") as page:
        asked = re.findall(r"```sql\n(.*?)```", page.read(), re.DOTALL)
    suite.check(len(asked) >= 1, "docs/archive.md asks questions")
    tomorrow = f"'{yesterday} 12:00', '+1 day'"
    first = asked[0].replace("'now'", tomorrow)
    suite.check(first != asked[0], f"the first question is about yesterday: {asked[0]}")
    wanted = sorted([queue, str(lapsed)] for queue, (lapsed, _) in QUEUES.items())
    suite.equal(sorted(rows_of(server, first)), wanted, "how many lapsed unpaid, by queue")
    paid = f"SELECT queue, settled FROM daily WHERE day = '{yesterday}' ORDER BY 1"
    wanted = sorted([queue, str(paid)] for queue, (_, paid) in QUEUES.items())
    suite.equal(rows_of(server, paid), wanted, "how many were paid, by queue")
    outcomes = "SELECT DISTINCT outcome FROM deadlines WHERE state = 'settled'"
    suite.equal(rows_of(server, outcomes), [["paid"]], "how they were settled")
    for block in asked:
        for question in block.split("\n\n"):
            suite.check(rows_of(server, question) is not None, f"the question {question}")


def rows_of(server, question):
    """What the `sqlite3` program prints, as rows of columns."""
    said = subprocess.run(
        ["sqlite3", "-readonly", "-bail", "-cmd", ".timeout 5000", f"{server.data}/archive.db"],
        input=question, capture_output=True, text=True, check=False,
    )
    assert said.returncode == 0, f"{question}: {said.stderr}"
    return [line.split("|") for line in said.stdout.splitlines()]


if __name__ == "__main__":
    main()
