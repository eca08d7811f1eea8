#!/usr/bin/env python3
"""A table watch on MariaDB and PostgreSQL through everything that goes wrong between it and them.

The orders are armed by the watch, not by a request. Fifty times its server is killed when the database has
committed the cancellation and before it could hear of it, 25 times on each database; then the answer of a
commit is lost without anybody dying, and the database is read-only, out of connections, and as slow as can
be; then its names and keys would like to be statements. Whatever happened: each unpaid order is cancelled
once by the delivery that says so, stock comes back once, no paid order is touched, none is cancelled early,
and what was done is never told as superseded.
"""

import datetime
import json

from blackbox import Suite, in_parallel, now_ms, until
from databases import HOSTILE
from peers.database import USER, Mariadb, Postgres, Proxy

KINDS = (Mariadb, Postgres)
KILLS = 25
"""How often Duly is killed between the commit and its answer, for each database."""
AHEAD_MS = 1_500
"""From the placing of an order to its due time; the watch looks twice a second."""


def main():
    with Suite("watchfaults", floor=2_500) as suite:
        # Side by side: most of it is waiting for orders to be due.
        in_parallel(len(KINDS), lambda number: everything(suite, KINDS[number]()))


def everything(suite, database):
    """All of it for one database."""
    suite.to_stop.append(database)
    database.make()
    shop = Shop(suite, database)
    for part in (killed_before_the_answer, the_answer_lost, read_only, out_of_connections, slow,
                 hostile_names):
        print(f"{database.scheme}: {part.__name__}", flush=True)
        part(shop)
        shop.sound(part.__name__)


class Shop:
    """A database with orders in it, and a Duly that watches them."""

    def __init__(self, suite, database):
        self.suite, self.database = suite, database
        self.dues, self.unpaid, self.paid, self.servers = {}, [], [], 0
        database.run(
            f"CREATE TABLE orders (id BIGINT PRIMARY KEY, created {database.instant} NOT NULL,"
            f" due {database.instant} NOT NULL, status VARCHAR(20) NOT NULL, cancelled_by VARCHAR(64))",
            "CREATE INDEX open_orders ON orders (status, created)",
            "CREATE TABLE stock (sku VARCHAR(40) PRIMARY KEY, n BIGINT NOT NULL)",
            "CREATE TABLE restocks (id BIGINT NOT NULL, delivery VARCHAR(64) NOT NULL, at_ms BIGINT NOT NULL)",
            "INSERT INTO stock VALUES ('mug', 0)",
            f"GRANT SELECT, UPDATE ON orders TO {USER}",
            f"GRANT SELECT, UPDATE ON stock TO {USER}",
            f"GRANT INSERT ON restocks TO {USER}",
        )

    def duly(self, port=None, watch=None):
        """A server of its own over a new directory."""
        self.servers += 1
        return self.suite.server(f"{self.database.scheme}-{self.servers}", f"""
[journal]
segment_size = "1MiB"
[databases.shop]
dsn = "{self.database.dsn(port=port)}"
{watch or self.watch()}
""")

    def watch(self):
        """What stands in the configuration about the orders."""
        return f"""
[watches.orders]
database = "shop"
table = "orders"
key = "id"
created = "created"
due = "due"
open = "status = 'unpaid'"
outcome = "status"
time_zone = "UTC"
mode = "act"
period = "500ms"
reconcile = "2s"
[watches.orders.action.sql]
steps = [
  "UPDATE orders SET status = 'cancelled', cancelled_by = :delivery_id WHERE id = :key AND status = 'unpaid'",
  "UPDATE stock SET n = n + 1 WHERE sku = 'mug'",
  "INSERT INTO restocks (id, delivery, at_ms) VALUES (:key, :delivery_id, {self.database.now})",
]
applied = "SELECT 1 FROM orders WHERE id = :key AND cancelled_by = :delivery_id"
[queues.orders]
retry = ["1s"]
"""

    def place(self, client, unpaid=1, paid=0, ahead=AHEAD_MS):
        """Places orders and waits until the watch has armed them; the last ones, due a second later, are paid then."""
        numbers = [self.insert(ahead) for _ in range(unpaid)]
        later = [self.insert(ahead + 1_000) for _ in range(paid)]
        for number in numbers + later:
            until(lambda: client.read("orders", number), f"{self.database.scheme} {number} has a deadline")
        for number in later:
            self.database.run(f"UPDATE orders SET status = 'paid' WHERE id = {number} AND status = 'unpaid'")
        self.unpaid += numbers
        self.paid += later
        return numbers

    def insert(self, ahead):
        """A new order; its number."""
        number, now = len(self.dues) + 1, now_ms()
        self.dues[number] = now + ahead
        self.database.run("INSERT INTO orders (id, created, due, status) VALUES"
                          f" ({number}, '{text(now)}', '{text(now + ahead)}', 'unpaid')")
        return number

    def delivery(self, client, number):
        """The delivery as it is now, if there is one."""
        return (client.read("orders", number) or {}).get("delivery") or {"state": None, "last_error": None}

    def done(self, client, number):
        """Waits for the end of a delivery, which must be done and have done it."""
        state = lambda: self.delivery(client, number)["state"] in ("done", "superseded", "dead")
        until(state, f"{self.database.scheme} {number} comes to an end")
        delivery = self.delivery(client, number)
        self.suite.equal(delivery["state"], "done", f"{self.database.scheme} {number}: {delivery['last_error']}")
        self.suite.equal(self.order(number), ["cancelled", delivery["id"]], f"{self.database.scheme} {number}")
        return delivery

    def failed(self, client, *numbers):
        """Waits until an attempt at one of them has failed."""
        error = lambda: any(self.delivery(client, number)["last_error"] for number in numbers)
        return until(error, f"{self.database.scheme}: an attempt at one of {numbers} has failed")

    def order(self, number):
        """Status and who cancelled it."""
        return self.database.rows(f"SELECT status, cancelled_by FROM orders WHERE id = {number}")[0]

    def away(self, client, is_so):
        """Waits until /readyz says that the watch cannot ask its database, or that it can again."""
        told = lambda: ("watch_database_away" in str(client.get("/readyz").json)) == is_so
        until(told, f"{self.database.scheme}: /readyz says whether the database is away")

    def sound(self, what):
        """What must hold whatever went wrong."""
        acted = {}
        for number, delivery, at in self.database.rows("SELECT id, delivery, at_ms FROM restocks"):
            acted.setdefault(number, []).append((delivery, at))
        what = f"{self.database.scheme}, {what}"
        for number in self.unpaid:
            status, by = self.order(number)
            self.suite.equal(status, "cancelled", f"{what}: {number}")
            self.suite.equal([it for it, _ in acted.get(number, [])], [by], f"{what}: who gave back stock for {number}")
            for _, at in acted.get(number, []):
                self.suite.check(at >= self.dues[number], f"{what}: {number}, due {self.dues[number]}, at {at}")
        for number in self.paid:
            self.suite.equal(self.order(number), ["paid", None], f"{what}: {number}")
        stock = self.database.one("SELECT n FROM stock WHERE sku = 'mug'")
        self.suite.equal([stock, len(acted)], [len(self.unpaid)] * 2, f"{what}: the stock")


def text(ms):
    """An instant as the shop writes it: UTC, in text."""
    at = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{ms % 1000:03d}"


def killed_before_the_answer(shop):
    """Duly is killed when the database has committed and before it could hear of it."""
    proxy = Proxy(shop.database.port)
    shop.suite.to_stop.append(proxy)
    server = shop.duly(proxy.port)
    for _ in range(KILLS):
        cuts = proxy.cuts
        proxy.free.clear()
        with server.client() as client:
            (unpaid,) = shop.place(client, 1, paid=1)
            proxy.cut_at(shop.database.commit, True)
        until(lambda: proxy.cuts > cuts, "the database has committed")
        shop.suite.equal(shop.order(unpaid)[0], "cancelled", "it has acted")
        server.kill()
        proxy.free.set()
        server.start()
        with server.client() as client:
            delivery = shop.done(client, unpaid)
            shop.suite.equal(delivery["attempts"], 2, "the second attempt found out")
    with server.client() as client:
        for number in shop.paid:
            # Paid before the watch looked at it for the last time, or after.
            kept = lambda: (client.read("orders", number).get("outcome") == "paid"
                            or shop.delivery(client, number)["state"] == "superseded")
            until(kept, f"{shop.database.scheme} {number}: paid, and nothing to do")
    server.stop()


def the_answer_lost(shop):
    """The line is cut at the commit: before the database hears it, and after. Nobody dies."""
    proxy = Proxy(shop.database.port)
    shop.suite.to_stop.append(proxy)
    server = shop.duly(proxy.port)
    with server.client() as client:
        for is_heard in (True, False):
            unpaid = shop.place(client, 8, paid=1, ahead=2_500)
            cuts = proxy.cuts
            proxy.cut_at(shop.database.commit, is_heard)
            attempts = [shop.done(client, number)["attempts"] for number in unpaid]
            shop.suite.equal(proxy.cuts, cuts + 1, "the line was cut once")
            shop.suite.check(max(attempts) > 1, f"somebody had to ask again: {attempts}")
    server.stop()


def read_only(shop):
    """What the watch has armed waits until the database may be written again."""
    server = shop.duly()
    with server.client() as client:
        unpaid = shop.place(client, 5, paid=1, ahead=2_500)
        shop.database.read_only(True)
        for number in unpaid:
            shop.failed(client, number)
            shop.suite.equal(shop.order(number)[0], "unpaid", f"{number} while it is read-only")
        shop.database.read_only(False)
        for number in unpaid:
            shop.done(client, number)
    server.stop()


def out_of_connections(shop):
    """Neither the watch nor its action gets a connection: what was armed waits, what is new is found later."""
    server = shop.duly()
    with server.client() as client:
        unpaid = shop.place(client, 5, paid=1, ahead=2_500)
        shop.database.no_connections(True)
        for number in unpaid:
            shop.failed(client, number)
        shop.away(client, True)
        # Placed while the watch can see nothing.
        unpaid.append(shop.insert(5_000))
        shop.unpaid.append(unpaid[-1])
        shop.database.no_connections(False)
        for number in unpaid:
            shop.done(client, number)
        shop.away(client, False)
    server.stop()


def slow(shop):
    """The database does nothing for longer than anybody waits, in the middle of the work, and then goes on."""
    server = shop.duly()
    with server.client() as client:
        unpaid = shop.place(client, 40, paid=2, ahead=4_000)
        until(lambda: now_ms() > shop.dues[unpaid[0]], "the first is due")
        shop.database.stall()
        shop.away(client, True)
        shop.failed(client, *unpaid)
        shop.database.go_on()
        for number in unpaid:
            shop.done(client, number)
        shop.away(client, False)
        (number,) = shop.place(client)
        shop.done(client, number)
    server.stop()


def hostile_names(shop):
    """A table, its columns and its keys would like to be statements: they are names and values."""
    database = shop.database
    names = [f"{word}\"`'; DROP TABLE stock; --" for word in ("orders", "id", "created", "due", "status")]
    table, key, created, due, status = map(database.quoted, names)
    database.run(
        f"CREATE TABLE {table} ({key} VARCHAR(255) PRIMARY KEY, {created} {database.instant} NOT NULL,"
        f" {due} {database.instant} NOT NULL, {status} VARCHAR(20) NOT NULL, cancelled_by VARCHAR(64))",
        f"CREATE INDEX hostile_open ON {table} ({status}, {created})",
        f"GRANT SELECT, UPDATE ON {table} TO {USER}",
    )
    cancel = (f"UPDATE {table} SET {status} = 'cancelled', cancelled_by = :delivery_id"
              f" WHERE {key} = :key AND {status} = 'unpaid'")
    said = dict(zip(("table", "key", "created", "due", "outcome"), names)) | {"open": f"{status} = 'unpaid'"}
    server = shop.duly(watch="\n".join([
        "[watches.hostile]", *(f"{setting} = {json.dumps(value)}" for setting, value in said.items()),
        'database = "shop"', 'time_zone = "UTC"', 'mode = "act"', 'period = "500ms"',
        "[watches.hostile.action.sql]", f"steps = [{json.dumps(cancel)}]",
    ]))
    now = now_ms()
    for number in HOSTILE:
        database.session().run(
            f"INSERT INTO {table} VALUES (%s, '{text(now)}', '{text(now + 3_000)}', 'unpaid', NULL)", number
        )
    unpaid = lambda: database.one(f"SELECT count(*) FROM {table} WHERE {status} = 'unpaid'")
    until(lambda: unpaid() == 0, f"{database.scheme}: every hostile order is cancelled")
    rows = database.rows(f"SELECT {key}, {status}, cancelled_by FROM {table}")
    shop.suite.equal(sorted(row[0] for row in rows), sorted(HOSTILE), f"{database.scheme}: the keys")
    for number, found, _ in rows:
        shop.suite.equal(found, "cancelled", f"{database.scheme}: {number[:40]!r}")
    shop.suite.equal(len({by for _, _, by in rows}), len(HOSTILE), f"{database.scheme}: each by its own delivery")
    server.stop()


if __name__ == "__main__":
    main()
