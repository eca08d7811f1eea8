#!/usr/bin/env python3
"""The table watch on a shop's own table: not one line of the shop knows Duly.

The shop is a SQLite file that this suite writes as a shop would (at the end also a private MariaDB
and a private PostgreSQL), with payments that race the cancellation; the server watches it. What is
checked is the shop's table: each unpaid order is cancelled once, its stock given back once, no paid
one is touched and nothing comes early. Then the first start on old rows, transactions that commit
late, rows that change, go or are paid, names and values that mean harm, and a server that is killed
again and again between action and answer.
"""

import datetime
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
import zoneinfo

from blackbox import SECRET, Suite, now_ms, until
from peers.database import USER, Mariadb, Postgres, Session

ORDERS = 20_000
"""Rows in the table of the large run."""
UNPAID = 1_500
"""How many of them are open."""
PAID_LATE = 450
"""How many of those are paid in the last second."""
EXAMPLES = {
    "SHOP_DSN": "mysql://a:b@127.0.0.1/c",
    "WORDPRESS_DSN": "mysql://a:b@127.0.0.1/c", "WORDPRESS_URL": "https://shop.example",
    "MAGENTO_DSN": "mysql://a:b@127.0.0.1/c", "MAGENTO_URL": "https://shop.example",
    "WEBHOOK_SECRET": SECRET,
}
"""What the examples take from the environment."""
KILLS = 8
"""How often the server is killed in the middle of its work."""


def main():
    parts = [first_start, large, rows_change, late_commits, another_zone, hostile, observe, mistakes,
             command_line, killed, mariadb, postgres]
    named = sys.argv[2:]
    with Suite("watch", floor=1 if named else 12_000) as suite:
        for part in parts:
            if not named or part.__name__ in named:
                print(part.__name__, flush=True)
                part(suite)


def text(ms):
    """An instant as the shop writes it: UTC, in text."""
    at = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{ms % 1000:03d}"


class Shop:
    """A shop's database."""

    def __init__(self, suite, name, table="orders", key="id", kind="INTEGER"):
        self.path, self.name = suite.path(f"{name}.db"), name
        self.table, self.key = (f'"{n.replace(chr(34), chr(34) * 2)}"' for n in (table, key))
        self.raw_table, self.raw_key = table, key
        self.write(
            "PRAGMA journal_mode = WAL;"
            f"CREATE TABLE {self.table} ({self.key} {kind} PRIMARY KEY, created_at TEXT NOT NULL,"
            "  pay_before TEXT, status TEXT NOT NULL, cancelled_by TEXT);"
            f"CREATE INDEX open_orders ON {self.table} (status, created_at);"
            "CREATE TABLE stock (sku TEXT PRIMARY KEY, n INTEGER NOT NULL);"
            "INSERT INTO stock VALUES ('mug', 0);"
            "CREATE TABLE restocks (at TEXT NOT NULL, id TEXT NOT NULL, delivery TEXT NOT NULL);"
        )

    def connect(self):
        """A connection of its own; nothing is changed without being committed."""
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def write(self, script):
        """Runs a script."""
        connection = self.connect()
        connection.executescript(script)
        connection.close()

    def ask(self, question, *values):
        """The rows of an answer."""
        connection = self.connect()
        try:
            return connection.execute(question, values).fetchall()
        finally:
            connection.close()

    def one(self, question, *values):
        """The one value of an answer."""
        return self.ask(question, *values)[0][0]

    def place(self, *orders):
        """Places orders: (key, created, pay_before) in milliseconds, or none."""
        rows = [(key, text(at), None if due is None else text(due)) for key, at, due in orders]
        connection = self.connect()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            f"INSERT INTO {self.table} ({self.key}, created_at, pay_before, status)"
            " VALUES (?, ?, ?, 'unpaid')", rows,
        )
        connection.execute("COMMIT")
        connection.close()

    def pay(self, key):
        """A payment that comes in: it wins if the order is still unpaid."""
        connection = self.connect()
        changed = connection.execute(
            f"UPDATE {self.table} SET status = 'paid' WHERE {self.key} = ? AND status = 'unpaid'",
            (key,),
        ).rowcount
        connection.close()
        return changed == 1

    def status(self, key):
        """The status of an order."""
        found = self.ask(f"SELECT status FROM {self.table} WHERE {self.key} = ?", key)
        return found[0][0] if found else None

    def config(self, due='due = "pay_before"', mode="act", more=""):
        """The configuration of a watch over this shop."""
        quote = lambda name: '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        statement = lambda sql: "'''" + sql + "'''"
        steps = [
            f"UPDATE {self.table} SET status = 'cancelled', cancelled_by = :delivery_id"
            f" WHERE {self.key} = :key AND status = 'unpaid'",
            "UPDATE stock SET n = n + 1 WHERE sku = 'mug'",
            "INSERT INTO restocks (at, id, delivery)"
            " VALUES (strftime('%Y-%m-%d %H:%M:%f', 'now'), :key, :delivery_id)",
        ]
        applied = f"SELECT 1 FROM {self.table} WHERE {self.key} = :key AND cancelled_by = :delivery_id"
        return f"""
[databases.shop]
dsn = "sqlite://{self.path}"

[watches.shop-orders]
database = "shop"
table = {quote(self.raw_table)}
key = {quote(self.raw_key)}
created = "created_at"
{due}
open = "status = 'unpaid'"
outcome = "status"
time_zone = "UTC"
mode = "{mode}"
max_per_minute = 100000
{more}

[watches.shop-orders.action.sql]
steps = [{", ".join(statement(step) for step in steps)}]
applied = {statement(applied)}
"""

    def sound(self, suite, what):
        """What must hold at any time, whatever was killed: one cancellation, one restock, in time."""
        twice = self.ask("SELECT id FROM restocks GROUP BY id HAVING count(*) > 1")
        suite.equal(twice, [], f"{what}: stock given back more than once")
        cancelled = self.ask(
            f"SELECT {self.key}, pay_before, cancelled_by FROM {self.table} WHERE status = 'cancelled'"
        )
        restocks = {key: (at, delivery) for key, at, delivery in self.ask(
            "SELECT id, at, delivery FROM restocks")}
        suite.equal(len(restocks), len(cancelled), f"{what}: restocks and cancelled orders")
        suite.equal(self.one("SELECT n FROM stock"), len(cancelled), f"{what}: the stock")
        for key, due, delivery in cancelled:
            at, by = restocks.get(str(key), ("", ""))
            suite.equal(by, delivery, f"{what}: who cancelled {key}")
            if due is not None:
                suite.check(at >= due, f"{what}: order {key}, due {due}, was cancelled at {at}")


def armed(client, key):
    """The deadline of an order, if it has one."""
    return client.read("shop-orders", key)


def first_start(suite):
    """Ten thousand old unpaid rows: a first start cancels none of them, also not those due after it."""
    shop = Shop(suite, "old")
    now = now_ms()
    old = 86_400_000
    # Most are overdue; some are due soon after the first start, some after the second.
    soon, later = now + 10_000, now + 25_000
    due = lambda n: (now - old // 2, now - old // 2, soon, later)[n % 4]
    shop.place(*((n, now - old - n * 1000, due(n)) for n in range(10_000)))
    server = suite.server("old", shop.config(more='reconcile = "1s"'))
    with server.client() as client:
        shop.place((20_000, now_ms(), max(soon, now_ms()) + 2_000))
        until(lambda: shop.status(20_000) == "cancelled", "the new order is cancelled")
        open_now = shop.one("SELECT count(*) FROM orders WHERE status = 'unpaid'")
        suite.equal(open_now, 10_000, "old orders still open")
        for number in range(4):
            suite.equal(armed(client, number), None, "an old order has no deadline")
        suite.equal(armed(client, 20_000)["state"], "lapsed", "the new one had")
    shop.sound(suite, "first start")
    server.stop()
    # Neither does the second.
    server.start()
    shop.place((20_001, now_ms(), max(later, now_ms()) + 2_000))
    until(lambda: shop.status(20_001) == "cancelled", "the newer order is cancelled")
    open_now = shop.one("SELECT count(*) FROM orders WHERE status = 'unpaid'")
    suite.equal(open_now, 10_000, "old orders still open after a restart")
    server.stop()


def large(suite):
    """M2: a table of many orders, and payments up to the last moment."""
    shop = Shop(suite, "large")
    server = suite.server("large", shop.config())
    now = now_ms()
    paid = [(n, text(now - 10_000_000 - n), text(now), "paid") for n in range(ORDERS - UNPAID)]
    connection = shop.connect()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT INTO orders (id, created_at, pay_before, status) VALUES (?, ?, ?, ?)", paid)
    connection.execute("COMMIT")
    connection.close()
    chance = random.Random(7)
    now = now_ms()
    dues = {ORDERS + n: now + 8_000 + chance.randrange(10_000) for n in range(UNPAID)}
    shop.place(*((key, now, due) for key, due in dues.items()))
    with server.client() as client:
        last = max(dues)
        until(lambda: armed(client, last), "the last order has a deadline")
    late = chance.sample(sorted(dues), PAID_LATE)
    # Most in the last second, some at the very moment.
    moments = sorted((dues[key] - (0 if n % 5 == 0 else chance.randrange(1_000)), key)
                     for n, key in enumerate(late))
    won = set()

    def payments():
        for at, key in moments:
            wait = at - now_ms()
            if wait > 0:
                time.sleep(wait / 1000)
            if shop.pay(key):
                won.add(key)

    payer = threading.Thread(target=payments)
    payer.start()
    payer.join()
    open_now = lambda: shop.one("SELECT count(*) FROM orders WHERE status = 'unpaid'")
    until(lambda: open_now() == 0, "no order is open any more")
    suite.check(len(won) > PAID_LATE // 4, f"{len(won)} of {PAID_LATE} late payments won")
    for key in dues:
        wanted = "paid" if key in won else "cancelled"
        suite.equal(shop.status(key), wanted, f"order {key}")
    old = shop.one("SELECT count(*) FROM orders WHERE status = 'paid' AND id < ?", ORDERS)
    suite.equal(old, len(paid), "paid orders from before")
    shop.sound(suite, "large")
    with server.client() as client:
        def ended(key):
            record = armed(client, key)
            return record["state"] == "settled" or record["delivery"]["state"] in ("done", "superseded")
        until(lambda: all(ended(key) for key in chance.sample(sorted(dues), 50)), "deadlines end")
        for key in dues:
            record = until(lambda: ended(key) and armed(client, key), f"the deadline of {key} ends")
            if key in won:
                as_paid = record.get("outcome") == "paid"
                good = as_paid or record["delivery"]["state"] == "superseded"
            else:
                good = record["state"] == "lapsed" and record["delivery"]["state"] == "done"
            suite.check(good, f"order {key}, {'paid' if key in won else 'cancelled'}: {record}")
    server.stop()


def rows_change(suite):
    """Paid, deleted, moved, extended over the API."""
    shop = Shop(suite, "change")
    server = suite.server("change", shop.config(more='reconcile = "1s"'))
    now = now_ms()
    far = now + 3_600_000
    shop.place(*((n, now, far) for n in range(1, 6)))
    with server.client() as client:
        until(lambda: all(armed(client, n) for n in range(1, 6)), "all have deadlines")
        suite.check(shop.pay(1), "order 1 is paid")
        shop.write("DELETE FROM orders WHERE id = 2")
        near = now_ms() + 3_000
        shop.write(f"UPDATE orders SET pay_before = '{text(near)}' WHERE id = 3")
        until(lambda: armed(client, 1).get("outcome") == "paid", "the paid one is settled")
        until(lambda: armed(client, 2).get("outcome") == "deleted", "the deleted one is settled")
        until(lambda: shop.status(3) == "cancelled", "the moved one is cancelled")
        reply = client.act("shop-orders", 4, "extend", by="10m")
        suite.equal(reply.status, 200, f"extend: {reply!r}")
        extended = armed(client, 4)["due"]
        reply = client.act("shop-orders", 5, "settle", outcome="paid")
        suite.equal(reply["result"], "settled", "settled over the API")
        shop.place((6, now_ms(), now_ms() + 2_500))
        until(lambda: shop.status(6) == "cancelled", "a later one is cancelled")
        suite.equal(armed(client, 4)["due"], extended, "an extension stays")
        suite.equal(shop.status(5), "unpaid", "what was settled over the API is left alone")
        text_of = client.get("/metrics").raw.decode()
        for line in ('duly_watch_armed_total{watch="shop-orders"} 6',
                     'duly_watch_trouble{watch="shop-orders"} 0'):
            suite.check(line in text_of, f"{line} is in the metrics")
    shop.sound(suite, "change")
    server.stop()


def late_commits(suite):
    """A transaction that began five seconds ago commits now."""
    shop = Shop(suite, "late")
    server = suite.server("late", shop.config())
    with server.client() as client:
        shop.place((1, now_ms(), now_ms() + 3_600_000))
        until(lambda: armed(client, 1), "the first order has a deadline")
        connection = shop.connect()
        began = now_ms()
        # The row says when it was created; nobody sees it before the commit.
        until(lambda: now_ms() - began >= 5_000, "five seconds pass", patience=10)
        for n in range(2, 12):
            connection.execute(
                "INSERT INTO orders (id, created_at, pay_before, status) VALUES (?, ?, ?, 'unpaid')",
                (n, text(began + n), text(now_ms() + 3_000)),
            )
        connection.close()
        for n in range(2, 12):
            until(lambda: shop.status(n) == "cancelled", f"order {n} of the late transaction")
    shop.sound(suite, "late")
    server.stop()


def another_zone(suite):
    """A shop whose server is in another zone than the configuration says: refused, never early."""
    for hours in (-2, 2):
        shop = Shop(suite, f"zone{hours}")
        server = suite.server(f"zone{hours}", shop.config(due='delay = "3h"', more='reconcile = "1s"'))
        with server.client() as client:
            off = hours * 3_600_000
            for n in range(20):
                shop.place((n, now_ms() + off, None))
            if hours > 0:
                told = lambda: "watch_clock_mismatch" in server.said()
                until(told, "the log says that the clocks do not agree")
            else:
                shop.place((99, now_ms(), None))
                until(lambda: armed(client, 99), "a row in time has a deadline")
            for n in range(20):
                suite.equal(armed(client, n), None, f"zone {hours}: a deadline for order {n}")
            reply = client.get("/readyz")
            suite.equal(reply.status, 200, "the server itself is ready")
            if hours > 0:
                held_up = [(it["name"], it["code"]) for it in reply["held_up"]]
                suite.equal(held_up, [("watches.shop-orders", "watch_clock_mismatch")], "what /readyz says")
        server.stop()


def hostile(suite):
    """Names and values that would like to be statements."""
    shop = Shop(suite, "hostile", table='orders"; DROP TABLE stock; --', key="id' OR ''='", kind="TEXT")
    server = suite.server("hostile", shop.config())
    keys = ["1' OR '1'='1", '"; DROP TABLE stock; --', "%", "a\\'b", "🜚", "x" * 500, "007", "7",
            "-1", "1e3", "NULL", "  "]
    shop.place(*((key, now_ms(), now_ms() + 4_000) for key in keys))
    for key in keys:
        until(lambda: shop.status(key) == "cancelled", f"order {key!r} is cancelled")
        suite.equal(shop.status(key), "cancelled", f"order {key!r}")
    # These cannot be keys of deadlines; they stay as they are and hurt nobody.
    shop.place(("", now_ms(), now_ms() + 1_000), ("x" * 513, now_ms(), now_ms() + 1_000),
               ("a\nb", now_ms(), now_ms() + 1_000), ("good", now_ms(), now_ms() + 3_000))
    until(lambda: shop.status("good") == "cancelled", "a good one beside bad ones is cancelled")
    for key in ("", "x" * 513, "a\nb"):
        suite.equal(shop.status(key), "unpaid", f"order {key[:10]!r}…")
    shop.sound(suite, "hostile")
    with server.client() as client:
        # A deadline that pretends to be of the table, with keys that are statements.
        for key in ("none", "%27%20OR%201%3D1%20--"):
            payload = {"table": shop.raw_table, "created": text(now_ms())[:-4].replace(" ", "T") + "Z",
                       "due": "2031-01-01T00:00:00.000Z"}
            reply = client.schedule("shop-orders", key, after="12s", payload=payload)
            suite.equal(reply.status, 201, f"schedule {key}: {reply!r}")
        until(lambda: armed(client, "none").get("outcome") == "deleted", "it has no row")
    suite.equal(shop.one("SELECT n FROM stock"), len(keys) + 1, "the stock")
    server.stop()


def observe(suite):
    """A watch that only reports touches nothing."""
    shop = Shop(suite, "observe")
    server = suite.server("observe", shop.config(mode="observe"))
    shop.place(*((n, now_ms(), now_ms() + 2_500) for n in range(30)))
    with server.client() as client:
        for n in range(30):
            record = lambda: armed(client, n) or {}
            until(lambda: record().get("state") == "lapsed", f"order {n} would have been cancelled")
            suite.equal(shop.status(n), "unpaid", f"order {n} is untouched")
    suite.equal(shop.one("SELECT count(*) FROM restocks"), 0, "restocks")
    server.stop()


def mistakes(suite):
    """What does not fit the table is said at the start, by its key."""
    shop = Shop(suite, "mistakes")
    shop.write("CREATE TABLE unindexed AS SELECT * FROM orders")
    good = shop.config()
    for was, instead, key in (
        ('key = "id"', 'key = "ident"', "watches.shop-orders.key"),
        ('table = "orders"', 'table = "order"', "watches.shop-orders.table"),
        ('outcome = "status"', 'outcome = "state"', "watches.shop-orders.outcome"),
        ('due = "pay_before"', 'due = "payBefore"', "watches.shop-orders.due"),
        ('time_zone = "UTC"\n', "", "watches.shop-orders.time_zone"),
        ('time_zone = "UTC"', 'time_zone = "Berlin"', "watches.shop-orders.time_zone"),
        ("open = \"status = 'unpaid'\"", "open = \"stat = 'unpaid'\"", "watches.shop-orders.open"),
        ("open = \"status = 'unpaid'\"", "open = \"1) OR (1\"", "watches.shop-orders.open"),
        ("SET status = 'cancelled', ", "SET state = 'cancelled', ",
         "watches.shop-orders.action.sql.steps[0]"),
        ('due = "pay_before"', "", "watches.shop-orders.delay"),
        ('mode = "act"', 'mode = "kill"', "watches.shop-orders.mode"),
        ('table = "orders"', 'table = "unindexed"', "watches.shop-orders.allow_scan"),
    ):
        suite.check(was in good, f"{was} stands in the configuration")
        server = suite.server(f"mistake-{key}", good.replace(was, instead), wait=False)
        status = server.process.wait(60)
        said = server.said()
        suite.equal(status, 78, f"{instead or was}: {said[-300:]}")
        suite.check(key in said, f"{key} is named in {said[-300:]}")
    index = 'CREATE INDEX "duly_unindexed" ON "unindexed" ("status", "created_at")'
    suite.check(index in said, f"the index to create is in {said[-500:]}")
    shop.write(index + "; CREATE UNIQUE INDEX ids ON unindexed (id)")
    suite.server("indexed", good.replace('table = "orders"', 'table = "unindexed"')).stop()


def command_line(suite):
    """`duly init` writes a watch that works, and `duly watch check` says what it would do."""
    shop = Shop(suite, "cli")

    def duly(*words, status=0):
        said = subprocess.run([suite.binary, *words], capture_output=True, text=True, check=False,
                              cwd=suite.directory, env={**os.environ, **EXAMPLES})
        suite.equal(said.returncode, status, f"duly {' '.join(words)}: {said.stderr[-300:]}")
        return said.stdout + said.stderr

    now = now_ms()
    shop.place(*((n, now - 7_200_000, now - 60_000) for n in range(3)))
    shop.place(*((10 + n, now - 1_000, now + 3_600_000) for n in range(11)))
    before = shop.ask("SELECT * FROM orders ORDER BY id")
    file = suite.path("init.toml")
    with open(file, "w", encoding="utf-8") as out:
        out.write(duly("init", f"sqlite://{shop.path}", "orders"))
    told = duly("watch", "check", "--config", file, "--data", suite.path("init"))
    suite.check("shop-orders: 14 open, 3 overdue, 0 would get a deadline" in told, told)
    suite.check("it only observes" in told, told)
    with open(file, encoding="utf-8") as old:
        wide = old.read().replace('mode = "observe"', 'mode = "observe"\nstart = "all"')
    with open(file, "w", encoding="utf-8") as out:
        out.write(wide)
    told = duly("watch", "check", "--config", file, "--data", suite.path("init"))
    suite.check("14 would get a deadline" in told, told)
    suite.equal(shop.ask("SELECT * FROM orders ORDER BY id"), before, "the table")
    server = suite.server("init", wide)
    with server.client() as client:
        until(lambda: armed(client, 20), "the watch that was written works")
    server.stop()
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples", "watches")
    for name in ("orders", "woocommerce", "magento"):
        told = duly("config", "--check", os.path.join(folder, f"{name}.toml"))
        suite.check("is good" in told, f"{name}: {told}")
    told = duly("init", f"sqlite://{shop.path}", "no_such_table", status=1)
    suite.check("no_such_table" in told, told)
    shop.write("UPDATE orders SET created_at = 'soon' WHERE id = 10")
    told = duly("watch", "check", "--config", file)
    suite.check('no deadline can be made of 1: created "soon"' in told, told)


def killed(suite):
    """Killed between the action and its acknowledgement, again and again."""
    shop = Shop(suite, "killed")
    server = suite.server("killed", shop.config())
    chance = random.Random(11)
    keys = []
    for round_ in range(KILLS):
        now = now_ms()
        new = range(round_ * 200, round_ * 200 + 200)
        shop.place(*((n, now, now + 2_500 + chance.randrange(1_000)) for n in new))
        keys += new
        began = shop.one("SELECT count(*) FROM restocks")
        paid = chance.sample(list(new), 40)
        for key in paid:
            shop.pay(key)
        # In the middle of the cancelling, wherever that is.
        some = began + chance.randrange(1, 120)
        until(lambda: shop.one("SELECT count(*) FROM restocks") >= some, "some are cancelled")
        server.kill()
        shop.sound(suite, f"killed {round_}")
        server.start()
    open_now = lambda: shop.one("SELECT count(*) FROM orders WHERE status = 'unpaid'")
    until(lambda: open_now() == 0, "all are cancelled or paid in the end")
    shop.sound(suite, "killed")
    with server.client() as client:
        for key in keys:
            def ended():
                record = armed(client, key)
                done = record["state"] == "settled" or record["delivery"]["state"] in (
                    "done", "superseded")
                return done and record
            if shop.status(key) == "cancelled":
                record = until(ended, f"the delivery of {key} ends")
                suite.equal(record["delivery"]["state"], "done", f"the delivery of {key}")
    server.stop()


COLUMNS = {
    # How a shop may write its times, by database: the column's type, what is written for an instant
    # in milliseconds, and what the configuration says about the zone.
    Mariadb: {
        "local": ("DATETIME(3)", lambda ms: local(ms), 'time_zone = "Europe/Berlin"'),
        "whole": ("DATETIME", lambda ms: text(ms)[:-4], 'time_zone = "UTC"'),
        "zoned": ("TIMESTAMP(3) NULL", lambda ms: text(ms), ""),
        "number": ("BIGINT", lambda ms: str(ms // 1000), ""),
        "words": ("VARCHAR(40)", lambda ms: text(ms), 'time_zone = "UTC"'),
    },
    Postgres: {
        "local": ("TIMESTAMP", lambda ms: local(ms), 'time_zone = "Europe/Berlin"'),
        "whole": ("TIMESTAMP(0)", lambda ms: text(ms)[:-4], 'time_zone = "UTC"'),
        "zoned": ("TIMESTAMPTZ", lambda ms: text(ms) + "+00", ""),
        "number": ("BIGINT", lambda ms: str(ms), ""),
        "words": ("TEXT", lambda ms: text(ms), 'time_zone = "UTC"'),
    },
}


def local(ms):
    """An instant as a shop in Berlin writes it."""
    at = datetime.datetime.fromtimestamp(ms / 1000, zoneinfo.ZoneInfo("Europe/Berlin"))
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{ms % 1000:03d}"


def mariadb(suite):
    """MariaDB."""
    server_of(suite, Mariadb)


def postgres(suite):
    """PostgreSQL."""
    server_of(suite, Postgres)


def server_of(suite, kind):
    """The same on a real server, for every way in which a shop may write its times."""
    # The server itself is in a zone far from UTC, and so is whoever names none.
    database = kind(kind.elsewhere)
    suite.to_stop.append(database)
    database.make()
    database.run("CREATE TABLE restocks (at_ms BIGINT NOT NULL, id VARCHAR(64) NOT NULL)",
                 f"GRANT INSERT ON restocks TO {USER}")
    config, shops = f'[databases.shop]\ndsn = "{database.dsn()}"\n', COLUMNS[kind]
    for name, (type_, _, zone) in shops.items():
        database.run(
            f"CREATE TABLE {name}_orders (id BIGINT PRIMARY KEY, created {type_}, due {type_},"
            " status VARCHAR(20) NOT NULL, cancelled_by VARCHAR(64))",
            f"CREATE INDEX {name}_open ON {name}_orders (status, created)",
            f"GRANT SELECT, UPDATE ON {name}_orders TO {USER}",
        )
        config += f"""
[watches.{name}]
database = "shop"
table = "{name}_orders"
key = "id"
created = "created"
due = "due"
open = "status = 'unpaid'"
outcome = "status"
mode = "act"
reconcile = "2s"
{zone}
[watches.{name}.action.sql]
steps = [
  "UPDATE {name}_orders SET status = 'cancelled', cancelled_by = :delivery_id WHERE id = :key AND status = 'unpaid'",
  "INSERT INTO restocks (at_ms, id) VALUES ({database.now}, :key)",
]
applied = "SELECT 1 FROM {name}_orders WHERE id = :key AND cancelled_by = :delivery_id"
"""
    server = suite.server(f"server-{database.scheme}", config)
    numbers, dues = iter(range(1, 1_000_000)), {}

    def place(name, due_in, count=1, session=database):
        """Orders of one of the shops; their numbers."""
        write, placed = shops[name][1], []
        for _ in range(count):
            number, now = next(numbers), now_ms()
            dues[number] = now + due_in
            session.run(f"INSERT INTO {name}_orders (id, created, due, status) VALUES"
                        f" ({number}, '{write(now)}', '{write(now + due_in)}', 'unpaid')")
            placed.append(number)
        return placed

    def status(name, number):
        found = database.rows(f"SELECT status FROM {name}_orders WHERE id = {number}")
        return found[0][0] if found else None

    with server.client() as client:
        def record(name, number):
            return client.read(name, number) or {}

        for name in shops:
            unpaid, paid = place(name, 6_000, 20), place(name, 6_000, 5)
            moved, deleted = place(name, 3_600_000, 2), place(name, 3_600_000, 1)
            for number in unpaid + paid + moved + deleted:
                until(lambda: record(name, number), f"{name} {number} has a deadline")
            for number in paid:
                database.run(f"UPDATE {name}_orders SET status = 'paid' WHERE id = {number}")
            write = shops[name][1]
            dues[moved[0]] = now_ms() + 3_000
            database.run(f"UPDATE {name}_orders SET due = '{write(dues[moved[0]])}' WHERE id = {moved[0]}")
            database.run(f"DELETE FROM {name}_orders WHERE id = {deleted[0]}")
            for number in unpaid + moved[:1]:
                until(lambda: status(name, number) == "cancelled", f"{name} {number} is cancelled")
            for number in paid:
                until(lambda: record(name, number).get("outcome") == "paid", f"{name} {number}: paid")
                suite.equal(status(name, number), "paid", f"{name} {number}")
            gone = lambda: record(name, deleted[0]).get("outcome") == "deleted"
            until(gone, f"{name}: the deleted one is settled")
            suite.equal(status(name, moved[1]), "unpaid", f"{name}: one that is not due")
        # A transaction that began five seconds ago.
        with Session(database) as session:
            session.run("BEGIN")
            late = place("whole", 9_000, 5, session)
            began = now_ms()
            until(lambda: now_ms() - began >= 5_000, "five seconds pass")
            session.run("COMMIT")
            for number in late:
                until(lambda: status("whole", number) == "cancelled", f"late {number}")
        # The server of the database is killed with deadlines ahead, and comes back.
        before = place("local", 5_000, 10)
        for number in before:
            until(lambda: record("local", number), f"{number} has a deadline")
        database.kill()
        held_up = lambda: "watch_database_away" in str(client.get("/readyz").json)
        until(held_up, "/readyz says that the database is away")
        database.start()
        after = place("local", 4_000, 10)
        for number in before + after:
            until(lambda: status("local", number) == "cancelled", f"{number} is cancelled")
        until(lambda: "held_up" not in client.get("/readyz").json, "/readyz says that it is back")
        # Keys that no row of numbers can have, from somebody who pretends.
        for key in ("none", "%27%20OR%201%3D1%20--", "042"):
            payload = {"table": "local_orders", "created": "2026-01-01T00:00:00.000Z",
                       "due": "2031-01-01T00:00:00.000Z"}
            reply = client.schedule("local", key, after="12s", payload=payload)
            suite.equal(reply.status, 201, f"schedule {key}: {reply!r}")
            until(lambda: record("local", "none").get("outcome") == "deleted", f"{key} has no row")
    acted = database.rows("SELECT id, at_ms FROM restocks")
    suite.equal(len({number for number, _ in acted}), len(acted), "stock given back once each")
    for number, at in acted:
        # A column of whole seconds cannot say when exactly.
        suite.check(at >= dues[int(number)] - 1_000, f"{number}, due {dues[int(number)]}, at {at}")
    server.stop()
    database.stop()


if __name__ == "__main__":
    main()
