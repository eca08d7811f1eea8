#!/usr/bin/env python3
"""Outboxes: what an application wishes for in its own transaction happens once, whatever dies.

The tables are made by the very statements of docs/outbox.md. On each kind of database: a wish that
is rolled back is none; schedules and settles do what the API does, payloads come back byte for byte;
what is refused stays with its answer. Then Duly is killed again and again while an application writes
wishes that begin generations: at the end every deadline has had as many as were wished for. At last the
database is killed instead.
"""

import json
import os
import random
import re
import sqlite3
import threading

from blackbox import Suite, until
from peers.database import Mariadb, Postgres

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "outbox.md")
KILLS = 12
"""How often Duly is killed, on each kind of database."""
KEYS = 5
"""Deadlines that are begun again and again meanwhile."""
HOSTILE = [
    "'; DROP TABLE duly_outbox; --", 'quote " and \\ backslash', "100% _like_ ?", "emoji 🧾 ünïcode",
    "$1 ? :key %s {0}",
]
"""Values that must arrive as they are."""


class Sqlite:
    """A file, in the words of the servers."""

    name = "SQLite"

    def __init__(self, path):
        self.path = path

    def make(self):
        """A new file."""
        self.session().run("PRAGMA journal_mode = WAL")
        return self

    def session(self):
        """A connection."""
        return SqliteSession(self.path)

    def dsn(self):
        """What Duly is told."""
        return f"sqlite://{self.path}"

    def run(self, *statements):
        """Runs statements, each by itself."""
        session = self.session()
        for statement in statements:
            session.run(statement)

    def rows(self, question, *values):
        """The rows of an answer."""
        return self.session().rows(question, *values)

    def stop(self):
        """Nothing runs."""


class SqliteSession:
    """A connection."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path, timeout=30, isolation_level=None)

    def run(self, statement, *values):
        """Runs one statement."""
        return self.connection.execute(statement.replace("%s", "?"), values)

    def rows(self, question, *values):
        """The rows of an answer."""
        return [list(row) for row in self.run(question, *values).fetchall()]


def session_of(place):
    """A connection of the application's."""
    from peers.database import Session

    return place.session() if isinstance(place, Sqlite) else Session(place)


def table(kind):
    """How docs/outbox.md makes the table on this kind of database."""
    with open(PAGE, encoding="utf-8") as page:
        found = re.search(rf"{kind}:\n\n```sql\n(.*?)```", page.read(), re.DOTALL)
    assert found, f"docs/outbox.md makes no table on {kind}"
    return found.group(1).strip().rstrip(";")


CONFIG = """
[journal]
segment_size = "1MiB"

[databases.shop]
dsn = '{dsn}'

[outboxes.shop]
database = "shop"
period = "100ms"
"""


def wish(session, op, key, **body):
    """Writes a row."""
    session.run(
        "INSERT INTO duly_outbox (op, queue, deadline_key, body) VALUES (%s, %s, %s, %s)",
        op, "orders", key, json.dumps(body, ensure_ascii=False),
    )


def waiting(place):
    """How many rows wait."""
    return place.rows("SELECT count(*) FROM duly_outbox WHERE answer IS NULL")[0][0]


def everyday(suite, place, server):
    """What an application does on an ordinary day."""
    session = session_of(place)
    with server.client() as client:
        session.run("BEGIN")
        session.run("INSERT INTO orders (id) VALUES (1)")
        wish(session, "schedule", "1", after="30m", payload={"total": 19.90})
        session.run("COMMIT")
        session.run("BEGIN")
        session.run("INSERT INTO orders (id) VALUES (2)")
        wish(session, "schedule", "2", after="30m")
        session.run("ROLLBACK")
        record = until(lambda: client.read("orders", "1"), "the wish was carried out")
        suite.equal(record["state"], "pending", "order 1 has a deadline")
        suite.equal(record["payload"], {"total": 19.90}, "with its payload")
        # Both in one transaction: placed and paid at the counter.
        session.run("BEGIN")
        wish(session, "schedule", "3", after=1800)
        wish(session, "settle", "3", outcome="paid")
        wish(session, "settle", "1", outcome="paid")
        session.run("COMMIT")
        until(lambda: waiting(place) == 0, "all rows are gone")
        for key in ("1", "3"):
            suite.equal(client.read("orders", key)["outcome"], "paid", f"order {key} is paid")
        suite.check(client.read("orders", "2") is None, "what was rolled back is not wished for")
        suite.equal(place.rows("SELECT * FROM duly_outbox"), [], "nothing is left")
        for number, value in enumerate(HOSTILE):
            wish(session, "schedule", f"hostile {value}", after="1h", payload=[value, "line\nbreak", number])
        until(lambda: waiting(place) == 0, "hostile values were carried out")
        page = client.get("/v1/queues/orders/deadlines?state=pending&limit=100")["deadlines"]
        found = {record["key"]: record["payload"] for record in page}
        for number, value in enumerate(HOSTILE):
            suite.equal(found.get(f"hostile {value}"), [value, "line\nbreak", number], "a value is as it was")
        refusals(suite, place, session, client)


def refusals(suite, place, session, client):
    """What is refused stays, with its answer, and hinders nobody."""
    wrong = [
        ("settle", "1", {"outcome": "cancelled"}, "settled_otherwise"),
        ("settle", "nobody", {"outcome": "paid"}, "unknown_deadline"),
        ("schedule", "4", {"after": "30 parsecs"}, "bad_duration"),
        ("schedule", "4", {"afterwards": 1}, "unknown_field"),
        ("erase", "1", {}, "bad_field"),
        ("schedule", "line\nbreak", {"after": 1}, "bad_key"),
    ]
    for op, key, body, _ in wrong:
        wish(session, op, key, **body)
    session.run(
        "INSERT INTO duly_outbox (op, queue, deadline_key, body) VALUES (%s, %s, %s, %s)",
        "schedule", "orders", "5", '{"after":\n',
    )
    wish(session, "schedule", "6", after="30m")
    until(lambda: waiting(place) == 0, "every row was answered")
    suite.check(client.read("orders", "6") is not None, "what follows is carried out")
    answers = place.rows("SELECT deadline_key, answer FROM duly_outbox ORDER BY id")
    codes = [code for *_, code in wrong] + ["malformed_json"]
    suite.equal([json.loads(answer)["code"] for _, answer in answers], codes, "the answers")
    metrics = client.get("/metrics").raw.decode()
    for line in (f'duly_outbox_rows_total{{outbox="shop",result="refused"}} {len(codes)}',
                 'duly_outbox_trouble{outbox="shop"} 0'):
        suite.check(line in metrics, f"the metrics say {line}")
    session.run("DELETE FROM duly_outbox")


class Application(threading.Thread):
    """Wishes for generation after generation until told to stop."""

    def __init__(self, place, seed):
        super().__init__(daemon=True)
        self.place, self.dice = place, random.Random(seed)
        self.wished = {f"again-{number}": 0 for number in range(KEYS)}
        self.settled = 0
        self.over = threading.Event()

    def run(self):
        session = session_of(self.place)
        while not self.over.is_set():
            session.run("BEGIN")
            for _ in range(self.dice.randrange(1, 8)):
                key = self.dice.choice(list(self.wished))
                wish(session, "schedule", key, after="1h", if_exists="replace")
                self.wished[key] += 1
                if self.dice.random() < 0.3:
                    wish(session, "settle", key, outcome="paid")
                    self.settled += 1
            session.run("COMMIT")
            self.over.wait(self.dice.random() * 0.02)


def killed(suite, place, server):
    """Duly is killed again and again; every wish happens once."""
    dice = random.Random(7)
    application = Application(place, seed=8)
    application.start()
    for _ in range(KILLS):
        application.over.wait(dice.random() * 0.6)
        server.kill()
        server.start()
    application.over.set()
    application.join()
    until(lambda: waiting(place) == 0, "all rows are gone")
    suite.equal(place.rows("SELECT * FROM duly_outbox"), [], "none was refused")
    with server.client() as client:
        for key, wished in application.wished.items():
            record = client.read("orders", key)
            suite.equal(record["generation"], wished, f"{key} began as often as it was wished")
            suite.work += wished
        stats = client.get("/v1/queues/orders/stats").json
    total = stats["queues"][0]["total"]["settled"] if "queues" in stats else None
    if total is not None:
        suite.check(total.get("paid", 0) >= application.settled, "every settle was carried out")
    return sum(application.wished.values())


def database_killed(suite, place, server):
    """The database goes away and comes back: it is said, and nothing is lost."""
    place.kill()
    with server.client() as client:
        trouble = 'duly_outbox_trouble{outbox="shop"} 1'
        until(lambda: trouble in client.get("/metrics").raw.decode(), "the trouble is told")
        ready = client.get("/readyz")
        suite.equal(ready.status, 200, "the API goes on")
        held_up = [(part["name"], part["code"]) for part in ready.json.get("held_up", [])]
        suite.equal(held_up, [("outboxes.shop", "outbox_held_up")], "and says what does not")
        place.start()
        wish(session_of(place), "schedule", "after", after="1h")
        until(lambda: client.read("orders", "after"), "it goes on when the database is back")
        suite.check(True, "the outbox is emptied again")


def no_table(suite, place):
    """A table that cannot be an outbox is named at the start."""
    config = CONFIG.format(dsn=place.dsn()) + 'table = "no_such_table"\n'
    server = suite.server(data=f"no-table-{type(place).__name__}", config=config, wait=False)
    until(lambda: server.process.poll() is not None, "it does not start")
    said = server.said()
    suite.check("outboxes.shop.table" in said and "no_such_table" in said, f"it says why: {said}")


def main():
    with Suite("outbox", floor=600) as suite:
        places = [("SQLite", Sqlite(suite.path("shop.db"))), ("MariaDB and MySQL", Mariadb()),
                  ("PostgreSQL", Postgres())]
        suite.to_stop.extend(place for _, place in places)
        for kind, place in places:
            place.make()
            place.run(table(kind), "CREATE TABLE orders (id INTEGER PRIMARY KEY)")
            if not isinstance(place, Sqlite):
                grants = "SELECT, UPDATE, DELETE ON duly_outbox TO duly"
                place.run(f"GRANT {grants}")
            config = CONFIG.format(dsn=place.dsn())
            server = suite.server(data=f"data-{type(place).__name__}", config=config)
            everyday(suite, place, server)
            wishes = killed(suite, place, server)
            if not isinstance(place, Sqlite):
                database_killed(suite, place, server)
            server.stop()
            no_table(suite, place)
            print(f"{kind}: {wishes} generations over {KILLS} kills", flush=True)


if __name__ == "__main__":
    main()
