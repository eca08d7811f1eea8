#!/usr/bin/env python3
"""The table watch on a shop's own table: not one line of the shop knows Duly.

The shop is a SQLite file that this suite writes as a shop would, with payments that race the
cancellation; the server watches it. What is checked is the shop's table: each unpaid order is
cancelled once, its stock given back once, no paid one is touched and nothing comes early. Then the
first start on old rows, transactions that commit late, rows that change, go or are paid, names and
values that mean harm, and a server that is killed again and again between action and answer.
"""

import datetime
import random
import sqlite3
import threading
import time

from blackbox import Suite, now_ms, until

ORDERS = 20_000
"""Rows in the table of the large run."""
UNPAID = 1_500
"""How many of them are open."""
PAID_LATE = 450
"""How many of those are paid in the last second."""
KILLS = 8
"""How often the server is killed in the middle of its work."""


def main():
    with Suite("watch", floor=9_000) as suite:
        first_start(suite)
        large(suite)
        rows_change(suite)
        late_commits(suite)
        another_zone(suite)
        hostile(suite)
        observe(suite)
        mistakes(suite)
        killed(suite)


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
    """Ten thousand old unpaid rows: a first start cancels none of them."""
    shop = Shop(suite, "old")
    now = now_ms()
    old = 86_400_000
    shop.place(*((n, now - old - n * 1000, now - old // 2) for n in range(10_000)))
    server = suite.server("old", shop.config())
    with server.client() as client:
        shop.place((20_000, now_ms(), now_ms() + 2_000))
        until(lambda: shop.status(20_000) == "cancelled", "the new order is cancelled")
        open_now = shop.one("SELECT count(*) FROM orders WHERE status = 'unpaid'")
        suite.equal(open_now, 10_000, "old orders still open")
        suite.equal(armed(client, 77), None, "an old order has no deadline")
        suite.equal(armed(client, 20_000)["state"], "lapsed", "the new one had")
    shop.sound(suite, "first start")
    server.stop()
    # Neither does the second.
    server.start()
    shop.place((20_001, now_ms(), now_ms() + 2_000))
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
                held_up = [(it["watch"], it["code"]) for it in reply["held_up"]]
                suite.equal(held_up, [("shop-orders", "watch_clock_mismatch")], "what /readyz says")
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
    ):
        suite.check(was in good, f"{was} stands in the configuration")
        server = suite.server(f"mistake-{key}", good.replace(was, instead), wait=False)
        status = server.process.wait(60)
        said = server.said()
        suite.equal(status, 78, f"{instead or was}: {said[-300:]}")
        suite.check(key in said, f"{key} is named in {said[-300:]}")


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


if __name__ == "__main__":
    main()
